//! `onrush dlq send`.
//!
//! The event is looked at, a way to settle it is found, then it is written to the dead letters, and when that is acknowledged
//! it gets its outcome ([`settlement`](super::settlement)). So it is never lost, and a failure in between leaves a letter too
//! many, which is said.

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use onrush::http::Place as Event;
use onrush_engine::Note;
use onrush_engine::dead_letter::{
    ATTEMPTS, CODE, ERROR, FIRST_FAILURE, LAST_FAILURE, ORIGIN_LAST_OFFSET, ORIGIN_OFFSET,
    ORIGIN_PARTITION, ORIGIN_TIMESTAMP, ORIGIN_TOPIC, RETRY_DUE, TOPIC_SUFFIX,
};
use onrush_kafka::{
    AckSink, Acked, Client, ErrorCode, Header, ProduceError, Producer, ProducerConfig,
};
use onrush_runtime::{Fault, Instant};
use serde::Serialize;

use super::letter::{Bytes, Letter, Origin, shown};
use super::selection::{Place, Selection};
use super::settlement::{Found, Settlement, find_way};
use crate::cluster::{Cluster, Session};
use crate::confirm::{Confirmation, Decision};
use crate::failure::Failure;
use crate::outcome::failure;
use crate::peer::Peer;
use crate::stderr;
use crate::table;

/// Headers that a dead letter sets: what an earlier one left of them is replaced.
const OURS: [&str; 11] = [
    ORIGIN_TOPIC,
    ORIGIN_PARTITION,
    ORIGIN_OFFSET,
    ORIGIN_LAST_OFFSET,
    ORIGIN_TIMESTAMP,
    CODE,
    ERROR,
    ATTEMPTS,
    FIRST_FAILURE,
    LAST_FAILURE,
    RETRY_DUE,
];
/// As many as the engine gives a dead-letter topic, with the cluster's replication.
const PARTITIONS: i32 = 1;
const DEFAULT_REPLICATION: i16 = -1;

/// Dead-letter one event by hand, so that its group passes it.
#[derive(Debug, Args)]
#[command(after_help = "\
The event is copied to the dead letters, then its group is told. A group at work is told by way of the member that holds the
partition: name where it shows itself over HTTP (Consumer::http), or where all members do. A group without members is told
by a commit.
What its handler does with the event meanwhile is not undone, and its outcome is not listened to any more.

Examples:
  onrush dlq send payments 3:1742 --group billing --member 10.0.0.7:9100 --dry-run
  onrush dlq send payments 3:1742 --group billing --reason 'card 17 does not exist' --yes   # no members")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// The topic that the event is in.
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Where it is, as `onrush lag` shows it.
    #[arg(value_name = "PARTITION:OFFSET")]
    place: Place,
    /// The group that is to pass it; what it noted of the event (attempts, last error) goes into the letter.
    #[arg(long, short = 'g', value_name = "GROUP", required_unless_present = "members")]
    group: Option<String>,
    /// Where a member shows itself over HTTP (repeatable).
    #[arg(long = "member", short = 'm', value_name = "HOST:PORT")]
    members: Vec<Peer>,
    /// The dead-letter topic, created if it is not there [default: TOPIC.dead-letter].
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// What the letter says went wrong.
    #[arg(long, value_name = "TEXT", default_value = "dead-lettered by hand")]
    reason: String,
    #[command(flatten)]
    confirmation: Confirmation,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |session| send(session, arguments).await)
}

