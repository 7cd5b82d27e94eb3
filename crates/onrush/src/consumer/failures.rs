//! What a consumer does with events that fail.

use std::time::Duration;

use onrush_engine::{Answer, BadBatch, ErrorClass, RetryPolicy};

use super::Consumer;

impl Consumer {
    /// How often, and after which pauses, an event is tried that failed: five times by default, with pauses below 100 ms
    /// that double up to 10 s. Later events of its key wait meanwhile, all others go on.
    ///
    /// ```
    /// # use onrush::{Consumer, RetryPolicy};
    /// Consumer::new("localhost:9092").retry(RetryPolicy::forever());
    /// ```
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.engine.failures.retry = policy;
        self
    }

    /// Says by its type what helps against an error; call it again for another type. What a handler says itself (with
    /// [`HandlerError::dead_letter`](crate::HandlerError::dead_letter) and the like) counts more.
    ///
    /// ```
    /// # use onrush::{Consumer, ErrorClass};
    /// # use std::io;
    /// Consumer::new("localhost:9092").on_error(|error: &io::Error| match error.kind() {
    ///     io::ErrorKind::InvalidData => ErrorClass::Undecodable,
    ///     io::ErrorKind::PermissionDenied => ErrorClass::Fatal,
    ///     _ => ErrorClass::Retry { after: None },
    /// });
    /// ```
    pub fn on_error<E>(mut self, class: impl Fn(&E) -> ErrorClass + Send + Sync + 'static) -> Self
    where
        E: std::error::Error + 'static,
    {
        self.engine.failures.classes.on(class);
        self
    }

    /// Retry topics for events that need more time than their key can be held up for: when the tries of an event are used
    /// up it moves to `TOPIC.retry.5s` (say), is tried again there when the delay has passed, and moves on to the next
    /// one. The delays rise. The order of its key is given up by that, and only by that.
    ///
    /// ```
    /// # use onrush::Consumer;
    /// # use std::time::Duration;
    /// Consumer::new("localhost:9092").retry_topics([Duration::from_secs(5), Duration::from_secs(60)]);
    /// ```
    pub fn retry_topics(mut self, delays: impl IntoIterator<Item = Duration>) -> Self {
        self.engine.failures.retry_topics = delays.into_iter().collect();
        self
    }

    /// What is done with an event whose tries are used up, those in retry topics too: it goes to the dead letters by
    /// default.
    pub fn when_exhausted(mut self, answer: Answer) -> Self {
        self.engine.failures.exhausted = answer;
        self
    }

    /// What is done with an event that the handler cannot read: it goes to the dead letters by default.
    pub fn when_undecodable(mut self, answer: Answer) -> Self {
        self.engine.failures.undecodable = answer;
        self
    }

    /// What is done after a fatal error: the partition stops by default.
    pub fn when_fatal(mut self, answer: Answer) -> Self {
        self.engine.failures.fatal = answer;
        self
    }

    /// What is done with a batch in the log that is damaged: its partition stops by default.
    pub fn when_batch_is_bad(mut self, answer: BadBatch) -> Self {
        self.engine.failures.bad_batch = answer;
        self
    }

    /// Bytes of events that may wait for another try, or behind one that does; 32 MiB by default. Over it their partition
    /// takes nothing more.
    pub fn parked_bytes(mut self, bytes: usize) -> Self {
        self.engine.failures.parked_bytes = bytes;
        self
    }
}
