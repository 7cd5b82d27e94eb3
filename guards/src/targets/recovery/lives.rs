//! Lives of a broker, and the directories that they leave behind.

use std::time::Duration;

use bytes::Bytes;
use onrush_broker::fuzzing::{Answer, Bench};
use onrush_broker::{BrokerConfig, Fsync};
use onrush_record::{BatchBuilder, Compression, Compressor};
use onrush_runtime::disk::MemoryDisk;
use onrush_runtime::{Disk, Random};
use onrush_wire::frame::PREFIX;
use onrush_wire::message::{
    Message, Request, consumer_group_heartbeat, create_partitions, decode_response, delete_records,
    encode_request, incremental_alter_configs, join_group, offset_commit, sync_group,
};
use onrush_wire::{KafkaString, RequestHeader};

use super::directory::Directory;
use super::log_files::{CHECKPOINT, INDEX, SEGMENT};
use crate::targets::broker::{created, talk};
use crate::targets::requests;

const TOPIC: &str = "orders";
/// The directory of the partition that gets records.
const DIR: &str = "orders-0";
/// Bytes of a record's value: a segment has some batches.
const VALUE: usize = 900;

/// Begins the names of those that ended so.
pub(super) const POWER_CUT: &str = "power cut";

/// What lives left behind, by name.
pub(super) fn all() -> Vec<(String, Directory)> {
    let mut all = Vec::new();
    for (name, frames) in sessions() {
        let mut life = Life::begin(Fsync::default());
        frames.into_iter().for_each(|frame| life.send(frame));
        all.push((name.to_owned(), life.end()));
    }
    all.push(("segments, clean end".to_owned(), long().end_cleanly()));
    all.push(("segments, unclean end".to_owned(), long().end()));
    all.push(("checkpoint in a segment".to_owned(), checkpointed().end()));
    all.push(("records deleted".to_owned(), shortened().end_cleanly()));
    all.push(("synced before acknowledged".to_owned(), synced().end()));
    all.push(("groups, clean end".to_owned(), grouped().end_cleanly()));
    all.push(("settings, unclean end".to_owned(), configured().end()));
    all.push(("nothing but segments".to_owned(), without_aids(checkpointed().end())));
    all.push(("leftovers".to_owned(), with_leftovers(checkpointed().end())));
    for seed in 1..=3 {
        all.push((format!("{POWER_CUT} {seed}"), checkpointed().end_by_power_cut(seed)));
    }
    all
}

/// Sessions of the requests that another target has.
fn sessions() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let named = |name: &str| {
        let all = requests::entries();
        let found = all.into_iter().filter(|entry| entry.name.starts_with(name));
        found.map(|entry| entry.bytes).collect::<Vec<_>>()
    };
    let produced =
        || [vec![created()], named("Produce 8 batch"), named("Produce 7 batch")].concat();
    vec![
        ("nothing", Vec::new()),
        ("topics", vec![created()]),
        ("records", produced()),
        ("groups", [produced(), named("ConsumerGroupHeartbeat"), named("OffsetCommit")].concat()),
        ("fewer topics", [produced(), named("DeleteTopics 1 ")].concat()),
    ]
}

/// Two producers in turn, and records of none, in several segments.
fn long() -> Life {
    let mut life = Life::begin(Fsync::Never);
    life.send(created());
    for round in 0..4 {
        life.produce(7, round, Compression::None);
        life.produce(8, round, Compression::ALL[round as usize % Compression::ALL.len()]);
        life.produce(-1, -1, Compression::None);
    }
    life
}

/// With records below and above the last checkpoint in the last segment.
fn checkpointed() -> Life {
    let mut life = long();
    life.commit();
    life.broker.checkpoint().expect("memory takes everything");
    life.produce(7, 4, Compression::None);
    life.produce(8, 4, Compression::None);
    life
}

