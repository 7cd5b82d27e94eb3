//! Commits of a group that carry what something else has written.

use std::num::NonZeroUsize;
use std::sync::{Mutex, Once};

use onrush_engine::{Context, Event, HandlerError, Mode, Place};
use onrush_kafka::{Commit, TopicPartition};
use onrush_runtime::Fault;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

use crate::target::{Seen, Target};

/// The log lines with a code, as `code partition`.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

#[derive(Default)]
struct Fields {
    code: String,
    partition: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "code" => self.code = format!("{value:?}"),
            "partition" => self.partition = format!("{value:?}"),
            _ => {}
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if !fields.code.is_empty() {
            LINES.lock().unwrap().push(format!("{} {}", fields.code, fields.partition));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Log lines of all tests of this process go there; topics tell them apart.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Lines).unwrap());
}

fn warnings(topic: &str) -> Vec<String> {
    let code = Fault::ForeignMetadata.to_string();
    let lines = LINES.lock().unwrap();
    let mut of_topic: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with(&code) && line.contains(topic))
        .cloned()
        .collect();
    of_topic.sort();
    of_topic
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_20_foreign_metadata_gives_one_warning_per_partition_and_skips_nothing() {
    listen();
    let target = Target::start().await;
    let topic = target.topic("foreign", 3).await;
    target.fill(&topic, 30, 600).await;
    let ends = target.ends(&topic, 3).await;
    // What Kafka Streams writes, what a person writes, and nothing.
    let commit = |partition, metadata: &str| Commit {
        partition: TopicPartition::new(topic.as_str(), partition),
        offset: 5,
        leader_epoch: -1,
        metadata: metadata.to_owned(),
    };
    let commits = [commit(0, "AgAAAZLkAAAAAAAAAA=="), commit(1, "moved by hand"), commit(2, "")];
    target.client.commit_offsets(&format!("{topic}-group"), &commits).await.unwrap();
    let seen = Seen::default();
    let noting = seen.clone();
    let factory = move |_: Place| {
        let seen = noting.clone();
        move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
            seen.note(event);
            Ok(())
        }
    };
    let config = target.config(&topic, Mode::Each);
    let config = onrush_engine::EngineConfig { lanes: NonZeroUsize::MIN, ..config };
    let member = target.engine(config.clone(), factory.clone()).await;
    let events: i64 = ends.iter().map(|end| end - 5).sum();
    seen.reaches(events as usize).await;
    member.stop().await.unwrap();
    assert_eq!(target.committed(&topic, 3).await, ends);
    let code = Fault::ForeignMetadata;
    let expected = [0, 1].map(|partition| format!("{code} {topic}-{partition}"));
    assert_eq!(warnings(&topic), expected);
    // What was committed since is ours.
    let again = target.engine(config, factory).await;
    target.fill(&topic, 30, 60).await;
    seen.reaches(events as usize + 60).await;
    again.stop().await.unwrap();
    assert_eq!(warnings(&topic), expected);
}
