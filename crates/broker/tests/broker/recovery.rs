//! Restarts, crashes, and disks that refuse.

use bytes::{Bytes, BytesMut};
use onrush_broker::{Broker, BrokerConfig, BrokerError, Fsync};
use onrush_record::header::set_base_offset;
use onrush_runtime::disk::MemoryDisk;
use onrush_runtime::{Disk, Executor, Random, Runtime};
use onrush_wire::message::{list_offsets, offset_fetch};
use onrush_wire::{ErrorCode, Uuid};

use crate::support::*;

const SEGMENT: &str = "flights-0/00000000000000000000.log";

fn config(fsync: Fsync) -> BrokerConfig {
    BrokerConfig { fsync, segment_bytes: 16 * 1024, ..BrokerConfig::default() }
}

fn memory(disk: &Disk) -> &MemoryDisk {
    match disk {
        Disk::Memory(memory) => memory,
        Disk::Files(_) | Disk::Volatile(_) => unreachable!("the tests make it in memory"),
    }
}

async fn open(disk: &Disk, fsync: Fsync) -> (Broker, Client) {
    let broker = broker_on(disk, config(fsync)).await;
    let client = Client::connect(broker.address()).await;
    (broker, client)
}

async fn open_error(disk: Disk, config: BrokerConfig) -> BrokerError {
    let runtime = Runtime::production(disk);
    Broker::open(config, &runtime, Executor::current()).await.expect_err("refused")
}

