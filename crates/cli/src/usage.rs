//! What a process has used: CPU time and resident memory, of this one and of a child.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this process, all threads, user and system.
pub(crate) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// CPU time of another process, in steps of a scheduler tick (10 ms); none where there is no `/proc`.
pub(crate) fn cpu_of(process: u32) -> Option<Duration> {
    let stat = proc_file(&format!("{process}/stat"))?;
    // The second field, the name, may have spaces; it ends with the last parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Resident memory of a process in bytes; none where there is no `/proc`.
pub(crate) fn resident(process: u32) -> Option<u64> {
    let statm = proc_file(&format!("{process}/statm"))?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command is a driver, and /proc is no data directory"
)]
fn proc_file(path: &str) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{path}")).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let (before, process) = (cpu(), std::process::id());
        assert!((0..5_000_000_u64).fold(0, |sum: u64, i| sum.wrapping_mul(31) ^ i) != 1);
        assert!(cpu() > before);
        assert!(resident(process).is_some_and(|bytes| bytes > 100_000));
        assert!(cpu_of(process).is_some());
    }
}
