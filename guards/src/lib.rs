//! Guards: what must hold for any bytes, and what an event may cost.
//!
//! A *target* is a parser that sees foreign bytes, with the properties that hold for all of them: it
//! does not panic, it holds no more memory than the limit that the target names, and what it accepts
//! means the same after it was encoded and decoded again. A target's *corpus* is a committed archive
//! of valid input, of every version that there is; `cargo xtask fuzz --corpus` writes it.
//!
//! The bodies run in two drivers: the seeded loop here (`cargo xtask fuzz`, on stable, in CI) and
//! cargo-fuzz (`fuzz/`, on nightly). The canaries are targets with a planted bug that the loop must
//! find.
//!
//! [`counts`] has the workloads whose instructions `cargo xtask counts` compares with a committed
//! baseline; [`window`] has the drawing of what a stuck event costs.
#![forbid(unsafe_code)]

mod corpus;
pub mod counts;
mod growth;
pub mod memory;
mod mutation;
mod parts;
pub mod seeded;
pub mod target;
mod targets;
pub mod window;

pub use corpus::{Corpus, Entry};
pub use target::{CANARIES, TARGETS, Target, Verdict};
