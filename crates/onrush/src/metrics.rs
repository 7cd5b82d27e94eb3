//! Snapshots of consumers as Prometheus' text format. Names are part of the interface (`docs/metrics.md` lists them): a change
//! is an entry of the changelog.

use std::fmt::Write;

use onrush_engine::{Counts, PartitionState, Snapshot};

/// A metric: its name, what it says, and where it is found.
struct Metric<T, V> {
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> V,
}

const fn metric<T, V>(name: &'static str, help: &'static str, value: fn(&T) -> V) -> Metric<T, V> {
    Metric { name, help, value }
}

/// Counted since the process started.
const COUNTERS: [Metric<Counts, u64>; 14] = [
    metric(
        "onrush_events_done_total",
        "Events whose handler returned, and what they emitted is acknowledged.",
        |counts| counts.done,
    ),
    metric(
        "onrush_events_dead_lettered_total",
        "Events in the dead letters, acknowledged.",
        |counts| counts.dead_lettered,
    ),
    metric("onrush_events_moved_total", "Events in a retry topic, acknowledged.", |counts| {
        counts.moved
    }),
    metric(
        "onrush_events_skipped_total",
        "Offsets in batches that could not be read and are in the dead letters as a whole.",
        |counts| counts.skipped,
    ),
    metric(
        "onrush_events_done_before_total",
        "Events that a previous owner had finished.",
        |counts| counts.done_before,
    ),
    metric("onrush_handler_failures_total", "Handler calls that failed or panicked.", |counts| {
        counts.failed
    }),
    metric(
        "onrush_handler_retries_total",
        "Handler calls with events that had failed before.",
        |counts| counts.retried,
    ),
    metric(
        "onrush_handler_overdue_total",
        "Events that took longer than the time limit, on threads that cannot be interrupted.",
        |counts| counts.overdue,
    ),
    metric("onrush_batches_total", "Record batches that were begun.", |counts| counts.batches),
    metric("onrush_batch_bytes_total", "Bytes of those batches as they came.", |counts| {
        counts.bytes
    }),
    metric("onrush_fetched_bytes_total", "Bytes of batches that were fetched.", |counts| {
        counts.fetched
    }),
    metric(
        "onrush_batches_refetched_total",
        "Bad batches that were fetched once more.",
        |counts| counts.refetched,
    ),
    metric(
        "onrush_offset_gaps_total",
        "Offsets without an event: compacted, control records, expired.",
        |counts| counts.gaps,
    ),
    metric(
        "onrush_events_left_running_total",
        "Events that still ran when their partition went to another member; they run again there.",
        |counts| counts.left_running,
    ),
];

/// Of each partition that is held now.
const GAUGES: [Metric<PartitionState, i64>; 12] = [
    metric("onrush_partition_position", "Next offset to take.", |partition| partition.position),
    metric("onrush_partition_committed", "Committed offset; -1 if there is none.", |partition| {
        partition.committed.unwrap_or(-1)
    }),
    metric("onrush_partition_end", "Offset after the last record; -1 if not known.", |partition| {
        partition.end.unwrap_or(-1)
    }),
    metric("onrush_partition_lag", "Events that are not finished.", |partition| {
        signed(partition.lag().unwrap_or(0))
    }),
    metric("onrush_partition_in_flight", "Events taken and not finished.", |partition| {
        signed(partition.in_flight)
    }),
    metric(
        "onrush_partition_busy_slots",
        "Slots, that is groups of keys, with work.",
        |partition| signed(partition.busy_slots),
    ),
    metric("onrush_partition_queued_bytes", "Bytes fetched and not taken.", |partition| {
        signed(partition.queued_bytes)
    }),
    metric(
        "onrush_partition_parked_keys",
        "Keys, and events without one, that wait for another try.",
        |partition| signed(partition.parked_keys),
    ),
    metric("onrush_partition_parked_bytes", "Bytes of events that wait for one.", |partition| {
        signed(partition.parked_bytes)
    }),
    metric(
        "onrush_partition_oldest_open_since_seconds",
        "Since when the first unfinished event is open, in seconds since 1970; 0 if none is.",
        |partition| partition.oldest.map_or(0, |oldest| oldest.since_millis / 1_000),
    ),
    metric(
        "onrush_partition_paused",
        "1 if nothing is started, because of events that failed.",
        |partition| i64::from(partition.paused),
    ),
    metric(
        "onrush_partition_stopped",
        "1 if the partition was stopped by an error.",
        |partition| i64::from(partition.stopped),
    ),
];

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The metrics of all consumers of a process; `left` are the counts of those that have ended, so that no counter falls.
#[must_use]
pub fn prometheus(snapshots: &[Snapshot], left: &Counts) -> String {
    let mut text = String::new();
    for Metric { name, help, value } in COUNTERS {
        let sum: u64 = snapshots.iter().map(|snapshot| value(&snapshot.total)).sum();
        head(&mut text, name, help, "counter");
        let _ = writeln!(text, "{name} {}", sum + value(left));
    }
    for Metric { name, help, value } in GAUGES {
        head(&mut text, name, help, "gauge");
        for state in snapshots.iter().flat_map(|snapshot| &snapshot.partitions) {
            let (topic, partition) = (&state.partition.topic, state.partition.partition);
            let value = value(state);
            let _ = writeln!(text, "{name}{{topic=\"{topic}\",partition=\"{partition}\"}} {value}");
        }
    }
    text
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/metrics.md` has a row per metric, in order, with the words of its help.
    #[test]
    fn trap_57_the_page_lists_every_metric_by_its_name() {
        let page = include_str!("../../../docs/metrics.md");
        let is_metric =
            |line: &&str| line.contains("` | counter |") || line.contains("` | gauge |");
        let rows: Vec<&str> = page.lines().filter(is_metric).collect();
        let row = |name: &str, kind: &str, help: &str| format!("| `{name}` | {kind} | {help} |");
        let counters = COUNTERS.iter().map(|metric| row(metric.name, "counter", metric.help));
        let gauges = GAUGES.iter().map(|metric| row(metric.name, "gauge", metric.help));
        assert_eq!(rows, counters.chain(gauges).collect::<Vec<_>>());
    }

    #[test]
    fn counters_go_on_after_a_consumer_has_ended() {
        let left = Counts { done: 40, ..Counts::default() };
        let snapshot = Snapshot {
            total: Counts { done: 2, failed: 1, ..Counts::default() },
            ..Snapshot::default()
        };
        let text = prometheus(&[snapshot], &left);
        assert!(text.contains("\nonrush_events_done_total 42\n"), "{text}");
        assert!(text.contains("\nonrush_handler_failures_total 1\n"), "{text}");
        assert_eq!(text.matches("# TYPE").count(), COUNTERS.len() + GAUGES.len());
    }
}
