//! Sends the replay to the topic: a thread that stamps and appends, batch by batch, as fast as its pace and the broker's
//! acknowledgements let it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use onrush_kafka::{AckSink, Acked, AppendError, Appender, Producer, TopicHandle};
use onrush_runtime::{Clock, Instant, Step, Wake, Work};

use super::event::Templates;
use super::flights::Flights;
use super::replay::{Planned, Replay};

/// Events appended between two looks at the clock.
const CHUNK: u64 = 1_024;
/// How often the generator looks whether it may go on: the wake for room may be missed, and a release wakes nobody.
const RETRY: Duration = Duration::from_millis(20);

/// How fast the events come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As fast as they are acknowledged; after so many the generator waits until it is released.
    PauseAfter(u64),
    /// At most so many in a second, without catching up on what was not used.
    PerSecond(u32),
}

/// How far the generator is; shared with whoever shows or awaits it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    acknowledged: AtomicU64,
    /// The generator waits at the middle of the run until the hand-over has begun.
    waiting: AtomicBool,
    released: AtomicBool,
    stop: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Progress {
    /// Events that the broker acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Why the generator gave up, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the generator has sent half of the events and waits for [`Progress::release`].
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Lets the generator send the other half.
    pub(crate) fn release(&self) {
        self.released.store(true, Ordering::Release);
    }

    /// Asks the generator to end early.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn fail(&self, reason: String) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }
}

impl AckSink for Progress {
    fn acked(&self, result: Acked) {
        match result.outcome {
            Ok(_) => drop(self.acknowledged.fetch_add(u64::from(result.count), Ordering::Release)),
            Err(error) => self.fail(error.to_string()),
        }
    }
}

/// The generator's thread.
pub(crate) struct Generator {
    flights: &'static Flights,
    replay: Replay<'static>,
    pace: Pace,
    /// With a rate: when the next events may be sent.
    due: Instant,
    /// An event that did not fit.
    held: Option<Planned>,
    templates: Templates,
    appender: Appender,
    topic: TopicHandle,
    progress: Arc<Progress>,
    clock: Clock,
}

impl Generator {
    /// A generator of `replay` for the topic, which the client's metadata must know.
    pub(crate) fn new(
        flights: &'static Flights,
        replay: Replay<'static>,
        pace: Pace,
        producer: &Producer,
        topic: &str,
        wake: Wake,
    ) -> Result<(Self, Arc<Progress>), AppendError> {
        let progress = Arc::new(Progress::default());
        let mut appender = producer.appender(progress.clone());
        appender.wake_on_room(wake);
        let topic = appender.topic(topic)?;
        let templates = Templates::new(flights);
        let shared = progress.clone();
        Ok((
            Self {
                flights,
                replay,
                pace,
                due: Instant::now(),
                held: None,
                templates,
                appender,
                topic,
                progress,
                clock: Clock::System,
            },
            shared,
        ))
    }

    /// Appends a chunk of events; tells whether there are more to come.
    fn append_chunk(&mut self, now: Instant) -> Result<bool, AppendError> {
        let timestamp = self.clock.wall_millis();
        let chunk = match self.pace {
            Pace::PauseAfter(left) if left > 0 => CHUNK.min(left),
            Pace::PauseAfter(_) | Pace::PerSecond(_) => CHUNK,
        };
        for _ in 0..chunk {
            let Some(planned) = self.held.take().or_else(|| self.replay.next()) else {
                return Ok(false);
            };
            let key = self.flights.tail(&self.flights.all()[planned.flight]).map(str::as_bytes);
            let (value, to) = (self.templates.stamp(&planned), Some(planned.partition));
            let appended =
                self.appender.append(self.topic, to, timestamp, key, Some(value), &[], now);
            if let Err(error) = appended {
                self.held = Some(planned);
                return Err(error);
            }
            if let Pace::PauseAfter(left) = &mut self.pace {
                *left = left.saturating_sub(1);
            }
        }
        if let Pace::PerSecond(rate) = self.pace {
            self.due = now + Duration::from_secs(chunk) / rate;
        }
        Ok(true)
    }

    /// Until when no event may be sent, if there is such a time.
    fn pause(&self, now: Instant) -> Option<Instant> {
        match self.pace {
            Pace::PauseAfter(0) if !self.progress.released.load(Ordering::Acquire) => {
                Some(now + RETRY)
            }
            Pace::PauseAfter(_) => None,
            Pace::PerSecond(_) => (now < self.due).then_some(self.due),
        }
    }
}

impl Work for Generator {
    fn run_once(&mut self, now: Instant) -> Step {
        if self.progress.stop.load(Ordering::Relaxed) || self.progress.failure().is_some() {
            self.appender.flush(now);
            return Step::Done;
        }
        if let Some(until) = self.pause(now) {
            self.appender.flush(now);
            let paused = matches!(self.pace, Pace::PauseAfter(_));
            self.progress.waiting.store(paused, Ordering::Release);
            return Step::Idle { until: Some(until) };
        }
        match self.append_chunk(now) {
            Ok(true) => Step::Worked,
            Ok(false) => {
                self.appender.flush(now);
                Step::Done
            }
            Err(AppendError::Full) => Step::Idle { until: Some(now + RETRY) },
            Err(error) => {
                self.progress.fail(error.to_string());
                Step::Done
            }
        }
    }
}
