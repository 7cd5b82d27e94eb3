//! Where an event came from first. In a retry topic its headers say so; anywhere else it is where
//! it lies.

use onrush_record::{Headers, Record};

use crate::assignment::Holding;
use crate::dead_letter::{
    ATTEMPTS, FIRST_FAILURE, ORIGIN_OFFSET, ORIGIN_PARTITION, ORIGIN_TIMESTAMP, ORIGIN_TOPIC,
};
use crate::handler::Event;

/// The first place of an event, and what it went through since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// Its timestamp there.
    pub timestamp: i64,
    /// How often it failed before it came here.
    pub attempts: u32,
    /// When it failed first, in milliseconds since 1970.
    pub first_millis: Option<i64>,
}

impl<'a> Lineage<'a> {
    /// Of a record in the partition in hand.
    pub(crate) fn of(holding: &'a Holding, record: &Record<'a>) -> Self {
        let assignment = &holding.assignment;
        let here = Self {
            topic: &assignment.topic,
            partition: assignment.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            attempts: 0,
            first_millis: None,
        };
        if holding.is_retry_topic { here.told(record.headers) } else { here }
    }

    /// Of an event.
    pub(crate) fn of_event(event: &Event<'a>) -> Self {
        let Event { topic, partition, offset, timestamp, headers, .. } = *event;
        let here = Self { topic, partition, offset, timestamp, attempts: 0, first_millis: None };
        if event.is_retry_topic { here.told(headers) } else { here }
    }

    /// What the headers say, as far as they do. They were written by a member of the group, or by
    /// anybody who may write to the topic: they are read, and trusted with nothing but names.
    fn told(mut self, headers: Headers<'a>) -> Self {
        for header in headers.filter_map(Result::ok) {
            let Some(text) = header.value.and_then(|value| std::str::from_utf8(value).ok()) else {
                continue;
            };
            match header.key {
                ORIGIN_TOPIC => self.topic = text,
                ORIGIN_PARTITION => read(text, &mut self.partition),
                ORIGIN_OFFSET => read(text, &mut self.offset),
                ORIGIN_TIMESTAMP => read(text, &mut self.timestamp),
                ATTEMPTS => read(text, &mut self.attempts),
                FIRST_FAILURE => self.first_millis = text.parse().ok().or(self.first_millis),
                _ => {}
            }
        }
        self
    }
}

/// The time of an event: in a retry topic that of the record which moved there.
#[inline]
pub(crate) fn event_time(holding: &Holding, record: &Record<'_>) -> i64 {
    #[cold]
    fn told(holding: &Holding, record: &Record<'_>) -> i64 {
        Lineage::of(holding, record).timestamp
    }
    if holding.is_retry_topic { told(holding, record) } else { record.timestamp }
}

fn read<N: std::str::FromStr>(text: &str, number: &mut N) {
    if let Ok(parsed) = text.parse() {
        *number = parsed;
    }
}
