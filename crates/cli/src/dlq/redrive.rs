//! `onrush dlq redrive`.
//!
//! Letters are sent in the order of their partition, a few hundred at a time: sent, acknowledged, then counted as sent back
//! ([`progress`](super::progress)). So a redrive that dies sends some of its last few hundred again: at least once. Every
//! record has the header [`REDRIVE_ID`], by which a consumer tells a second copy from the first.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use clap::Args;
use onrush_kafka::{
    AppendError, Appender, Client, Header, Producer, ProducerConfig, TopicHandle, TopicPartition,
};
use onrush_runtime::{Fault, Instant, Wake};
use serde::Serialize;
use tokio::time::sleep_until;

use super::letter::{Letter, OWN_HEADERS};
use super::progress::Progress;
use super::selection::Selection;
use crate::cluster::{Cluster, Session};
use crate::confirm::{Confirmation, Decision};
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::outcome::failure;
use crate::produce::{Acks, Pacer};
use crate::records::scan::Scan;
use crate::stderr;
use crate::table::{self, Column, Table};

/// Header: which letter the event was, the same for every copy of it: `TOPIC/PARTITION/OFFSET` of the dead-letter topic.
pub(super) const REDRIVE_ID: &str = "onrush.redrive.id";
/// Header: how often the event was sent back, this time included.
pub(super) const REDRIVES: &str = "onrush.redrives";
/// Letters that are sent before it is written down that they were.
const CHUNK: usize = 256;

/// Send dead letters back to where they came from, or elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "\
What was sent back is remembered per topic and selection: the same command goes on where it was interrupted, and sends
only new letters when it is run again. The letters stay where they are; onrush topic trim deletes them.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// The dead-letter topic.
    #[arg(value_name = "TOPIC")]
    topic: String,
    #[command(flatten)]
    selection: Selection,
    /// Send them to this topic, in place of the ones that they came from.
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// Send also what was sent back before.
    #[arg(long)]
    again: bool,
    /// At most so many letters per second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    #[command(flatten)]
    confirmation: Confirmation,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |session| redrive(session, arguments).await)
}

type Parts = BTreeMap<TopicPartition, Range<i64>>;

/// Letters by the topic that they go to.
#[derive(Default)]
struct Plan {
    letters: BTreeMap<String, u64>,
    /// Records that say nowhere they came from.
    homeless: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    to: &'a str,
    letters: u64,
    applied: bool,
}

async fn redrive(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let client = &session.client;
    let now = session.runtime.clock.wall_millis();
    let mut parts = arguments.selection.parts(client, &arguments.topic, now).await?;
    let progress = arguments.progress();
    if let Some(progress) = progress.as_ref().filter(|_| !arguments.again) {
        let passed = progress.shorten(client, &mut parts).await?;
        if passed > 0 {
            stderr::note(format_args!(
                "{passed} offsets were gone through before; --again begins with the first"
            ));
        }
    }
    let plan = plan(client, arguments, parts.clone()).await?;
    let letters: u64 = plan.letters.values().sum();
    if plan.homeless > 0 {
        stderr::note(format_args!(
            "{} records say nowhere they came from and stay; --to sends them somewhere",
            plan.homeless
        ));
    }
    if letters == 0 {
        stderr::note("nothing to send back");
        return show(arguments, &plan, false);
    }
    let targets = targets(client, &plan).await?;
    if !arguments.json {
        table::print(&text(&plan))?;
    } else if arguments.confirmation.asks() {
        stderr::print(text(&plan));
    }
    let decision = arguments.confirmation.decide(&format!("Send {letters} letters back?"));
    if !matches!(decision, Ok(Decision::Make)) {
        show(arguments, &plan, false)?;
        return decision.map(drop);
    }
    send(session, arguments, parts, progress, &targets).await?;
    show(arguments, &plan, true)
}

impl Arguments {
    /// Single letters are named by who wants them sent, each time.
    fn progress(&self) -> Option<Progress> {
        let selection = &self.selection;
        let kept = selection.at.is_empty();
        kept.then(|| Progress::of(&self.topic, selection, self.to.as_deref()))
    }

    fn target<'a>(&'a self, letter: &'a Letter) -> Option<&'a str> {
        let origin = letter.origin.as_ref().map(|origin| origin.topic.as_str());
        self.to.as_deref().or(origin)
    }
}

async fn plan(client: &Client, arguments: &Arguments, parts: Parts) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let count = |letter: Letter| {
        match arguments.target(&letter) {
            Some(target) => *plan.letters.entry(target.to_owned()).or_default() += 1,
            None => plan.homeless += 1,
        }
        Ok(())
    };
    arguments.selection.each(client, parts, count).await?;
    Ok(plan)
}

/// The partitions of the topics that letters go to, which have to be there.
async fn targets(client: &Client, plan: &Plan) -> Result<BTreeMap<String, i32>, Failure> {
    let names: Vec<&str> = plan.letters.keys().map(String::as_str).collect();
    let topics = client.metadata(&names).await.map_err(failure)?;
    let count = |partitions: usize| i32::try_from(partitions).unwrap_or(i32::MAX);
    Ok(topics.iter().map(|topic| (topic.name.to_string(), count(topic.partitions.len()))).collect())
}

fn text(plan: &Plan) -> String {
    let mut table = Table::new([Column::Left("TO"), Column::Right("LETTERS")]);
    for (topic, letters) in &plan.letters {
        table.row([topic.clone(), letters.to_string()]);
    }
    table.text()
}

