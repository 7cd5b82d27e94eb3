//! One log line when the events of a partition begin to fail, one for each step that is graver, and
//! one when it is over: never one per event.

use std::time::Duration;

use onrush_kafka::TopicPartition;
use onrush_runtime::{Fault, Instant};

/// An incident is over when nothing failed or waited for so long.
pub(crate) const CALM: Duration = Duration::from_secs(30);

/// What was done about it, gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Events are tried again.
    Retrying,
    /// Events go to the dead letters, or to a retry topic.
    Leaving,
    /// Events wait to be told to go on.
    PausedKey,
    /// No event is taken, for want of tokens or because the policy says so.
    PausedPartition,
}

impl Step {
    fn fault(self) -> Fault {
        match self {
            Self::Retrying | Self::Leaving => Fault::HandlerFailed,
            Self::PausedKey => Fault::KeyPaused,
            Self::PausedPartition => Fault::PartitionPaused,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Retrying => "events fail: they are tried again, later ones of their keys wait",
            Self::Leaving => "events fail: they leave for the dead letters or a retry topic",
            Self::PausedKey => "an event failed: its key waits until it is told to go on",
            Self::PausedPartition => "events fail: nothing more of the partition is taken",
        }
    }
}

/// Events of a partition that fail, from the first one until it is calm again.
#[derive(Debug)]
pub(crate) struct Incident {
    since: Instant,
    last: Instant,
    gravest: Step,
    failures: u64,
    left: u64,
}

/// The incident of a partition, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Incidents {
    current: Option<Incident>,
}

impl Incidents {
    /// An event failed, and this is done; `error` is what was said.
    pub(crate) fn failed(
        &mut self,
        partition: &TopicPartition,
        offset: i64,
        step: Step,
        error: &dyn std::fmt::Display,
        now: Instant,
    ) {
        let known = self.current.is_some();
        let incident = self.current.get_or_insert(Incident {
            since: now,
            last: now,
            gravest: step,
            failures: 0,
            left: 0,
        });
        incident.failures += 1;
        incident.left += u64::from(step == Step::Leaving);
        incident.last = now;
        if known && step <= incident.gravest {
            return;
        }
        incident.gravest = step;
        let (failures, code) = (incident.failures, step.fault());
        tracing::warn!(%partition, offset, failures, %code, %error, "{}", step.text());
    }

    /// What failed before came to this.
    pub(crate) fn grew(&mut self, partition: &TopicPartition, step: Step) {
        let Some(incident) = &mut self.current else { return };
        if step > incident.gravest {
            incident.gravest = step;
            let (failures, code) = (incident.failures, step.fault());
            tracing::warn!(%partition, failures, %code, "{}", step.text());
        }
    }

    /// When it may be over, if nothing fails until then.
    pub(crate) fn over_at(&self) -> Option<Instant> {
        self.current.as_ref().map(|incident| incident.last + CALM)
    }

    /// Nothing of the partition waits.
    pub(crate) fn calm(&mut self, partition: &TopicPartition, now: Instant) {
        if self.over_at().is_some_and(|over| over <= now)
            && let Some(incident) = self.current.take()
        {
            let Incident { since, last, failures, left, .. } = incident;
            let seconds = last.saturating_duration_since(since).as_secs_f64();
            tracing::info!(%partition, failures, left, seconds, "events do not fail any more");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// Counts lines.
    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicU64>);

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn there_is_a_line_for_each_step_of_an_incident_and_none_for_each_event() {
        let (mut incidents, start) = (Incidents::default(), Instant::now());
        let partition = TopicPartition::new("flights", 0);
        let lines = Lines::default();
        let _counted = tracing::subscriber::set_default(lines.clone());
        let fail = |incidents: &mut Incidents, step| {
            (0..10_000).for_each(|at| incidents.failed(&partition, at, step, &"no", start));
            lines.0.swap(0, Ordering::Relaxed)
        };
        assert_eq!(fail(&mut incidents, Step::Retrying), 1);
        assert_eq!(fail(&mut incidents, Step::Retrying), 0);
        assert_eq!(fail(&mut incidents, Step::PausedPartition), 1);
        assert_eq!(fail(&mut incidents, Step::Leaving), 0);
        (0..9).for_each(|_| incidents.grew(&partition, Step::PausedPartition));
        (0..9).for_each(|_| incidents.calm(&partition, start + CALM));
        assert_eq!(lines.0.swap(0, Ordering::Relaxed), 1, "the end");
        assert_eq!(fail(&mut incidents, Step::Leaving), 1, "a new one");
    }

    #[test]
    fn an_incident_grows_and_ends_when_it_was_calm_for_long_enough() {
        let (mut incidents, start) = (Incidents::default(), Instant::now());
        let partition = TopicPartition::new("flights", 0);
        assert_eq!(incidents.over_at(), None);
        for (second, step) in (0..).zip([Step::Retrying, Step::PausedKey, Step::Leaving]) {
            let now = start + Duration::from_secs(second);
            incidents.failed(&partition, 7, step, &"no", now);
        }
        let incident = incidents.current.as_ref().unwrap();
        assert_eq!((incident.gravest, incident.failures, incident.left), (Step::PausedKey, 3, 1));
        let over = start + Duration::from_secs(2) + CALM;
        assert_eq!(incidents.over_at(), Some(over));
        incidents.calm(&partition, over - Duration::from_millis(1));
        assert!(incidents.current.is_some());
        incidents.calm(&partition, over);
        assert_eq!(incidents.over_at(), None);
    }
}
