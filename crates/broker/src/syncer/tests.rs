//! Produces and syncs step by step, as the driver and the syncer would take them.

use bytes::{Bytes, BytesMut};
use onrush_record::{BatchBuilder, Compression, Compressor};
use onrush_runtime::Disk;
use onrush_runtime::disk::MemoryDisk;
use onrush_wire::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use onrush_wire::produce::{
    PartitionProduce, PartitionProduced, ProduceRequest, ProduceResponse, TopicProduce,
};
use onrush_wire::{ApiKey, ErrorCode, KafkaString, RequestHeader, Uuid};

use super::*;
use crate::BrokerConfig;
use crate::config::{MAX_FETCH_BYTES, Sabotage};
use crate::core::Outcome;
use crate::parked::ConnectionId;

const VERSION: i16 = 12;
const SEGMENT: &str = "t-0/00000000000000000000.log";

struct Scene {
    core: Core,
    disk: MemoryDisk,
    now: Instant,
}

impl Scene {
    fn new(fsync: Fsync) -> Self {
        Self::over(MemoryDisk::default(), BrokerConfig { fsync, ..BrokerConfig::default() })
    }

    fn over(disk: MemoryDisk, config: BrokerConfig) -> Self {
        let runtime = Runtime::production(Disk::Memory(disk.clone()));
        let config = BrokerConfig { segment_bytes: 4 * 1024, ..config };
        let mut core = Core::open(config, &runtime).expect("opens");
        if core.topics.log("t", 0).is_err() {
            core.topics.create(&runtime.random, "t", 1).expect("created");
        }
        Self { core, disk, now: runtime.clock.now() }
    }

    fn ask(&mut self, connection: ConnectionId, segments: Vec<Bytes>) -> Outcome {
        let mut frame = BytesMut::new();
        segments.iter().for_each(|segment| frame.extend_from_slice(segment));
        let frame = frame.freeze().slice(onrush_wire::frame::PREFIX..);
        self.core.handle(self.now, connection, MAX_FETCH_BYTES, frame).expect("handled")
    }

    /// Sends a batch of one record; the answer, or none if it waits.
    fn produce(&mut self, connection: ConnectionId, batch: Bytes) -> Option<PartitionProduced> {
        self.produce_to(0, connection, batch)
    }

    fn produce_to(
        &mut self,
        index: i32,
        connection: ConnectionId,
        batch: Bytes,
    ) -> Option<PartitionProduced> {
        let partition = PartitionProduce { index, records: Some(batch) };
        let topic = TopicProduce {
            name: KafkaString::from("t".to_owned()),
            topic_id: Uuid::ZERO,
            partitions: vec![partition],
        };
        let request =
            ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 0, topics: vec![topic] };
        let header = RequestHeader::new(ApiKey::PRODUCE, VERSION, 1);
        answer(self.ask(connection, request.encode(&header).expect("encodes")))
    }

    /// The answers of those that have become ready, by connection.
    fn woken(&mut self) -> Vec<(ConnectionId, PartitionProduced)> {
        let mut woken = self.core.take_woken();
        woken.sort_unstable();
        woken.into_iter().map(|connection| (connection, self.resume(connection))).collect()
    }

    fn resume(&mut self, connection: ConnectionId) -> PartitionProduced {
        let outcome = self
            .core
            .resume(self.now, connection, MAX_FETCH_BYTES)
            .expect("parked")
            .expect("encodes");
        answer(outcome).expect("answered")
    }

    /// One round of the syncer.
    fn sync(&mut self) {
        for mut unsynced in self.core.take_unsynced() {
            let result = unsynced.sync();
            self.core.synced(&unsynced, &result);
        }
    }

    /// Bytes of records that a reader gets from `offset` on, and the end it is told.
    fn fetch(&mut self, offset: i64) -> (usize, i64) {
        let partitions = vec![FetchPartition::consumer(0, offset, 1 << 20)];
        let name = KafkaString::from("t".to_owned());
        let topics = vec![FetchTopic { name, topic_id: Uuid::ZERO, partitions }];
        let request = FetchRequest { min_bytes: 1, topics, ..FetchRequest::default() };
        let header = RequestHeader::new(ApiKey::FETCH, VERSION, 1);
        let Outcome::Reply(segments) =
            self.ask(99, vec![request.encode(&header).expect("encodes")])
        else {
            panic!("a fetch that does not wait is answered");
        };
        let frame = Bytes::from(segments.concat()).slice(onrush_wire::frame::PREFIX..);
        let (_, mut response) = FetchResponse::decode(VERSION, frame).expect("decodes");
        let fetched = response.topics.remove(0).partitions.remove(0);
        (fetched.records.len(), fetched.high_watermark)
    }

    fn file_len(&self) -> u64 {
        Disk::Memory(self.disk.clone()).open(SEGMENT).expect("there").len()
    }
}