fn show(arguments: &Arguments, plan: &Plan, applied: bool) -> Result<(), Failure> {
    if !arguments.json {
        return Ok(());
    }
    let topic = arguments.topic.as_str();
    table::print_json(plan.letters.iter().map(|(to, letters)| Row {
        topic,
        to,
        letters: *letters,
        applied,
    }))
}

async fn send(
    session: &Session,
    arguments: &Arguments,
    parts: Parts,
    progress: Option<Progress>,
    targets: &BTreeMap<String, i32>,
) -> Result<(), Failure> {
    let mut interrupt = Interrupt::listen_twice(&session.executor);
    let mut sender = Sender::start(&session.client, targets, arguments.rate).await?;
    let outcome = tokio::select! {
        biased;
        () = interrupt.requested() => Err(Failure::new(Exit::Interrupted, "interrupted")),
        outcome = sender.send(&session.client, arguments, parts, progress.as_ref()) => outcome,
    };
    let sent = sender.confirmed;
    match outcome {
        Ok(()) => {
            stderr::note(format_args!("{sent} letters were sent back"));
            Ok(())
        }
        Err(failure) if progress.is_some() => Err(Failure {
            message: format!(
                "{failure}; {sent} letters were sent back, and the same command goes on after them"
            ),
            ..failure
        }),
        Err(failure) => Err(failure),
    }
}

/// Sends letters as events.
struct Sender<'a> {
    producer: Producer,
    appender: Appender,
    acks: Arc<Acks>,
    /// By name: the topic, and its partitions.
    targets: BTreeMap<&'a str, (TopicHandle, i32)>,
    /// Woken when the producer has memory again.
    room: Wake,
    pacer: Pacer,
    confirmed: u64,
}

impl<'a> Sender<'a> {
    async fn start(
        client: &Client,
        targets: &'a BTreeMap<String, i32>,
        rate: Option<u64>,
    ) -> Result<Self, Failure> {
        let producer = Producer::start(client, ProducerConfig::default()).await?;
        let (acks, room) = (Arc::new(Acks::default()), Wake::new());
        let mut appender = producer.appender(acks.clone());
        appender.wake_on_room(room.clone());
        let mut handles = BTreeMap::new();
        for (name, partitions) in targets {
            handles.insert(name.as_str(), (appender.topic(name)?, *partitions));
        }
        let pacer = Pacer::new(rate, Instant::now());
        Ok(Self { producer, appender, acks, targets: handles, room, pacer, confirmed: 0 })
    }

    /// May be cancelled: what is not written down is sent again next time.
    async fn send(
        &mut self,
        client: &Client,
        arguments: &Arguments,
        parts: Parts,
        progress: Option<&Progress>,
    ) -> Result<(), Failure> {
        let selection = &arguments.selection;
        let mut scan = Scan::new(client, parts);
        while let Some(scanned) =
            scan.next(|partition, record| selection.letter(partition, record)).await?
        {
            for letters in scanned.kept.chunks(CHUNK) {
                self.send_chunk(arguments, letters).await?;
                if let (Some(progress), Some(last)) = (progress, letters.last()) {
                    progress.reached(client, &scanned.partition, last.offset + 1).await?;
                }
            }
            if let Some(progress) = progress {
                progress.reached(client, &scanned.partition, scanned.next).await?;
            }
        }
        scan.close().await;
        Ok(())
    }

    async fn send_chunk(
        &mut self,
        arguments: &Arguments,
        letters: &[Letter],
    ) -> Result<(), Failure> {
        let mut sent = 0;
        for letter in letters {
            let Some(target) = arguments.target(letter) else { continue };
            // Letters that came since the plan was made may come from elsewhere; they are for the next time.
            let Some((topic, partitions)) = self.targets.get(target).copied() else { continue };
            let home = letter.origin.as_ref().filter(|_| arguments.to.is_none());
            let partition = home.map(|origin| origin.partition).filter(|n| *n < partitions);
            self.pace().await;
            self.append(topic, partition, letter).await?;
            sent += 1;
        }
        self.appender.flush(Instant::now());
        self.producer.flush().await;
        match self.acks.failed() {
            None => {
                self.confirmed += sent;
                Ok(())
            }
            Some((count, error)) => {
                Err(Failure::from(error).doing(format!("{count} letters were not acknowledged")))
            }
        }
    }

    async fn pace(&mut self) {
        while !self.pacer.take() {
            if let Some(until) = self.pacer.refill(Instant::now()) {
                sleep_until(until).await;
            }
        }
    }

    async fn append(
        &mut self,
        topic: TopicHandle,
        partition: Option<i32>,
        letter: &Letter,
    ) -> Result<(), Failure> {
        let id =
            format!("{}/{}/{}", letter.partition.topic, letter.partition.partition, letter.offset);
        let redrives = letter.text(REDRIVES).and_then(|count| count.parse::<u64>().ok());
        let redrives = (redrives.unwrap_or(0) + 1).to_string();
        let own = letter.headers.iter().filter(|(name, _)| !name.starts_with(OWN_HEADERS));
        let mut headers: Vec<Header<'_>> =
            own.map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        headers.push(Header { key: REDRIVE_ID, value: Some(id.as_bytes()) });
        headers.push(Header { key: REDRIVES, value: Some(redrives.as_bytes()) });
        let (key, value) = (letter.key.as_deref(), letter.value.as_deref());
        loop {
            let now = Instant::now();
            let appended =
                self.appender.append(topic, partition, letter.timestamp, key, value, &headers, now);
            match appended {
                Ok(_) => return Ok(()),
                Err(AppendError::Full) => self.room.notified().await,
                Err(error) => {
                    let failure = Failure::from(error).doing(format!("letter {}", letter.place()));
                    return Err(failure.code(Fault::Input));
                }
            }
        }
    }
}
