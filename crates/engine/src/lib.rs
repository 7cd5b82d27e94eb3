//! Ordered parallel processing of Kafka partitions.
#![forbid(unsafe_code)]

pub mod admission;
pub mod assignment;
mod client;
pub mod commit;
pub mod completed;
pub mod config;
mod control;
pub mod dead_letter;
pub mod emit;
pub mod engine;
pub mod error;
pub mod handler;
pub mod inbox;
mod inline;
pub mod lane;
pub mod ledger;
pub mod message;
pub mod metrics;
mod partition;
mod sabotage;
pub mod slot;
pub mod source;
pub mod worker;