fn shortened() -> Life {
    let mut life = long();
    let partition =
        delete_records::request::DeleteRecordsPartition { offset: 6, ..Default::default() };
    let topic = delete_records::request::DeleteRecordsTopic {
        name: text(TOPIC),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = delete_records::Request { topics: vec![topic], ..Default::default() };
    let told = life.ask(1, &request);
    assert_eq!(told.topics[0].partitions[0].low_watermark, 6);
    life
}

fn synced() -> Life {
    let mut life = Life::begin(Fsync::Always);
    life.send(created());
    group_requests().into_iter().for_each(|frame| life.send(frame));
    for round in 0..3 {
        life.produce(7, round, Compression::None);
        life.broker.checkpoint().expect("memory takes everything");
    }
    life.commit();
    life
}

fn grouped() -> Life {
    let mut life = long();
    life.commit();
    group_requests().into_iter().for_each(|frame| life.send(frame));
    let joined = life.ask(3, &joining());
    assert_eq!(joined.error_code, 0);
    let assignment = sync_group::request::SyncGroupRequestAssignment {
        member_id: joined.member_id.clone(),
        assignment: Bytes::from_static(b"all"),
        ..Default::default()
    };
    let request = sync_group::Request {
        group_id: text("classic"),
        generation_id: joined.generation_id,
        member_id: joined.member_id,
        assignments: vec![assignment],
        ..Default::default()
    };
    assert_eq!(life.ask(3, &request).error_code, 0);
    life
}

fn configured() -> Life {
    let mut life = long();
    for (kind, name, setting, value) in
        [(2, TOPIC, "retention.ms", "1000000"), (4, "", "log.retention.ms", "2000000")]
    {
        let config = incremental_alter_configs::request::AlterableConfig {
            name: text(setting),
            value: Some(text(value)),
            ..Default::default()
        };
        let resource = incremental_alter_configs::request::AlterConfigsResource {
            resource_type: kind,
            resource_name: text(name),
            configs: vec![config],
            ..Default::default()
        };
        let request =
            incremental_alter_configs::Request { resources: vec![resource], ..Default::default() };
        assert_eq!(life.ask(1, &request).responses[0].error_code, 0);
    }
    let topic = create_partitions::request::CreatePartitionsTopic {
        name: text("abc"),
        count: 3,
        ..Default::default()
    };
    let request = create_partitions::Request { topics: vec![topic], ..Default::default() };
    assert_eq!(life.ask(1, &request).results[0].error_code, 0);
    life
}

/// Reports of members of a consumer group.
pub(super) fn group_requests() -> Vec<Vec<u8>> {
    let report = |member| consumer_group_heartbeat::Request {
        group_id: text("members"),
        member_id: text(member),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![text(TOPIC)]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    ["one", "two"].map(|member| frame(1, &report(member))).to_vec()
}

fn joining() -> join_group::Request {
    let protocol = join_group::request::JoinGroupRequestProtocol {
        name: text("range"),
        metadata: Bytes::from_static(b"wants"),
        ..Default::default()
    };
    join_group::Request {
        group_id: text("classic"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: text("consumer"),
        protocols: vec![protocol],
        ..Default::default()
    }
}

/// Indexes and checkpoints can be done without.
fn without_aids(directory: Directory) -> Directory {
    let mut left = Directory::default();
    for path in directory.names() {
        let is_aid = path.ends_with(INDEX) || path.ends_with(CHECKPOINT);
        if let Some(content) = directory.file(path).filter(|_| !is_aid) {
            left.add(path.to_owned(), content.to_vec());
        }
    }
    left
}

/// With the files of a checkpoint that was not put in place, of a segment that was begun and not used, and the index of one
/// that is gone.
fn with_leftovers(mut directory: Directory) -> Directory {
    let last = directory.files_in(DIR).filter_map(|(name, _)| name.strip_suffix(SEGMENT)).last();
    let unused = last.and_then(|base| base.parse::<i64>().ok()).expect("a segment") + 1;
    directory.add(format!("{DIR}/{unused:020}{SEGMENT}"), Vec::new());
    let checkpoint = format!("{DIR}/{CHECKPOINT}");
    let content = directory.file(&checkpoint).expect("was written").to_vec();
    directory.add(format!("{checkpoint}.new"), content.clone());
    directory.add(format!("{DIR}/{:020}{INDEX}", unused + 100), content);
    directory
}

struct Life {
    memory: MemoryDisk,
    broker: Bench,
}

impl Life {
    fn begin(fsync: Fsync) -> Self {
        let memory = MemoryDisk::default();
        let config = BrokerConfig {
            fsync,
            group_initial_rebalance_delay: Duration::ZERO,
            ..super::config()
        };
        let opened = Bench::open(&Disk::Memory(memory.clone()), config);
        Self { memory, broker: opened.expect("nothing is on the disk") }
    }

    fn send(&mut self, frame: Vec<u8>) {
        talk(&mut self.broker, frame.into());
    }

    fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let Answer::Frame(segments) = self.broker.request(frame(version, request).into()) else {
            panic!("no answer to {request:?}");
        };
        let answer = Bytes::from(segments.concat()).slice(PREFIX..);
        decode_response(version, answer).expect("can be decoded").1
    }

    /// A batch of two records from a producer.
    fn produce(&mut self, producer: i64, round: i32, compression: Compression) {
        let mut builder = BatchBuilder::new(compression);
        for record in 0..2 {
            let value = vec![round as u8; VALUE / 2];
            let time = 1_700_000_000_000 + i64::from(2 * round + record);
            builder.append(time, Some(b"key"), Some(&value), &[]).expect("room");
        }
        let epoch = if producer < 0 { -1 } else { 0 };
        let sequence = if producer < 0 { -1 } else { 2 * round };
        let batch = builder.seal(producer, epoch, sequence, &mut Compressor::new());
        let batch = batch.expect("seals").freeze();
        self.send(requests::produce_batch(8, batch));
    }

    /// From outside of a group's members.
    fn commit(&mut self) {
        let partition = offset_commit::request::OffsetCommitRequestPartition {
            committed_offset: 3,
            committed_metadata: Some(text("note")),
            ..Default::default()
        };
        let topic = offset_commit::request::OffsetCommitRequestTopic {
            name: text(TOPIC),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = offset_commit::Request {
            group_id: text("committed"),
            generation_id_or_member_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        assert_eq!(self.ask(8, &request).topics[0].partitions[0].error_code, 0);
    }

    /// Without a word.
    fn end(self) -> Directory {
        Directory::of(&Disk::Memory(self.memory))
    }

    fn end_cleanly(self) -> Directory {
        let Self { memory, broker } = self;
        broker.close().expect("memory takes everything");
        Directory::of(&Disk::Memory(memory))
    }

    /// With what was synced, and a part of the rest.
    fn end_by_power_cut(self, seed: u64) -> Directory {
        self.memory.crash(&Random::seeded(seed));
        self.end()
    }
}

/// Without the length prefix.
fn frame<R: Request>(version: i16, request: &R) -> Vec<u8> {
    let header = RequestHeader::new(<R as Message>::API, version, 9);
    encode_request(&header, request).expect("a valid request").slice(PREFIX..).to_vec()
}

fn text(text: &'static str) -> KafkaString {
    KafkaString::from_static(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::recovery::log_files::LogFiles;

    #[test]
    fn what_the_audit_reads_is_what_the_broker_wrote() {
        for (name, directory) in all() {
            for dir in directory.names().into_iter().filter(|name| name.ends_with("-0")) {
                let files = LogFiles::of(&directory, dir);
                assert!(files.agree && files.is_last_reached, "{name}, {dir}");
            }
            let files = LogFiles::of(&directory, DIR);
            if name.starts_with("segments") {
                assert_eq!((files.first, files.end, files.run.len()), (0, 24, 12), "{name}");
                assert!(files.checkpoint.is_some(), "{name}");
                assert!(directory.files_in(DIR).any(|(name, _)| name.ends_with(INDEX)), "{name}");
            }
        }
    }
}
