//! engine
#![forbid(unsafe_code)]

pub mod admission;
pub mod completed;
pub mod ledger;