async fn send(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let client = &session.client;
    if arguments.to.as_ref() == Some(&arguments.topic) {
        return Err(Failure::usage("--to is the topic that the event is in"));
    }
    let Place { partition, offset } = arguments.place;
    let event = Event { topic: arguments.topic.clone(), partition, offset };
    let record = read(session, arguments).await?;
    let group = arguments.group.as_deref();
    let Found { settlement, note } = find_way(client, &event, group, &arguments.members).await?;
    let plan = Plan::of(arguments, record, settlement, note);
    let is_new = !exists(client, &plan.to).await?;
    if !arguments.json {
        table::print(&plan.text(is_new))?;
    } else if arguments.confirmation.asks() {
        stderr::print(plan.text(is_new));
    }
    let question = format!("Dead-letter offset {offset} of {} {partition}?", arguments.topic);
    let decision = arguments.confirmation.decide(&question);
    if !matches!(decision, Ok(Decision::Make)) {
        plan.show(arguments, None)?;
        return decision.map(drop);
    }
    if is_new {
        client.create_topic(&plan.to, PARTITIONS, DEFAULT_REPLICATION).await.map_err(failure)?;
    }
    let letter = plan.write(client).await?;
    let settled = plan.settlement.settle(client, &event).await;
    settled.map_err(|failure| Failure {
        message: format!(
            "{failure}. The dead letter is written ({} {letter}) and the event is as it was: the same command writes another letter",
            plan.to
        ),
        ..failure
    })?;
    stderr::note(format_args!(
        "{} {partition}:{offset} is in {} {letter}; {}",
        arguments.topic,
        plan.to,
        plan.settlement.text()
    ));
    plan.show(arguments, Some(&letter))
}

/// The event, which is a letter as soon as it is in the dead letters.
async fn read(session: &Session, arguments: &Arguments) -> Result<Letter, Failure> {
    let selection = Selection::of(vec![arguments.place]);
    let now = session.runtime.clock.wall_millis();
    let parts = selection.parts(&session.client, &arguments.topic, now).await?;
    let mut found = None;
    let keep = |letter| {
        found = Some(letter);
        Ok(())
    };
    selection.each(&session.client, parts, keep).await?;
    found.ok_or_else(|| {
        let (Place { partition, offset }, topic) = (arguments.place, &arguments.topic);
        Failure::usage(format!(
            "{topic} has no event at {partition}:{offset}; `onrush topic describe {topic}` shows where its partitions begin and end"
        ))
    })
}

async fn exists(client: &Client, topic: &str) -> Result<bool, Failure> {
    match client.describe_topics(&[topic]).await.into_values().next() {
        Some(Err(error)) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => {
            Ok(false)
        }
        Some(Err(error)) => Err(failure(error)),
        Some(Ok(_)) => Ok(true),
        None => Ok(false),
    }
}

/// What is to be done.
struct Plan {
    event: Letter,
    /// Where the event was at first: it may have come by way of a retry topic.
    origin: Origin,
    to: String,
    error: String,
    attempts: u32,
    since_millis: Option<i64>,
    settlement: Settlement,
}

impl Plan {
    fn of(
        arguments: &Arguments,
        event: Letter,
        settlement: Settlement,
        note: Option<Note>,
    ) -> Self {
        let here = Origin {
            topic: arguments.topic.clone(),
            partition: arguments.place.partition,
            offset: arguments.place.offset,
        };
        let was_moved = event.text(RETRY_DUE).is_some();
        let origin = event.origin.clone().filter(|_| was_moved).unwrap_or(here);
        let default = || format!("{}{TOPIC_SUFFIX}", origin.topic);
        let to = arguments.to.clone().unwrap_or_else(default);
        let note = note.unwrap_or_default();
        let error = match note.error.as_str() {
            "" => arguments.reason.clone(),
            last => format!("{}; last error: {last}", arguments.reason),
        };
        let earlier = event.attempts().parse().ok().filter(|_| was_moved).unwrap_or(0u32);
        let attempts = note.attempts.saturating_add(earlier);
        let since_millis = Some(note.since_millis).filter(|since| *since > 0);
        Self { event, origin, to, error, attempts, since_millis, settlement }
    }

    fn text(&self, is_new: bool) -> String {
        let to = if is_new { format!("{} (new)", self.to) } else { self.to.clone() };
        table::facts([
            ("event", format!("{} {}", self.event.partition.topic, self.event.place())),
            ("key", shown(self.event.key.as_deref())),
            ("attempts", self.attempts.to_string()),
            ("error", self.error.clone()),
            ("to", to),
            ("then", self.settlement.text()),
        ])
    }

