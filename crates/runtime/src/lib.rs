//! The seams between Onrush and the machine: network, disk, clock, chance and threads.
//!
//! Every other crate reaches the outside through the types of this one. Each seam is a closed enum with a real form and
//! a simulated form, so that the same, unmodified crates run in production and in the deterministic simulation:
//!
//! | seam | production | simulation |
//! |---|---|---|
//! | [`Net`] | TCP | [`net::MemoryNet`]: delays, short reads, cuts, in virtual time |
//! | [`Disk`] | files | [`disk::MemoryDisk`]: loses what was not synced when it crashes |
//! | [`Clock`] | the system's | tokio's paused clock and a fixed calendar |
//! | [`Random`] | seeded by the kernel | seeded by the run |
//! | [`Spawn`] | threads and tokio runtimes | tasks of one thread, killed together |
//!
//! Rules: asynchronous code takes time from `tokio::time`; everything else gets `now` as an argument. Only drivers
//! (this crate, the command and `xtask`) make threads, runtimes and sockets.
#![forbid(unsafe_code)]

pub mod clock;
pub mod disk;
pub mod fault;
pub mod net;
pub mod random;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod spawn;
pub mod trace;
pub mod wake;

pub use clock::Clock;
pub use disk::{Disk, File};
pub use fault::Fault;
pub use net::{Listener, Net, Stream};
pub use random::Random;
pub use spawn::{Executor, Spawn, Step, Task, Work, WorkHandle};
pub use tokio::time::Instant;
pub use trace::Trace;
pub use wake::Wake;

/// The seams of one process.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Byte streams to other processes.
    pub net: Net,
    /// The process's data directory.
    pub disk: Disk,
    /// Monotonic and wall-clock time.
    pub clock: Clock,
    /// Identifiers and jitter.
    pub random: Random,
    /// Threads and asynchronous executors.
    pub spawn: Spawn,
}

impl Runtime {
    /// TCP, the system's clock, kernel entropy and real threads, over the given disk.
    pub fn production(disk: Disk) -> Self {
        Self {
            net: Net::Tcp,
            disk,
            clock: Clock::System,
            random: Random::from_entropy(),
            spawn: Spawn::threads(),
        }
    }
}
