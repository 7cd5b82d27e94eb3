//! A disk of 16 MiB that fills up. Needs root to mount one; without, it says so and does nothing
//! (the disk in memory plays the same part in `recovery`).

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use onrush_broker::BrokerConfig;
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
    let tmpfs = Tmpfs::mount();
    let disk = Disk::files(tmpfs.path()).expect("opens");
    let ballast = disk.create("ballast").expect("created");
    ballast.append(Bytes::from(vec![1; 8 << 20])).expect("fits");
    let config = BrokerConfig { segment_bytes: 1 << 20, ..BrokerConfig::default() };
    let broker = broker_on(&disk, config.clone()).await;
    let mut client = Client::connect(broker.address()).await;
    client.create_topic(TOPIC, 1).await;
    let value = "x".repeat(200_000);
    let mut written = 0;
    while client.produce(batch(&[&value])).await.error_code.is_ok() {
        written += 1;
        assert!(written < 100, "the disk does not fill up");
    }
    assert!(written >= 30, "{written} batches of 200 kB went into 8 MiB");
    let refused = client.produce(batch(&[&value])).await;
    assert_eq!(refused.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    let last = client.fetch(written - 1).await;
    assert_eq!((values(&last).len(), last.high_watermark), (1, written));

    disk.remove("ballast").expect("removed");
    drop(ballast);
    assert_eq!(client.produce(batch(&[&value])).await.base_offset, written);
    broker.close().await.expect("closes");
    let broker = broker_on(&disk, config).await;
    let mut client = Client::connect(broker.address()).await;
    let last = client.fetch(written).await;
    assert_eq!((values(&last).len(), last.high_watermark), (1, written + 1));
}
