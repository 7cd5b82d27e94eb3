//! Placeholder.
#[allow(dead_code, reason = "the command is not wired yet")]
mod demo;

fn main() {}
