//! Ends a process with all that it started, as far as `/proc` tells; elsewhere the process alone.

use std::process::{Command, Stdio};

pub(super) fn kill(root: u32) {
    let mut doomed = vec![root];
    let parents = parents();
    let mut at = 0;
    while let Some(&parent) = doomed.get(at) {
        doomed.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| child));
        at += 1;
    }
    // One that is gone by now is as good as killed.
    let _ = Command::new("kill")
        .arg("-KILL")
        .args(doomed.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status();
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            parse(&stat)
        })
        .collect()
}

/// `PID (NAME) STATE PARENT ...`, where the name may hold anything.
fn parse(stat: &str) -> Option<(u32, u32)> {
    let (id, rest) = stat.split_once(" (")?;
    let (_, after) = rest.rsplit_once(") ")?;
    Some((id.parse().ok()?, after.split(' ').nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_hide_the_parent() {
        assert_eq!(parse("42 (a) b) S 7 42 42"), Some((42, 7)));
        assert_eq!(parse("nothing"), None);
    }
}
