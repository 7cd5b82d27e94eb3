//! What is read of a log when it is opened again, and what is taken as known.

use std::time::Duration;

use onrush_record::header::set_base_offset;
use onrush_record::{BatchBuilder, BatchHeader, Compression, Compressor};
use onrush_runtime::Random;
use onrush_runtime::disk::MemoryDisk;
use onrush_wire::ErrorCode;

use super::*;
use crate::Fsync;
use crate::checkpoint::Writer;
use crate::log::{Log, LogLimits, Retention};
use crate::producers::Verdict;

const DIR: &str = "t-0";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// One record of about 1,000 bytes.
fn batch(offset: i64, producer_id: i64, sequence: i32) -> (BatchHeader, Bytes) {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(offset * 1_000, None, Some(&[7; 1_010]), &[]).expect("fits");
    let epoch = if producer_id < 0 { -1 } else { 0 };
    let mut compressor = Compressor::default();
    let mut batch = builder.seal(producer_id, epoch, sequence, &mut compressor).expect("sealed");
    set_base_offset(&mut batch, offset);
    let header = BatchHeader::parse(&batch).expect("a batch");
    (header, batch.freeze())
}

struct Scene {
    memory: MemoryDisk,
    disk: Disk,
    fsync: Fsync,
}

impl Scene {
    fn new(fsync: Fsync) -> Self {
        let memory = MemoryDisk::default();
        Self { disk: Disk::Memory(memory.clone()), memory, fsync }
    }

    /// The log, with four batches in a segment.
    fn open(&self) -> Log {
        let limits =
            LogLimits { segment_bytes: 4 * size() + 99, segment_age: DAY, fsync: self.fsync };
        Log::open(&self.disk, DIR.to_owned(), limits).expect("opens")
    }

    fn scanned(&self) -> u64 {
        recover(&self.disk, DIR).expect("recovered").scanned
    }

    fn remove(&self, name: &str) {
        self.disk.remove(&format!("{DIR}/{name}")).expect("removed");
    }
}

fn append(log: &mut Log, count: i64) {
    for _ in 0..count {
        let (header, batch) = batch(log.next_offset(), -1, -1);
        log.append(&header, batch).expect("appended");
    }
}

/// Bytes of a batch.
fn size() -> u64 {
    batch(0, -1, -1).1.len() as u64
}

fn batches_of(bytes: u64) -> u64 {
    assert_eq!(bytes % size(), 0);
    bytes / size()
}

#[test]
fn after_a_clean_end_nothing_is_read() {
    let scene = Scene::new(Fsync::Never);
    let mut log = scene.open();
    append(&mut log, 10);
    log.close().expect("closed");
    assert_eq!(scene.scanned(), 0);
    let mut log = scene.open();
    assert_eq!((log.start(), log.end()), (0, 10));
    append(&mut log, 1);
    assert_eq!(log.end(), 11);
}

#[test]
fn after_a_crash_only_what_is_above_the_checkpoint_is_read() {
    let scene = Scene::new(Fsync::Never);
    let mut log = scene.open();
    append(&mut log, 11);
    drop(log);
    assert_eq!(batches_of(scene.scanned()), 3, "since the last segment was begun");
    let mut log = scene.open();
    log.close().expect("closed");
    append(&mut log, 1);
    drop(log);
    assert_eq!(batches_of(scene.scanned()), 1);
    let log = scene.open();
    assert_eq!((log.start(), log.end(), log.size()), (0, 12, 12 * size()));
}

#[test]
fn an_index_that_is_missing_or_torn_is_made_anew() {
    for torn in [false, true] {
        let scene = Scene::new(Fsync::Never);
        let mut log = scene.open();
        append(&mut log, 11);
        log.close().expect("closed");
        let name = "00000000000000000004.index";
        let file = scene.disk.open(&format!("{DIR}/{name}")).expect("there");
        let length = file.len();
        if torn {
            file.truncate(length - 1).expect("cut")
        } else {
            scene.remove(name)
        }
        assert_eq!(batches_of(scene.scanned()), 4, "torn: {torn}");
        assert_eq!(scene.scanned(), 0, "torn: {torn}");
        let log = scene.open();
        for timestamp in 0..10 {
            let segment = log.segments().find(|segment| segment.max_timestamp >= timestamp * 1_000);
            let found = segment.expect("there").first_since(timestamp * 1_000).expect("read");
            let header = BatchHeader::parse(&found.expect("found")).expect("a batch");
            assert_eq!(header.base_offset, timestamp);
        }
    }
}