    fn show(&self, arguments: &Arguments, letter: Option<&str>) -> Result<(), Failure> {
        if !arguments.json {
            return Ok(());
        }
        let (member, group, committed) = match &self.settlement {
            Settlement::Member { peers } => (peers.first().map(ToString::to_string), None, None),
            Settlement::Commit { group, after, .. } => (None, Some(group.as_str()), Some(*after)),
        };
        table::print_json([Row {
            topic: &arguments.topic,
            partition: arguments.place.partition,
            offset: arguments.place.offset,
            key: Bytes(self.event.key.as_deref()),
            attempts: self.attempts,
            error: &self.error,
            to: &self.to,
            letter,
            member,
            group,
            committed,
            applied: letter.is_some(),
        }])
    }

    /// Writes the letter and waits until it is acknowledged; where it is then.
    async fn write(&self, client: &Client) -> Result<String, Failure> {
        // The producer knows topics from the client's metadata.
        client.metadata(&[&self.to]).await.map_err(failure)?;
        let producer = Producer::start(client, ProducerConfig::default()).await?;
        let ack = Arc::new(Ack::default());
        let mut appender = producer.appender(ack.clone());
        let topic = appender.topic(&self.to)?;
        let told = self.told();
        let own = self.event.headers.iter().filter(|(name, _)| !OURS.contains(&name.as_str()));
        let mut headers: Vec<Header<'_>> =
            own.map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        headers.extend(told.iter().map(|(key, text)| Header { key, value: Some(text.as_bytes()) }));
        let (key, value) = (self.event.key.as_deref(), self.event.value.as_deref());
        let now = Instant::now();
        let appended =
            appender.append(topic, None, self.event.timestamp, key, value, &headers, now);
        appended.map_err(|error| Failure::from(error).doing("the dead letter"))?;
        appender.flush(Instant::now());
        producer.flush().await;
        ack.place().map_err(|failure| failure.doing("the dead letter was not acknowledged"))
    }

    /// What the letter's headers say.
    fn told(&self) -> Vec<(&'static str, String)> {
        let timestamp = self.event.text(ORIGIN_TIMESTAMP).filter(|_| self.was_moved());
        let timestamp = timestamp.unwrap_or_else(|| self.event.timestamp.to_string());
        let mut told = vec![
            (ORIGIN_TOPIC, self.origin.topic.clone()),
            (ORIGIN_PARTITION, self.origin.partition.to_string()),
            (ORIGIN_OFFSET, self.origin.offset.to_string()),
            (ORIGIN_TIMESTAMP, timestamp),
            (CODE, Fault::HandlerFailed.to_string()),
            (ERROR, self.error.clone()),
            (ATTEMPTS, self.attempts.to_string()),
        ];
        told.extend(self.since_millis.map(|since| (FIRST_FAILURE, since.to_string())));
        told
    }

    fn was_moved(&self) -> bool {
        *self.event.partition.topic != *self.origin.topic
    }
}

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    key: Bytes<'a>,
    attempts: u32,
    error: &'a str,
    to: &'a str,
    /// Where the letter is, none if nothing was changed.
    letter: Option<&'a str>,
    member: Option<String>,
    group: Option<&'a str>,
    /// What the group commits.
    committed: Option<i64>,
    applied: bool,
}

/// What became of the one letter.
#[derive(Debug, Default)]
struct Ack(Mutex<Option<Result<String, ProduceError>>>);

impl AckSink for Ack {
    fn acked(&self, result: Acked) {
        let Acked { partition, outcome, .. } = result;
        let place = outcome.map(|offset| format!("{}:{offset}", partition.partition));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(place);
    }
}

impl Ack {
    /// To be asked when all was acknowledged.
    fn place(&self) -> Result<String, Failure> {
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match place {
            Some(Ok(place)) => Ok(place),
            Some(Err(error)) => Err(error.into()),
            None => Err(Failure::unavailable("the producer ended before it").code(Fault::Closed)),
        }
    }
}
