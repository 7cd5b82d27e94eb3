//! From decoded records to the appender: what the arguments add to each, its pace, and the waits.

use onrush_kafka::{AppendError, Appender, Header, TopicHandle};
use onrush_runtime::{Clock, Fault, Instant, Wake};
use tokio::time::{sleep_until, timeout_at};

use super::input::{Input, Piece, unreadable};
use super::pacer::Pacer;
use crate::failure::{Exit, Failure};
use crate::records::Fields;
use crate::records::decoder::{Decoder, InputFormat};
use crate::records::malformed::{Malformed, Reason};

/// Which partition a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// The one that came with it, or that of its key.
    Input,
    /// That of its key, whatever came with it.
    Key,
    /// This one.
    Fixed(i32),
}

/// What the arguments say about every record.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    /// In place of the record's own.
    pub(super) key: Option<&'a [u8]>,
    /// After the record's own.
    pub(super) headers: Vec<Header<'a>>,
    pub(super) placement: Placement,
    /// The time of sending in place of the record's own.
    pub(super) stamp_now: bool,
}

/// Sends the records of an input.
pub(super) struct Sending<'a> {
    pub(super) appender: Appender,
    pub(super) topic: TopicHandle,
    /// Woken when the producer has memory again.
    pub(super) room: Wake,
    pub(super) rules: Rules<'a>,
    pub(super) pacer: Pacer,
    pub(super) format: InputFormat,
    pub(super) largest: usize,
    /// Records that the appender took.
    pub(super) sent: u64,
    now: Instant,
    wall: i64,
}

impl<'a> Sending<'a> {
    pub(super) fn new(
        mut appender: Appender,
        topic: TopicHandle,
        rules: Rules<'a>,
        rate: Option<u64>,
        format: InputFormat,
        largest: usize,
    ) -> Self {
        let (room, now) = (Wake::new(), Instant::now());
        appender.wake_on_room(room.clone());
        let pacer = Pacer::new(rate, now);
        let wall = Clock::System.wall_millis();
        Self { appender, topic, room, rules, pacer, format, largest, sent: 0, now, wall }
    }

    /// Sends everything. May be cancelled: what the appender has taken by then is sent.
    pub(super) async fn run(&mut self, input: &mut Input) -> Result<(), Failure> {
        let mut decoder = Decoder::new(&self.format, self.largest);
        let (mut name, mut pending) = (String::new(), Vec::new());
        while let Some(piece) = self.next(input).await {
            self.look_at_clock();
            match piece {
                Piece::Begin(begun) => {
                    decoder = Decoder::new(&self.format, self.largest);
                    name = begun;
                    pending.clear();
                }
                Piece::Bytes(buffer) => {
                    pending.extend_from_slice(buffer.bytes());
                    input.done(buffer);
                    self.drain(&mut decoder, &mut pending, &name, false).await?;
                }
                Piece::End => self.drain(&mut decoder, &mut pending, &name, true).await?,
                Piece::Failed(name, error) => {
                    return Err(unreadable(&name, &error));
                }
            }
        }
        Ok(())
    }

    /// The next piece; batches linger out while it is waited for.
    async fn next(&mut self, input: &mut Input) -> Option<Piece> {
        loop {
            match self.appender.poll(Instant::now()) {
                None => return input.next().await,
                Some(due) => match timeout_at(due, input.next()).await {
                    Ok(piece) => return piece,
                    Err(_) => continue,
                },
            }
        }
    }

    /// Sends the records that are whole in `pending`, and leaves the rest there.
    async fn drain(
        &mut self,
        decoder: &mut Decoder,
        pending: &mut Vec<u8>,
        name: &str,
        ends: bool,
    ) -> Result<(), Failure> {
        let malformed = |malformed: Malformed| malformed_in(name, &malformed);
        let mut start = 0;
        loop {
            let step = decoder.next(&pending[start..], ends).map_err(malformed)?;
            start += step.consumed;
            let Some(fields) = step.record else {
                if step.consumed == 0 {
                    break;
                }
                continue;
            };
            if !self.pacer.take() {
                self.pause().await;
            }
            let mut outcome = self.append(&fields);
            while let Err(AppendError::Full) = outcome {
                self.room.notified().await;
                self.look_at_clock();
                outcome = self.append(&fields);
            }
            if let Err(error) = outcome {
                return Err(malformed(decoder.malformed(reason(error))));
            }
            self.sent += 1;
        }
        pending.drain(..start);
        Ok(())
    }

    /// Waits until the pace allows another record, and takes it.
    async fn pause(&mut self) {
        loop {
            self.look_at_clock();
            let next = self.pacer.refill(self.now);
            if self.pacer.take() {
                return;
            }
            let due = self.appender.poll(self.now);
            if let Some(until) = next.into_iter().chain(due).min() {
                sleep_until(until).await;
            }
        }
    }

    /// The time is looked at once per piece and after waits, not per record.
    fn look_at_clock(&mut self) {
        self.now = Instant::now();
        self.wall = Clock::System.wall_millis();
    }

    fn append(&mut self, fields: &Fields<'_>) -> Result<(), AppendError> {
        let rules = &self.rules;
        let both;
        let headers = match (rules.headers.is_empty(), fields.headers.is_empty()) {
            (true, _) => &fields.headers,
            (false, true) => &rules.headers,
            (false, false) => {
                both = fields.headers.iter().chain(&rules.headers).copied().collect();
                &both
            }
        };
        let partition = match rules.placement {
            Placement::Input => fields.partition,
            Placement::Key => None,
            Placement::Fixed(partition) => Some(partition),
        };
        let own_time = fields.timestamp.filter(|_| !rules.stamp_now);
        let timestamp = own_time.unwrap_or(self.wall);
        let key = rules.key.or(fields.key);
        let topic = self.topic;
        self.appender
            .append(topic, partition, timestamp, key, fields.value, headers, self.now)
            .map(|_| ())
    }
}

fn malformed_in(name: &str, malformed: &Malformed) -> Failure {
    let code = match malformed.reason {
        Reason::TooLarge { .. } => Fault::TooLarge,
        _ => Fault::Input,
    };
    Failure::new(Exit::Wrong, format!("{name}, {malformed}")).code(code)
}

fn reason(error: AppendError) -> Reason {
    match error {
        AppendError::TooLarge { limit, .. } => Reason::TooLarge { limit },
        AppendError::UnknownPartition { partition, partitions, .. } => {
            Reason::Partition { partition, partitions }
        }
        error => Reason::Unsendable(error.to_string()),
    }
}
