//! The trace of a simulated run: what happened, line by line, and a hash over it.
//!
//! Two runs of one seed must give the same lines; the hash is what a run prints. In production there is no trace and
//! [`Trace::line`] does nothing.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// A shared, append-only list of lines, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    inner: Option<Arc<Mutex<Lines>>>,
}

#[derive(Debug)]
struct Lines {
    start: Instant,
    hash: u64,
    count: u64,
    kept: Option<Vec<String>>,
}

impl Trace {
    /// Records nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Hashes every line from now on, and keeps the lines too if asked.
    pub fn on(keep_lines: bool) -> Self {
        let lines = Lines {
            start: Instant::now(),
            hash: 0xCBF2_9CE4_8422_2325,
            count: 0,
            kept: keep_lines.then(Vec::new),
        };
        Self { inner: Some(Arc::new(Mutex::new(lines))) }
    }

    /// Adds a line, stamped with the virtual time. `write` runs only when the trace is on.
    pub fn line(&self, write: impl FnOnce() -> String) {
        let Some(inner) = &self.inner else { return };
        let text = write();
        let mut lines = inner.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now().saturating_duration_since(lines.start).as_millis();
        let line = format!("{at} {text}");
        // FNV-1a, with the line's end so that "a","b" differs from "ab".
        for byte in line.bytes().chain([b'\n']) {
            lines.hash = (lines.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        lines.count += 1;
        if let Some(kept) = &mut lines.kept {
            kept.push(line);
        }
    }

    /// Number of lines and the hash over them.
    pub fn summary(&self) -> (u64, u64) {
        self.inner.as_ref().map_or((0, 0), |inner| {
            let lines = inner.lock().unwrap_or_else(PoisonError::into_inner);
            (lines.count, lines.hash)
        })
    }

    /// The kept lines; empty if they were not to be kept.
    pub fn lines(&self) -> Vec<String> {
        self.inner.as_ref().map_or_else(Vec::new, |inner| {
            let lines = inner.lock().unwrap_or_else(PoisonError::into_inner);
            lines.kept.clone().unwrap_or_default()
        })
    }
}
