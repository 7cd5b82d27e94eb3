//! Snapshots of engines as Prometheus' text. Names are part of the interface: a change is an entry of the changelog.

use std::fmt::Write;

use onrush_engine::{Counts, PartitionState, Snapshot};

/// A metric: name, help, value.
type Metric<T, V> = (&'static str, &'static str, fn(&T) -> V);

/// The metrics of all members of a process; `left` are the counts of members that have ended.
pub(crate) fn render(snapshots: &[Snapshot], left: &Counts) -> String {
    let mut text = String::new();
    let counters: [Metric<Counts, u64>; 7] = [
        (
            "onrush_events_done_total",
            "Events whose handler returned, and what they emitted is acknowledged.",
            |c| c.done,
        ),
        ("onrush_events_dead_lettered_total", "Events in the dead letters, acknowledged.", |c| {
            c.dead_lettered
        }),
        ("onrush_handler_failures_total", "Handler calls that failed or panicked.", |c| c.failed),
        ("onrush_events_done_before_total", "Events that a previous owner had finished.", |c| {
            c.done_before
        }),
        ("onrush_batches_total", "Record batches read.", |c| c.batches),
        ("onrush_fetched_bytes_total", "Bytes of record batches as they came.", |c| c.bytes),
        ("onrush_batches_refetched_total", "Bad batches that were fetched once more.", |c| {
            c.refetched
        }),
    ];
    for (name, help, count) in counters {
        let sum: u64 = snapshots.iter().map(|snapshot| count(&snapshot.total)).sum();
        head(&mut text, name, help, "counter");
        let _ = writeln!(text, "{name} {}", sum + count(left));
    }
    let gauges: [Metric<PartitionState, i64>; 6] = [
        ("onrush_partition_position", "Next offset to take.", |p| p.position),
        ("onrush_partition_committed", "Committed offset.", |p| p.committed.unwrap_or(0)),
        ("onrush_partition_lag", "Events between the committed offset and the end.", |p| {
            (p.end.unwrap_or(0) - p.committed.unwrap_or(0)).max(0)
        }),
        ("onrush_partition_in_flight", "Events taken and not finished.", |p| {
            p.in_flight.cast_signed()
        }),
        ("onrush_partition_queued_bytes", "Bytes fetched and not taken.", |p| {
            p.queued_bytes.cast_signed()
        }),
        ("onrush_partition_stopped", "1 if the partition was stopped by an error.", |p| {
            i64::from(p.stopped)
        }),
    ];
    for (name, help, value) in gauges {
        head(&mut text, name, help, "gauge");
        for state in snapshots.iter().flat_map(|snapshot| &snapshot.partitions) {
            let (topic, partition) = (&state.partition.topic, state.partition.partition);
            let _ = writeln!(
                text,
                "{name}{{topic=\"{topic}\",partition=\"{partition}\"}} {}",
                value(state)
            );
        }
    }
    text
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}