#[test]
fn without_a_checkpoint_all_is_read() {
    for torn in [false, true] {
        let scene = Scene::new(Fsync::Never);
        let mut log = scene.open();
        append(&mut log, 11);
        log.close().expect("closed");
        let file = scene.disk.open(&checkpoint::path_in(DIR)).expect("there");
        if torn {
            file.truncate(30).expect("cut")
        } else {
            scene.remove(checkpoint::FILE)
        }
        assert_eq!(batches_of(scene.scanned()), 11, "torn: {torn}");
        assert_eq!(scene.open().end(), 11);
    }
}

#[test]
fn a_checkpoint_of_a_segment_that_was_closed_since_still_serves() {
    let scene = Scene::new(Fsync::Never);
    let mut log = scene.open();
    append(&mut log, 2);
    log.close().expect("closed");
    let path = checkpoint::path_in(DIR);
    let file = scene.disk.open(&path).expect("there");
    let old = file.read_at(0, 1_000_000).expect("read");
    append(&mut log, 7);
    drop(log);
    scene.remove(checkpoint::FILE);
    scene.disk.create(&path).expect("created").append(old).expect("written");
    assert_eq!(batches_of(scene.scanned()), 7);
    assert_eq!(scene.open().end(), 9);
}

#[test]
fn a_checkpoint_speaks_of_what_is_on_the_disk_only() {
    let scene = Scene::new(Fsync::default());
    let mut log = scene.open();
    let claim = |offset: i64| batch(offset, 7, i32::try_from(offset).expect("small"));
    for offset in 0..2 {
        let (header, batch) = claim(offset);
        log.append(&header, batch).expect("appended");
    }
    let unsynced = log.unsynced().expect("written");
    let draft = log.draft(Writer::Syncer);
    let (header, later) = claim(2);
    let later_len = later.len() as u64;
    log.append(&header, later).expect("appended");
    unsynced.sync().expect("synced");
    log.synced(&unsynced);
    draft.write().expect("written");
    log.place(&draft).expect("placed");
    draft.sync_place().expect("synced");
    // The sync covered the later batch, too, but it need not have.
    let file = scene.disk.open("t-0/00000000000000000000.log").expect("there");
    file.truncate(file.len() - later_len).expect("cut");
    scene.memory.crash(&Random::seeded(1));
    let log = scene.open();
    assert_eq!((log.end(), scene.scanned()), (2, 0));
    assert_eq!(log.check(&claim(1).0), Ok(Verdict::Duplicate { base_offset: 1 }));
    assert_eq!(log.check(&claim(2).0), Ok(Verdict::Append), "what is lost is not known");
    assert_eq!(log.check(&claim(3).0), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
}

#[test]
fn a_checkpoint_that_was_overtaken_is_not_put_in_place() {
    let scene = Scene::new(Fsync::Never);
    let mut log = scene.open();
    append(&mut log, 2);
    let draft = log.draft(Writer::Syncer);
    draft.write().expect("written");
    append(&mut log, 3);
    log.place(&draft).expect("nothing done");
    drop(log);
    assert_eq!(batches_of(scene.scanned()), 1);
}

#[test]
fn two_checkpoints_that_are_written_at_a_time_do_not_meet() {
    let scene = Scene::new(Fsync::Never);
    let mut log = scene.open();
    append(&mut log, 2);
    let overtaken = log.draft(Writer::Syncer);
    append(&mut log, 1);
    let draft = log.draft(Writer::Request);
    draft.write().expect("written");
    overtaken.write().expect("written");
    log.place(&draft).expect("placed");
    log.place(&overtaken).expect("nothing done");
    assert_eq!(scene.scanned(), 0);
}

#[test]
fn producers_are_known_after_their_records_are_deleted() {
    let scene = Scene::new(Fsync::Never);
    let mut log = scene.open();
    let produce = |log: &mut Log, sequence| {
        let (header, batch) = batch(log.next_offset(), 7, sequence);
        log.append(&header, batch).expect("appended");
    };
    (0..6).for_each(|sequence| produce(&mut log, sequence));
    append(&mut log, 4);
    log.delete_below(10).expect("deleted");
    assert_eq!(log.segments().count(), 1);
    for log in [log, scene.open()] {
        assert_eq!(log.check(&batch(0, 7, 5).0), Ok(Verdict::Duplicate { base_offset: 5 }));
        let gap = log.check(&batch(0, 7, 7).0);
        assert_eq!(gap, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    }
}

#[test]
fn a_checkpoint_below_the_first_segment_knows_no_producer() {
    let scene = Scene::new(Fsync::Never);
    let mut log = scene.open();
    let produce = |log: &mut Log, sequence| {
        let (header, batch) = batch(log.next_offset(), 7, sequence);
        log.append(&header, batch).expect("appended");
    };
    (0..2).for_each(|sequence| produce(&mut log, sequence));
    log.close().expect("closed");
    let path = checkpoint::path_in(DIR);
    let old = scene.disk.open(&path).expect("there").read_at(0, 1_000_000).expect("read");
    (2..4).for_each(|sequence| produce(&mut log, sequence));
    append(&mut log, 1);
    log.drop_oldest().expect("dropped");
    drop(log);
    // The later ones could not be written: the disk was full.
    scene.remove(checkpoint::FILE);
    scene.disk.create(&path).expect("created").append(old).expect("written");
    let log = scene.open();
    assert_eq!((log.start(), log.end()), (4, 5));
    assert_eq!(log.check(&batch(5, 7, 4).0), Ok(Verdict::Append));
}

#[test]
fn what_a_failed_sync_left_is_written_again_by_the_next_life() {
    for fsync in [Fsync::Always, Fsync::default()] {
        let scene = Scene::new(fsync);
        let mut log = scene.open();
        append(&mut log, 2);
        scene.memory.fail_syncs(1);
        log.unsynced().expect("written").sync().expect_err("failed");
        // The process ends before it could do anything about that; the machine does not.
        drop(log);
        let mut log = scene.open();
        assert_eq!(log.end(), 2, "{fsync:?}");
        log.sync().expect("synced");
        for seed in 0..10 {
            scene.memory.crash(&Random::seeded(seed));
            log = scene.open();
            assert_eq!(log.end(), 2, "{fsync:?}, seed {seed}");
        }
    }
}

#[test]
fn a_segment_that_was_dropped_before_it_was_synced_holds_nobody_up() {
    let scene = Scene::new(Fsync::default());
    let mut log = scene.open();
    append(&mut log, 4);
    let unsynced = log.unsynced().expect("written");
    append(&mut log, 1);
    log.drop_oldest().expect("dropped");
    // In memory the file is gone; on a machine the sync might fail as well.
    unsynced.sync().expect_err("gone");
    log.sync_failed(&unsynced);
    append(&mut log, 1);
    assert_eq!((log.start(), log.end()), (4, 6));
}

#[test]
fn no_segment_is_dropped_while_the_one_before_may_come_back() {
    let scene = Scene::new(Fsync::Never);
    let mut log = scene.open();
    append(&mut log, 11);
    let second = format!("{DIR}/00000000000000000004.log");
    scene.memory.fail_syncs(2);
    for _ in 0..2 {
        log.drop_oldest().expect_err("failed");
        assert!(scene.disk.exists(&second));
    }
    log.drop_oldest().expect("dropped");
    assert!(!scene.disk.exists(&second));
    assert_eq!(log.start(), 8);
}

#[test]
fn a_checkpoint_from_before_a_failed_sync_is_not_put_in_place() {
    let scene = Scene::new(Fsync::Always);
    let mut log = scene.open();
    append(&mut log, 2);
    let (unsynced, draft) = (log.unsynced().expect("written"), log.draft(Writer::Syncer));
    unsynced.sync().expect("synced");
    draft.write().expect("written");
    scene.memory.fail_syncs(1);
    log.sync().expect_err("failed");
    log.synced(&unsynced);
    log.place(&draft).expect("nothing done");
    append(&mut log, 1);
    log.sync().expect("synced");
    drop(log);
    assert_eq!(scene.open().end(), 1);
}

#[test]
fn a_log_is_synced_to_its_end_although_a_closed_segment_could_not_be() {
    let scene = Scene::new(Fsync::Always);
    let mut log = scene.open();
    append(&mut log, 4);
    let unsynced = log.unsynced().expect("written");
    append(&mut log, 1);
    log.sync_failed(&unsynced);
    assert_eq!(log.end(), 4);
    log.sync().expect("synced");
    assert_eq!(log.end(), 5);
}

#[test]
fn deleted_records_stay_deleted() {
    let scene = Scene::new(Fsync::Never);
    let mut log = scene.open();
    append(&mut log, 11);
    log.delete_below(6).expect("deleted");
    assert_eq!((log.start(), log.end()), (6, 11));
    assert_eq!(log.segments().count(), 2);
    for seed in 0..10 {
        scene.memory.crash(&Random::seeded(seed));
        let log = scene.open();
        assert_eq!((log.start(), log.end()), (6, 11), "seed {seed}");
    }
    let mut log = scene.open();
    log.delete_below(11).expect("deleted");
    assert_eq!((log.start(), log.end()), (11, 11));
    append(&mut log, 1);
    drop(log);
    assert_eq!((scene.open().start(), scene.open().end()), (11, 12));
}

#[test]
fn a_log_keeps_what_is_young_and_as_much_as_it_is_told() {
    let scene = Scene::new(Fsync::Never);
    let mut log = scene.open();
    append(&mut log, 11);
    let age = |seconds| Retention { age: Some(Duration::from_secs(seconds)), bytes: None };
    // The latest record of the first segment is of second 3.
    log.retain(13_000, &age(10)).expect("nothing done");
    assert_eq!(log.start(), 0);
    log.retain(13_001, &age(10)).expect("dropped");
    assert_eq!(log.start(), 4);
    let bytes = |batches: u64| Retention { age: None, bytes: Some(batches * size()) };
    log.retain(0, &bytes(4)).expect("nothing done");
    assert_eq!(log.start(), 4, "less would be left than is to be kept");
    log.retain(0, &bytes(3)).expect("dropped");
    assert_eq!(log.start(), 8);
    log.retain(0, &bytes(0)).expect("nothing done");
    assert_eq!(log.start(), 8, "the segment that is written to stays");
    log.retain(100_000, &age(10)).expect("dropped");
    assert_eq!((log.start(), log.end(), log.size()), (11, 11, 0));
    drop(log);
    let log = scene.open();
    assert_eq!((log.start(), log.end()), (11, 11));
    let files = scene.disk.list(DIR).expect("listed");
    assert_eq!(files, ["00000000000000000011.log", checkpoint::FILE]);
}

#[test]
fn a_segment_is_closed_when_it_is_old() {
    let scene = Scene::new(Fsync::Never);
    let mut log = scene.open();
    log.set_limits(LogLimits {
        segment_bytes: 1 << 20,
        segment_age: Duration::from_secs(3),
        fsync: Fsync::Never,
    });
    append(&mut log, 7);
    assert_eq!(log.segments().map(|segment| segment.base).collect::<Vec<_>>(), [0, 3, 6]);
}

#[test]
fn a_start_that_changed_is_noticed_without_reading_the_rest() {
    for (segment, closed) in
        [("00000000000000000000.log", true), ("00000000000000000008.log", false)]
    {
        let scene = Scene::new(Fsync::Never);
        let mut log = scene.open();
        append(&mut log, 10);
        log.close().expect("closed");
        let file = scene.disk.open(&format!("{DIR}/{segment}")).expect("there");
        let mut bytes = file.read_at(0, 1_000_000).expect("read").to_vec();
        bytes[16] = 9;
        file.truncate(0).expect("cut");
        file.append(bytes.into()).expect("written");
        let error = recover(&scene.disk, DIR).expect_err("refused");
        let BrokerError::Damaged { path, position: 0, .. } = &error else { panic!("{error}") };
        assert!(path.ends_with(segment), "closed: {closed}: {error}");
    }
}

#[test]
fn a_copy_of_a_segment_under_another_name_is_left_alone() {
    let scene = Scene::new(Fsync::Never);
    let mut log = scene.open();
    append(&mut log, 6);
    drop(log);
    let read = |name: &str| {
        let file = scene.disk.open(&format!("{DIR}/{name}")).expect("there");
        file.read_at(0, 1_000_000).expect("read")
    };
    let first = read("00000000000000000000.log");
    for name in ["0.log", "+4.log", "000000000000000000000.log"] {
        let copy = scene.disk.create(&format!("{DIR}/{name}")).expect("created");
        copy.append(first.clone()).expect("written");
        let log = scene.open();
        assert_eq!((log.start(), log.end()), (0, 6), "{name}");
        assert_eq!(read(name), first, "{name}");
    }
}
