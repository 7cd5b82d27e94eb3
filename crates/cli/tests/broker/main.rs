//! `onrush broker` as a process among others that end it, and among peers that mean it no good.

mod crash;
mod daemon;
mod hostile;
mod log;

use std::sync::RwLock;

/// Shared by tests that only take their time, and for itself by the one that measures.
static MACHINE: RwLock<()> = RwLock::new(());

/// Partitions of the topic of a test.
const PARTITIONS: i32 = 4;
const TOPIC: &str = "events";
