//! A disk of 16 MiB that fills up. Needs root to mount one; without, it says so and does nothing
//! (the disk in memory plays the same part in `recovery`).

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use onrush_broker::{BrokerConfig, Fsync};
use onrush_runtime::Disk;
use onrush_wire::ErrorCode;

use crate::support::*;

/// A mounted tmpfs, unmounted on drop.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
            .arg(directory.path())
            .status();
        assert!(mount.expect("mount runs").success(), "cannot mount a tmpfs");
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: after a failed assertion the broker still has files open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.trim_ascii() == b"0"
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_heals_when_there_is_room() {
    if !is_root() {
        eprintln!("not root: no tmpfs was mounted, nothing was tested here");
        return;
    }
    for fsync in [Fsync::Always, Fsync::default(), Fsync::Never] {
        fills_up_and_heals(fsync).await;
    }
}

async fn fills_up_and_heals(fsync: Fsync) {
    let tmpfs = Tmpfs::mount();
    let disk = Disk::files(tmpfs.path()).expect("opens");
    let ballast = disk.create("ballast").expect("created");
    ballast.append(Bytes::from(vec![1; 8 << 20])).expect("fits");
    let config = BrokerConfig { fsync, segment_bytes: 1 << 20, ..BrokerConfig::default() };
    let broker = broker_on(&disk, config.clone()).await;
    let mut client = Client::connect(broker.address()).await;
    client.create_topic(TOPIC, 1).await;
    let id = client.producer_id().await;
    let value = "x".repeat(200_000);
    let mut written = 0;
    let next = |written: i64| batch_of(id, 0, written as i32, &[&value]);
    while client.produce(next(written)).await.error_code.is_ok() {
        written += 1;
        assert!(written < 100, "the disk does not fill up");
    }
    assert!(written >= 30, "{written} batches of 200 kB went into 8 MiB");
    let refused = client.produce(next(written)).await;
    assert_eq!(refused.error_code, ErrorCode::KAFKA_STORAGE_ERROR, "{fsync:?}");
    for offset in 0..written {
        let read = client.fetch(offset).await;
        assert_eq!(values(&read)[0].0, offset, "{fsync:?}");
        assert_eq!(read.high_watermark, written, "{fsync:?}");
    }

    disk.remove("ballast").expect("removed");
    drop(ballast);
    // The retry is next, as the refused ones are not in the log.
    assert_eq!(client.produce(next(written)).await.base_offset, written, "{fsync:?}");
    broker.close().await.expect("closes");
    let broker = broker_on(&disk, config).await;
    let mut client = Client::connect(broker.address()).await;
    let last = client.fetch(written).await;
    assert_eq!((values(&last).len(), last.high_watermark), (1, written + 1), "{fsync:?}");
    let again = client.produce(next(written)).await;
    assert_eq!((again.error_code, again.base_offset), (ErrorCode::NONE, written), "{fsync:?}");
}