fn answer(outcome: Outcome) -> Option<PartitionProduced> {
    match outcome {
        Outcome::Reply(segments) => {
            let frame = Bytes::from(segments.concat()).slice(onrush_wire::frame::PREFIX..);
            let (_, mut response) = ProduceResponse::decode(VERSION, frame).expect("decodes");
            Some(response.topics.remove(0).partitions.remove(0))
        }
        Outcome::Parked(_) => None,
        Outcome::Silent => panic!("an answer was asked for"),
    }
}

/// Of an idempotent producer, if its id is not negative.
fn batch(producer_id: i64, sequence: i32, length: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(1_000, None, Some(&vec![7; length]), &[]).expect("fits");
    let epoch = if producer_id < 0 { -1 } else { 0 };
    let mut compressor = Compressor::default();
    builder.seal(producer_id, epoch, sequence, &mut compressor).expect("sealed").freeze()
}

fn plain() -> Bytes {
    batch(-1, -1, 100)
}

fn told(answer: &PartitionProduced) -> (ErrorCode, i64) {
    (answer.error_code, answer.base_offset)
}

#[test]
fn many_produces_wait_for_one_sync_and_nobody_reads_before() {
    let mut scene = Scene::new(Fsync::Always);
    for connection in 0..3 {
        assert_eq!(scene.produce(connection, plain()), None);
    }
    assert!(scene.core.wants_sync());
    assert_eq!(scene.fetch(0), (0, 0));
    assert!(scene.woken().is_empty());
    let mut round = scene.core.take_unsynced();
    assert_eq!(round.len(), 1);
    // Written while it syncs: that is for the next round, although the sync covers it.
    assert_eq!(scene.produce(3, plain()), None);
    let synced = round[0].sync();
    scene.core.synced(&round[0], &synced);
    let woken = scene.woken();
    assert_eq!(woken.iter().map(|(connection, _)| *connection).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(woken.iter().zip(0..).all(|((_, told), offset)| told.base_offset == offset));
    let (bytes, end) = scene.fetch(0);
    assert_eq!((bytes, end), (3 * plain().len(), 3));
    scene.sync();
    assert_eq!(scene.woken().len(), 1);
    assert_eq!(scene.fetch(0).1, 4);
    assert!(!scene.core.wants_sync());
}

#[test]
fn a_crash_before_the_sync_takes_what_nobody_was_told_of() {
    let mut scene = Scene::new(Fsync::Always);
    assert_eq!(scene.produce(1, plain()), None);
    scene.sync();
    assert_eq!(scene.woken().len(), 1);
    assert_eq!(scene.produce(1, plain()), None);
    for seed in 0..20 {
        scene.disk.crash(&onrush_runtime::Random::seeded(seed));
        scene = Scene::over(scene.disk, scene.core.started);
        assert!(scene.fetch(0).1 >= 1, "seed {seed}");
    }
}

#[test]
fn the_sabotage_acknowledges_and_shows_at_once() {
    let config = BrokerConfig {
        fsync: Fsync::Always,
        sabotage: Some(Sabotage::AckBeforeSync),
        ..BrokerConfig::default()
    };
    let mut scene = Scene::over(MemoryDisk::default(), config);
    assert_eq!(told(&scene.produce(1, plain()).expect("at once")), (ErrorCode::NONE, 0));
    assert_eq!(scene.fetch(0).1, 1);
}

#[test]
fn no_other_policy_lets_a_produce_wait() {
    for fsync in [Fsync::default(), Fsync::Never] {
        let mut scene = Scene::new(fsync);
        assert_eq!(told(&scene.produce(1, plain()).expect("at once")), (ErrorCode::NONE, 0));
        assert!(!scene.core.wants_sync());
        assert_eq!(scene.fetch(0).1, 1);
        assert_eq!(scene.core.take_unsynced().len(), usize::from(fsync != Fsync::Never));
    }
}

#[test]
fn a_failed_sync_takes_back_what_was_written_since_the_last() {
    let mut scene = Scene::new(Fsync::Always);
    assert_eq!(scene.produce(1, batch(7, 0, 100)), None);
    scene.sync();
    scene.woken();
    let before = scene.file_len();
    assert_eq!(scene.produce(1, batch(7, 1, 100)), None);
    assert_eq!(scene.produce(2, plain()), None);
    let round = scene.core.take_unsynced();
    assert_eq!(scene.produce(3, plain()), None);
    let failed = Err(io::Error::other("the disk is gone"));
    scene.core.synced(&round[0], &failed);
    let woken = scene.woken();
    assert_eq!(woken.len(), 3);
    for (connection, answer) in &woken {
        assert_eq!(answer.error_code, ErrorCode::KAFKA_STORAGE_ERROR, "connection {connection}");
    }
    assert_eq!((scene.file_len(), scene.fetch(0).1), (before, 1));
    // The retry is next for this producer, and not known already.
    assert_eq!(scene.produce(1, batch(7, 1, 100)), None);
    scene.sync();
    let woken = scene.woken();
    assert_eq!(
        woken.iter().map(|(_, answer)| told(answer)).collect::<Vec<_>>(),
        [(ErrorCode::NONE, 1)]
    );
    assert_eq!(scene.core.topics.log("t", 0).expect("there").size(), scene.file_len());
}

#[test]
fn a_retry_of_what_is_not_synced_waits_like_the_first() {
    let mut scene = Scene::new(Fsync::Always);
    assert_eq!(scene.produce(1, batch(7, 0, 100)), None);
    scene.core.disconnected(scene.now, 1);
    assert_eq!(scene.produce(2, batch(7, 0, 100)), None);
    scene.sync();
    let woken = scene.woken();
    assert_eq!(
        woken.iter().map(|(id, answer)| (*id, told(answer))).collect::<Vec<_>>(),
        [(2, (ErrorCode::NONE, 0))]
    );
    let again = scene.produce(3, batch(7, 0, 100)).expect("known to be there");
    assert_eq!(told(&again), (ErrorCode::NONE, 0));
}

#[test]
fn a_new_segment_settles_what_waited_for_the_one_before() {
    let mut scene = Scene::new(Fsync::Always);
    assert_eq!(scene.produce(1, batch(-1, -1, 3_000)), None);
    let round = scene.core.take_unsynced();
    assert_eq!(scene.produce(2, batch(-1, -1, 3_000)), None);
    let woken = scene.woken();
    assert_eq!(
        woken.iter().map(|(id, answer)| (*id, told(answer))).collect::<Vec<_>>(),
        [(1, (ErrorCode::NONE, 0))]
    );
    assert_eq!(scene.fetch(0).1, 1);
    // Of the segment before: says nothing about this one.
    scene.core.synced(&round[0], &Ok(()));
    assert!(scene.woken().is_empty());
    scene.sync();
    assert_eq!(scene.woken().len(), 1);
}

#[test]
fn a_failed_sync_for_a_new_segment_fails_all_that_wait() {
    let mut scene = Scene::new(Fsync::Always);
    assert_eq!(scene.produce(1, batch(-1, -1, 3_000)), None);
    scene.disk.fail_syncs(1);
    let refused = scene.produce(2, batch(-1, -1, 3_000)).expect("at once");
    assert_eq!(refused.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(scene.woken()[0].1.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(scene.file_len(), 0);
    assert_eq!(scene.produce(1, plain()), None);
    scene.sync();
    assert_eq!(told(&scene.woken()[0].1), (ErrorCode::NONE, 0));
}

#[test]
fn a_sync_from_before_a_failed_one_says_nothing() {
    let mut scene = Scene::new(Fsync::Always);
    assert_eq!(scene.produce(1, batch(-1, -1, 3_000)), None);
    let mut round = scene.core.take_unsynced();
    let synced = round[0].sync();
    assert!(synced.is_ok());
    // Before that is told, the sync for a new segment fails, and all is taken back.
    scene.disk.fail_syncs(1);
    scene.produce(2, batch(-1, -1, 3_000)).expect("refused at once");
    assert_eq!(scene.woken().len(), 1);
    assert_eq!(scene.produce(3, plain()), None);
    scene.core.synced(&round[0], &synced);
    assert!(scene.woken().is_empty());
    assert_eq!(scene.fetch(0), (0, 0));
    scene.sync();
    assert_eq!(told(&scene.woken()[0].1), (ErrorCode::NONE, 0));
    assert_eq!(scene.fetch(0), (plain().len(), 1));
}

#[test]
fn a_sync_that_another_took_the_error_of_is_not_believed() {
    let mut scene = Scene::new(Fsync::default());
    scene.produce(1, batch(-1, -1, 3_000)).expect("at once");
    let mut round = scene.core.take_unsynced();
    scene.disk.fail_syncs(1);
    let refused = scene.produce(1, batch(-1, -1, 3_000)).expect("at once");
    assert_eq!(refused.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    let synced = round[0].sync();
    assert!(synced.is_ok());
    scene.core.synced(&round[0], &synced);
    scene.sync();
    for seed in 0..10 {
        scene.disk.crash(&onrush_runtime::Random::seeded(seed));
        scene = Scene::over(scene.disk, scene.core.started);
        assert_eq!(scene.fetch(0).1, 1, "seed {seed}");
    }
}

#[test]
fn what_follows_a_segment_that_could_not_be_synced_is_synced_after_it() {
    for fsync in [Fsync::Always, Fsync::default()] {
        let mut scene = Scene::new(fsync);
        scene.produce(1, batch(-1, -1, 3_000));
        let round = scene.core.take_unsynced();
        scene.produce(2, batch(-1, -1, 3_000));
        let failed = Err(io::Error::other("the disk is gone"));
        scene.core.synced(&round[0], &failed);
        scene.woken();
        scene.sync();
        scene.sync();
        assert_eq!(scene.woken().len(), usize::from(fsync == Fsync::Always), "{fsync:?}");
        for seed in 0..10 {
            scene.disk.crash(&onrush_runtime::Random::seeded(seed));
            scene = Scene::over(scene.disk, scene.core.started);
            assert_eq!(scene.fetch(0).1, 2, "{fsync:?}, seed {seed}");
        }
    }
}

#[test]
fn acknowledged_records_that_could_not_be_synced_stay_and_none_follow_until_they_are() {
    let mut scene = Scene::new(Fsync::default());
    scene.produce(1, plain()).expect("at once");
    scene.disk.fail_syncs(2);
    scene.sync();
    let refused = scene.produce(1, plain()).expect("at once");
    assert_eq!(refused.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(scene.fetch(0), (plain().len(), 1));
    scene.sync();
    assert_eq!(scene.produce(1, plain()).expect("at once").error_code, refused.error_code);
    scene.sync();
    assert_eq!(told(&scene.produce(1, plain()).expect("at once")), (ErrorCode::NONE, 1));
    scene.sync();
    scene.disk.crash(&onrush_runtime::Random::seeded(1));
    let mut scene = Scene::over(scene.disk, scene.core.started);
    assert_eq!(scene.fetch(0).1, 2);
}

#[test]
fn a_clean_end_writes_commits_anew_that_could_not_be_synced() {
    let mut scene = Scene::new(Fsync::default());
    scene.produce(1, plain()).expect("at once");
    let place = Place { topic: "t".into(), partition: 0 };
    let committed = crate::offsets::Committed {
        offset: 1,
        leader_epoch: 1,
        metadata: String::new(),
        log_end: 1,
    };
    scene.core.offsets.commit("g", vec![(place.clone(), committed)]).expect("stored");
    let round = scene.core.take_unsynced();
    for unsynced in &round {
        scene.core.synced(unsynced, &Err(io::Error::other("the disk is gone")));
    }
    let file = Disk::Memory(scene.disk.clone()).open("groups").expect("there");
    scene.disk.fail_syncs(1);
    file.sync().expect_err("failed");
    scene.core.close().expect("closed");
    scene.disk.crash(&onrush_runtime::Random::seeded(1));
    let scene = Scene::over(scene.disk, scene.core.started);
    assert_eq!(scene.core.offsets.get("g", &place).expect("committed").offset, 1);
}

#[test]
fn who_waits_for_a_log_that_makes_room_for_another_is_told() {
    let config =
        BrokerConfig { fsync: Fsync::Always, memory_cap: Some(3_000), ..BrokerConfig::default() };
    let mut scene = Scene::over(MemoryDisk::default(), config);
    scene.core.topics.add_partitions("t", 2).expect("added");
    assert_eq!(scene.produce(1, batch(-1, -1, 2_000)), None);
    assert_eq!(scene.produce_to(1, 2, batch(-1, -1, 1_500)), None);
    assert_eq!(scene.core.topics.log("t", 0).expect("there").start(), 1);
    scene.sync();
    let woken = scene.woken();
    assert_eq!(woken.iter().map(|(connection, _)| *connection).collect::<Vec<_>>(), [1, 2]);
    assert!(woken.iter().all(|(_, answer)| told(answer) == (ErrorCode::NONE, 0)));
}

#[test]
fn who_is_not_served_in_time_is_told_so() {
    let mut scene = Scene::new(Fsync::Always);
    assert_eq!(scene.produce(1, plain()), None);
    assert_eq!(scene.resume(1).error_code, ErrorCode::REQUEST_TIMED_OUT);
    scene.sync();
    assert!(scene.woken().is_empty());
}

#[test]
fn a_produce_to_a_topic_that_goes_is_not_left_waiting() {
    let mut scene = Scene::new(Fsync::Always);
    assert_eq!(scene.produce(1, plain()), None);
    scene.core.topics.delete("t").expect("deleted");
    scene.sync();
    assert_eq!(scene.woken()[0].1.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
}

#[test]
fn who_waits_for_a_topic_that_goes_hears_of_it_before_another_has_its_name() {
    let mut scene = Scene::new(Fsync::Always);
    assert_eq!(scene.produce(1, plain()), None);
    scene.sync();
    scene.woken();
    assert_eq!(scene.produce(1, plain()), None);
    let partitions = vec![FetchPartition::consumer(0, 1, 1 << 20)];
    let name = KafkaString::from("t".to_owned());
    let topics = vec![FetchTopic { name: name.clone(), topic_id: Uuid::ZERO, partitions }];
    let request =
        FetchRequest { min_bytes: 1, max_wait_ms: 500, topics, ..FetchRequest::default() };
    let header = RequestHeader::new(ApiKey::FETCH, VERSION, 1);
    let waits = scene.ask(2, vec![request.encode(&header).expect("encodes")]);
    assert!(matches!(waits, Outcome::Parked(_)));

    let request = onrush_wire::message::delete_topics::Request {
        topic_names: vec![name],
        ..Default::default()
    };
    let deleted = scene.core.delete_topics(5, request);
    assert_eq!(deleted.responses[0].error_code, 0);
    let mut woken = scene.core.take_woken();
    woken.sort_unstable();
    assert_eq!(woken, [1, 2]);
    assert_eq!(scene.resume(1).error_code, ErrorCode::KAFKA_STORAGE_ERROR);
}

#[test]
fn a_segment_that_is_nearly_full_is_synced_under_every_policy() {
    for fsync in [Fsync::default(), Fsync::Never] {
        let mut scene = Scene::new(fsync);
        scene.produce(1, batch(-1, -1, 3_000)).expect("at once");
        assert!(!scene.core.wants_sync(), "{fsync:?}");
        scene.produce(1, batch(-1, -1, 600)).expect("at once");
        assert!(scene.core.wants_sync(), "{fsync:?}");
        scene.sync();
        assert!(!scene.core.wants_sync(), "{fsync:?}");
        // So the next segment needs no other sync.
        scene.disk.fail_syncs(1);
        let told = told(&scene.produce(1, batch(-1, -1, 600)).expect("at once"));
        assert_eq!(told.0, ErrorCode::KAFKA_STORAGE_ERROR, "its directory could not be synced");
        scene.disk.crash(&onrush_runtime::Random::seeded(1));
        let mut scene = Scene::over(scene.disk, scene.core.started);
        assert_eq!(scene.fetch(0).1, 2, "{fsync:?}");
    }
}
