//! Where the engine meets the client: sinks for what was fetched and acknowledged, and an outlet
//! for what is emitted. All of them only pass on; the client calls the sinks on its I/O side.

use std::sync::Arc;

use onrush_kafka::{
    AckSink, Acked, AppendError, Appender, FetchEvent, FetchSink, Fetched, TopicHandle,
};
use onrush_runtime::Instant;

use crate::emit::{Delivery, Outgoing, Outlet, OutletError};
use crate::inbox::Inbox;
use crate::message::{LaneInput, WorkerInput};
use crate::source::Slice;

/// Gives slices to a lane.
pub(crate) struct LaneSink(pub(crate) Arc<Inbox<LaneInput>>);

impl FetchSink for LaneSink {
    fn deliver(&self, event: FetchEvent) {
        self.0.push(match event {
            FetchEvent::Records(Fetched {
                partition,
                token,
                records,
                high_watermark,
                lease,
                ..
            }) => LaneInput::Fetched {
                partition,
                token,
                slice: Slice { records, high_watermark, lease: Some(lease) },
            },
            FetchEvent::OutOfRange { partition, token, log_start, end } => {
                LaneInput::OutOfRange { partition, token, log_start, end }
            }
            FetchEvent::Failed { partition, token, error } => {
                LaneInput::FetchFailed { partition, token, error }
            }
        });
    }
}

/// Gives acknowledgements to a lane.
pub(crate) struct LaneAcks(pub(crate) Arc<Inbox<LaneInput>>);

impl AckSink for LaneAcks {
    fn acked(&self, acked: Acked) {
        self.0.push(LaneInput::Delivered(delivery(acked)));
    }
}

/// Gives acknowledgements to a worker.
pub(crate) struct WorkerAcks(pub(crate) Arc<Inbox<WorkerInput>>);

impl AckSink for WorkerAcks {
    fn acked(&self, acked: Acked) {
        self.0.push(WorkerInput::Delivered(delivery(acked)));
    }
}

fn delivery(acked: Acked) -> Delivery {
    Delivery {
        batch: acked.batch,
        result: acked.outcome.map(drop).map_err(|error| error.to_string()),
    }
}

/// A producer's appender with the handles of the topics it was used for.
pub(crate) struct AppenderOutlet {
    appender: Appender,
    topics: Vec<(Box<str>, TopicHandle)>,
}

impl AppenderOutlet {
    pub(crate) fn new(appender: Appender) -> Self {
        Self { appender, topics: Vec::new() }
    }

    fn handle(&mut self, name: &str) -> Result<TopicHandle, AppendError> {
        // Few topics, and mostly the first: a scan is cheaper than a hash.
        if let Some((_, handle)) = self.topics.iter().find(|(topic, _)| **topic == *name) {
            return Ok(*handle);
        }
        let handle = self.appender.topic(name)?;
        self.topics.push((name.into(), handle));
        Ok(handle)
    }
}

impl Outlet for AppenderOutlet {
    fn append(&mut self, record: &Outgoing<'_>, now: Instant) -> Result<u64, OutletError> {
        let Outgoing { topic, timestamp, key, value, headers } = *record;
        let appended = self.handle(topic).and_then(|handle| {
            self.appender.append(handle, None, timestamp, key, value, headers, now)
        });
        appended.map_err(|error| match error {
            AppendError::Full => OutletError::Full,
            AppendError::UnknownTopic { .. } => OutletError::UnknownTopic,
            refused => OutletError::Refused(refused.to_string()),
        })
    }

    fn flush(&mut self, now: Instant) {
        self.appender.flush(now);
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.appender.poll(now)
    }
}