#[tokio::test]
async fn files_hold_what_was_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = || Disk::files(directory.path()).expect("opens");
    let value = "x".repeat(5_000);
    let (broker, mut client) = open(&disk(), Fsync::Always).await;
    client.create_topic(TOPIC, 2).await;
    let id = client.producer_id().await;
    for sequence in 0..10 {
        client.produce(batch_of(id, 0, sequence, &[&value])).await;
    }
    broker.close().await.expect("closes");

    let (_broker, mut client) = open(&disk(), Fsync::Always).await;
    let mut offset = 0;
    while offset < 10 {
        let found = values(&client.fetch(offset).await);
        assert_eq!(found[0].0, offset);
        offset = found.last().expect("some").0 + 1;
    }
    // The producer is known again.
    let retried = client.produce(batch_of(id, 0, 9, &[&value])).await;
    assert_eq!((retried.error_code, retried.base_offset), (ErrorCode::NONE, 9));
    let gap = client.produce(batch_of(id, 0, 12, &[&value])).await;
    assert_eq!(gap.error_code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_ne!(client.producer_id().await, id);
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_written_over() {
    let disk = Disk::memory();
    let (broker, mut client) = open(&disk, Fsync::Always).await;
    client.create_topic(TOPIC, 1).await;
    client.produce(batch(&["a", "b"])).await;
    broker.close().await.expect("closes");
    let torn = batch(&["lost"]);
    // The next batch by its offset, with a bit that flipped.
    let mut flipped = BytesMut::from(&torn[..]);
    set_base_offset(&mut flipped, 2);
    if let Some(last) = flipped.last_mut() {
        *last ^= 1;
    }
    for tail in [
        flipped.freeze(),
        torn.slice(..torn.len() - 1),
        Bytes::from(vec![0; 100]),
        Bytes::from(vec![0xff; 70]),
    ] {
        let file = disk.open(SEGMENT).expect("opens");
        let good = file.len();
        file.append(tail).expect("appends");
        let (broker, mut client) = open(&disk, Fsync::Always).await;
        assert_eq!(file.len(), good);
        assert_eq!(client.fetch(0).await.high_watermark, 2);
        broker.close().await.expect("closes");
    }
    let (_broker, mut client) = open(&disk, Fsync::Always).await;
    assert_eq!(client.produce(batch(&["c"])).await.base_offset, 2);
    assert_eq!(values(&client.fetch(0).await), numbered(0, &["a", "b", "c"]));
}

/// Nine batches of one record, two in a segment, and the files of the segments.
async fn five_segments(disk: &Disk, fsync: Fsync) -> Vec<String> {
    let (broker, mut client) = open(disk, fsync).await;
    client.create_topic(TOPIC, 1).await;
    let value = "x".repeat(6_000);
    for _ in 0..9 {
        client.produce(batch(&[&value])).await;
    }
    broker.close().await.expect("closes");
    let segments = segments(disk);
    assert_eq!(segments.len(), 5);
    segments
}

fn segments(disk: &Disk) -> Vec<String> {
    let names = disk.list("flights-0").expect("listed");
    let segments = names.into_iter().filter(|name| name.ends_with(".log"));
    segments.map(|name| format!("flights-0/{name}")).collect()
}

/// Removes what spares reading the segments.
fn remove_indexes(disk: &Disk) {
    for name in disk.list("flights-0").expect("listed") {
        if !name.ends_with(".log") {
            disk.remove(&format!("flights-0/{name}")).expect("removed");
        }
    }
}

fn flip(disk: &Disk, path: &str, position: usize) {
    let file = disk.open(path).expect("opens");
    let length = usize::try_from(file.len()).expect("short");
    let mut bytes = BytesMut::from(&file.read_at(0, length).expect("read")[..]);
    bytes[position] ^= 1;
    file.truncate(0).expect("cut");
    file.append(bytes.freeze()).expect("appends");
}

#[tokio::test]
async fn damage_in_a_closed_segment_is_refused_and_nothing_is_removed() {
    for fsync in [Fsync::Always, Fsync::Never] {
        let disk = Disk::memory();
        let segments = five_segments(&disk, fsync).await;
        let size = |path: &String| disk.open(path).expect("there").len();
        let sizes: Vec<u64> = segments.iter().map(size).collect();
        flip(&disk, &segments[1], 7_000);
        remove_indexes(&disk);
        let error = open_error(disk.clone(), config(fsync)).await;
        let BrokerError::Damaged { path, position, .. } = &error else { panic!("{error}") };
        assert_eq!((path, *position), (&segments[1], sizes[1] / 2));
        assert!(error.to_string().contains("restore"), "{error}");
        assert_eq!(segments.iter().map(size).collect::<Vec<_>>(), sizes);
        flip(&disk, &segments[1], 7_000);
        let (_broker, mut client) = open(&disk, fsync).await;
        assert_eq!(client.fetch(0).await.high_watermark, 9);
    }
}

#[tokio::test]
async fn a_closed_segment_that_is_cut_off_or_missing_is_refused() {
    let disk = Disk::memory();
    let segments = five_segments(&disk, Fsync::Always).await;
    let file = disk.open(&segments[0]).expect("opens");
    file.truncate(file.len() - 1).expect("cut");
    let error = open_error(disk.clone(), config(Fsync::Always)).await;
    assert!(error.to_string().contains(&segments[0]), "{error}");

    let disk = Disk::memory();
    let segments = five_segments(&disk, Fsync::Always).await;
    disk.remove(&segments[2]).expect("removed");
    let error = open_error(disk.clone(), config(Fsync::Always)).await;
    assert!(error.to_string().contains(&segments[1]), "{error}");
}

#[tokio::test]
async fn damage_in_the_last_segment_is_cut() {
    let disk = Disk::memory();
    let segments = five_segments(&disk, Fsync::Always).await;
    flip(&disk, &segments[4], 5_000);
    remove_indexes(&disk);
    let (_broker, mut client) = open(&disk, Fsync::Always).await;
    assert_eq!(client.fetch(0).await.high_watermark, 8);
    assert_eq!(client.produce(batch(&["next"])).await.base_offset, 8);
}

#[tokio::test]
async fn the_end_of_a_log_that_is_missing_although_it_was_synced_is_refused() {
    let disk = Disk::memory();
    let segments = five_segments(&disk, Fsync::Always).await;
    let file = disk.open(&segments[4]).expect("opens");
    let length = file.len();
    file.truncate(length - 1).expect("cut");
    let error = open_error(disk.clone(), config(Fsync::Always)).await;
    let BrokerError::Damaged { path, position, .. } = &error else { panic!("{error}") };
    assert_eq!((path, *position), (&segments[4], length - 1), "{error}");
    disk.remove(&segments[4]).expect("removed");
    let error = open_error(disk.clone(), config(Fsync::Always)).await;
    let BrokerError::Damaged { path, .. } = &error else { panic!("{error}") };
    assert_eq!(path, &segments[3], "{error}");
}

#[tokio::test]
async fn a_segment_file_of_a_failed_roll_is_removed() {
    let disk = Disk::memory();
    let segments = five_segments(&disk, Fsync::Always).await;
    // The log went on in the segment before, to its end and in the middle.
    for base in [1, 5] {
        disk.create(&format!("flights-0/{base:020}.log")).expect("created");
    }
    let (_broker, mut client) = open(&disk, Fsync::Always).await;
    assert_eq!(client.fetch(0).await.high_watermark, 9);
    assert_eq!(self::segments(&disk), segments);
}

#[tokio::test]
async fn a_flipped_bit_in_the_catalogue_costs_no_topic() {
    let disk = Disk::memory();
    let (broker, mut client) = open(&disk, Fsync::Always).await;
    client.create_topic("ahead", 1).await;
    client.create_topic(TOPIC, 1).await;
    client.produce(batch(&["a"])).await;
    broker.close().await.expect("closes");
    let file = disk.open("catalogue").expect("opens");
    let bytes = file.read_at(0, 1_000).expect("read");
    let at = bytes.windows(5).position(|window| window == b"ahead").expect("named there");
    flip(&disk, "catalogue", at);
    let error = open_error(disk.clone(), config(Fsync::Always)).await;
    assert!(matches!(error, BrokerError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("catalogue at byte"), "{error}");
    flip(&disk, "catalogue", at);
    let (_broker, mut client) = open(&disk, Fsync::Always).await;
    assert_eq!(values(&client.fetch(0).await), numbered(0, &["a"]));
}

#[tokio::test]
async fn synced_records_survive_every_crash() {
    for seed in 0..20 {
        let disk = Disk::memory();
        let (_broker, mut client) = open(&disk, Fsync::Always).await;
        client.create_topic(TOPIC, 1).await;
        let value = "x".repeat(3_000);
        for offset in 0..12 {
            assert_eq!(client.produce(batch(&[&value])).await.base_offset, offset);
        }
        memory(&disk).crash(&Random::seeded(seed));
        let (_broker, mut client) = open(&disk, Fsync::Always).await;
        assert_eq!(client.fetch(0).await.high_watermark, 12, "seed {seed}");
    }
}

#[tokio::test]
async fn unsynced_records_may_be_lost_but_no_commit_points_above_the_rest() {
    let mut lost = 0;
    for seed in 0..40 {
        let disk = Disk::memory();
        let (_broker, mut client) = open(&disk, Fsync::Never).await;
        client.create_topic(TOPIC, 1).await;
        for _ in 0..10 {
            client.produce(batch(&["a"])).await;
        }
        commit(&mut client, 10, "above: 12").await;
        memory(&disk).crash(&Random::seeded(seed));

        let (_broker, mut client) = open(&disk, Fsync::Never).await;
        let fetched = client.fetch(0).await;
        let end = fetched.high_watermark;
        assert_eq!(values(&fetched).len() as i64, end, "seed {seed}");
        let (offset, metadata) = committed(&mut client).await;
        assert!(offset <= end, "seed {seed}: committed {offset} above the end {end}");
        assert!(metadata.is_empty() || end == 10, "seed {seed}: {metadata} speaks of lost records");
        assert_eq!(client.produce(batch(&["b"])).await.base_offset, end);
        lost += i64::from(end < 10);
    }
    assert!(lost >= 10, "only {lost} crashes lost anything");
}

pub(crate) async fn commit(client: &mut Client, offset: i64, metadata: &str) {
    let request = commit_request("g", OUTSIDER, offset, metadata);
    assert_eq!(client.ask(9, &request).await.topics[0].partitions[0].error_code, 0);
}

pub(crate) async fn committed(client: &mut Client) -> (i64, String) {
    let topic = offset_fetch::request::OffsetFetchRequestTopic {
        name: text(TOPIC),
        partition_indexes: vec![0],
        ..Default::default()
    };
    let request = offset_fetch::Request {
        group_id: text("g"),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let found = client.ask(7, &request).await.topics.remove(0).partitions.remove(0);
    (found.committed_offset, found.metadata.expect("some").to_string())
}

#[tokio::test]
async fn a_restart_fences_who_knows_only_the_life_before() {
    let disk = Disk::memory();
    let (broker, mut client) = open(&disk, Fsync::Always).await;
    client.create_topic(TOPIC, 1).await;
    client.produce(batch(&["a"])).await;
    broker.close().await.expect("closes");
    let (_broker, mut client) = open(&disk, Fsync::Always).await;
    for (epoch, error) in [
        (-1, ErrorCode::NONE),
        (1, ErrorCode::FENCED_LEADER_EPOCH),
        (2, ErrorCode::NONE),
        (3, ErrorCode::UNKNOWN_LEADER_EPOCH),
    ] {
        let mut request = fetch_request(Uuid::ZERO, 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        assert_eq!(client.fetch_with(12, &request).await.error_code, error, "fetch at {epoch}");
        let partition = list_offsets::request::ListOffsetsPartition {
            current_leader_epoch: epoch,
            timestamp: -1,
            ..Default::default()
        };
        let topic = list_offsets::request::ListOffsetsTopic {
            name: text(TOPIC),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = list_offsets::Request { topics: vec![topic], ..Default::default() };
        assert_eq!(client.ask(9, &request).await.topics[0].partitions[0].error_code, error.0);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_reads_go_on_and_room_heals_it() {
    let disk = Disk::memory();
    let (broker, mut client) = open(&disk, Fsync::Always).await;
    client.create_topic(TOPIC, 1).await;
    client.produce(batch(&["a"])).await;
    memory(&disk).limit(Some(memory(&disk).used() + 10));
    for _ in 0..2 {
        let refused = client.produce(batch(&["b"])).await;
        assert_eq!(refused.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    }
    assert_eq!(values(&client.fetch(0).await), numbered(0, &["a"]));
    memory(&disk).limit(None);
    assert_eq!(client.produce(batch(&["c"])).await.base_offset, 1);
    broker.close().await.expect("closes");
    let (_broker, mut client) = open(&disk, Fsync::Always).await;
    assert_eq!(values(&client.fetch(0).await), numbered(0, &["a", "c"]));
}

#[tokio::test]
async fn what_could_not_be_synced_is_not_in_the_log() {
    let disk = Disk::memory();
    let (_broker, mut client) = open(&disk, Fsync::Always).await;
    client.create_topic(TOPIC, 1).await;
    let id = client.producer_id().await;
    memory(&disk).fail_syncs(1);
    let refused = client.produce(batch_of(id, 0, 0, &["a"])).await;
    assert_eq!(refused.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(client.fetch(0).await.high_watermark, 0);
    let retried = client.produce(batch_of(id, 0, 0, &["a"])).await;
    assert_eq!((retried.error_code, retried.base_offset), (ErrorCode::NONE, 0));
    assert_eq!(values(&client.fetch(0).await), numbered(0, &["a"]));
}

#[tokio::test]
async fn a_directory_in_use_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = || Disk::files(directory.path()).expect("opens");
    let (_broker, _client) = open(&disk(), Fsync::Always).await;
    let error = open_error(disk(), BrokerConfig::default()).await;
    assert!(matches!(error, BrokerError::Locked { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(&directory.path().display().to_string()) && text.contains("stop it"),
        "{text}"
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (broker, _client) = open(&Disk::memory(), Fsync::Always).await;
    let listen = broker.address().to_owned();
    let error = open_error(
        Disk::memory(),
        BrokerConfig { listen: listen.clone(), ..BrokerConfig::default() },
    )
    .await;
    assert!(matches!(error, BrokerError::Listen { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&listen) && text.contains("choose another port"), "{text}");
}

#[tokio::test]
async fn a_file_of_another_version_is_named() {
    let disk = Disk::memory();
    let (broker, _client) = open(&disk, Fsync::Always).await;
    broker.close().await.expect("closes");
    // A whole entry, with its checksum, of a kind that is not known.
    let payload = [99];
    let mut entry = vec![0, 0, 0, 1];
    entry.extend(onrush_record::crc32c(&payload).to_be_bytes());
    entry.extend(payload);
    disk.open("catalogue").expect("opens").append(entry.into()).expect("appends");
    let text = open_error(disk, BrokerConfig::default()).await.to_string();
    assert!(text.contains("catalogue at byte") && text.contains("kind 99"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_closing_the_directory_is_free_at_once() {
    let disk = Disk::memory();
    for life in 0..50 {
        let (broker, mut client) = open(&disk, Fsync::Always).await;
        if life == 0 {
            client.create_topic(TOPIC, 1).await;
        }
        let mut parked = fetch_request(Uuid::ZERO, life);
        parked.max_wait_ms = i32::MAX;
        client.send_fetch(12, &parked).await;
        let mut writer = Client::connect(broker.address()).await;
        assert_eq!(writer.produce(batch(&["a"])).await.base_offset, life);
        broker.close().await.expect("closes");
    }
}
