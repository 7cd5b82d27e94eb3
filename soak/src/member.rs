//! A member: a program as a user of Onrush would write it, with a handler that does what each event's fate says.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use onrush::{Assignment, Consumer, Context, Event, Handler, HandlerError, Mode, Place, Sabotage};

use crate::Failure;
use crate::fate::{self, Fate, Fates};
use crate::journal::{Entry, Journal, Kind};
use crate::now_micros;

/// Threads of a member: slow events hold one each.
const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(96).unwrap();
/// How long a slow event takes.
const SLOW: Duration = Duration::from_secs(5);
/// How often an event that recovers fails first.
const FAILURES: u32 = 2;

#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    pub(crate) brokers: String,
    #[arg(long)]
    pub(crate) topic: String,
    #[arg(long)]
    pub(crate) group: String,
    #[arg(long)]
    pub(crate) seed: u64,
    #[arg(long)]
    pub(crate) journal: PathBuf,
    #[arg(long, value_parser = sabotage)]
    pub(crate) sabotage: Option<Sabotage>,
}

/// A damage that the verdict must notice.
pub(crate) fn sabotage(name: &str) -> Result<Sabotage, String> {
    match name {
        "lose" => Ok(Sabotage::Lose),
        "repeat" => Ok(Sabotage::Repeat),
        "reorder" => Ok(Sabotage::Reorder),
        "commit-early" => Ok(Sabotage::CommitEarly),
        "forget" => Ok(Sabotage::Forget),
        _ => Err("expected lose, repeat, reorder, commit-early or forget".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let shared = Arc::new(Shared {
        journal: Journal::create(&arguments.journal)?,
        fates: Fates::new(arguments.seed),
    });
    let mut consumer = Consumer::new(&arguments.brokers)
        .group(&arguments.group)
        .topic(&arguments.topic)
        .mode(Mode::EachBlocking { concurrency: CONCURRENCY });
    if let Some(sabotage) = arguments.sabotage {
        consumer = consumer.sabotage(sabotage);
    }
    consumer.handlers(move |_: Place| Soaked { shared: Arc::clone(&shared) }).run()?;
    Ok(())
}

struct Shared {
    journal: Journal,
    fates: Fates,
}

struct Soaked {
    shared: Arc<Shared>,
}

impl Soaked {
    fn note(&self, kind: Kind, event: &Event<'_>, decoded: fate::Event) {
        self.shared.journal.note(Entry {
            kind,
            partition: event.partition,
            offset: event.offset,
            number: decoded.number,
            key: decoded.key,
            epoch: event.epoch,
            micros: now_micros(),
        });
    }

    fn note_holding(&self, kind: Kind, assignment: &Assignment) {
        let (partition, epoch) = (assignment.partition, assignment.epoch);
        let (offset, number, key, micros) = (assignment.start, 0, 0, now_micros());
        self.shared.journal.note(Entry { kind, partition, offset, number, key, epoch, micros });
    }
}

impl Handler for Soaked {
    fn each(&mut self, event: &Event<'_>, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let decoded = event.value.and_then(fate::Event::read);
        let decoded = decoded.ok_or_else(|| HandlerError::fatal("a value of another program"))?;
        self.note(Kind::Started, event, decoded);
        let error = match self.shared.fates.of(decoded) {
            Fate::Plain => None,
            Fate::Slow => {
                std::thread::sleep(SLOW);
                None
            }
            Fate::Fails => (cx.attempt() <= FAILURES).then_some("not yet"),
            Fate::Panics if cx.attempt() == 1 => {
                self.note(Kind::Failed, event, decoded);
                panic!("asked to");
            }
            Fate::Panics => None,
            Fate::Poison => Some("never"),
        };
        match error {
            None => {
                self.note(Kind::Done, event, decoded);
                Ok(())
            }
            Some(text) => {
                self.note(Kind::Failed, event, decoded);
                Err(HandlerError::msg(text))
            }
        }
    }

    fn assigned(&mut self, assignment: &Assignment) {
        self.note_holding(Kind::Assigned, assignment);
    }

    fn revoked(&mut self, assignment: &Assignment) {
        self.note_holding(Kind::Revoked, assignment);
    }
}
