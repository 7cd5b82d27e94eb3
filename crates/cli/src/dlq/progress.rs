//! How far a redrive came, so that one that was interrupted goes on where it was and one that is run again sends nothing twice.
//!
//! It is kept as the committed offsets of a group without members, one per topic and selection: another selection is another
//! redrive, with a progress of its own.

use std::collections::BTreeMap;
use std::ops::Range;

use onrush_kafka::{Client, Commit, TopicPartition};

use super::selection::Selection;
use crate::failure::Failure;
use crate::outcome::failure;

/// What the names of the groups begin with.
const GROUP_PREFIX: &str = "onrush-redrive";

/// See the module.
pub(super) struct Progress {
    group: String,
}

impl Progress {
    /// Of the redrive of these letters to `target`; the letters' origins if that is none.
    pub(super) fn of(topic: &str, selection: &Selection, target: Option<&str>) -> Self {
        let group = if selection.picks() || target.is_some() {
            let what = format!("{selection:?} {target:?}");
            format!("{GROUP_PREFIX}.{topic}.{:016x}", fnv(what.as_bytes()))
        } else {
            format!("{GROUP_PREFIX}.{topic}")
        };
        Self { group }
    }

    /// Takes away from `parts` what was sent back before; how many offsets that was.
    pub(super) async fn shorten(
        &self,
        client: &Client,
        parts: &mut BTreeMap<TopicPartition, Range<i64>>,
    ) -> Result<i64, Failure> {
        let partitions: Vec<_> = parts.keys().cloned().collect();
        let committed = client.fetch_offsets(&self.group, &partitions).await.map_err(failure)?;
        let mut passed = 0;
        for offset in committed {
            let Some(part) = parts.get_mut(&offset.partition) else { continue };
            let start = offset.offset.clamp(part.start, part.end);
            passed += start - part.start;
            part.start = start;
        }
        Ok(passed)
    }

    /// All letters that are meant are sent back below `next`.
    pub(super) async fn reached(
        &self,
        client: &Client,
        partition: &TopicPartition,
        next: i64,
    ) -> Result<(), Failure> {
        let commit = Commit {
            partition: partition.clone(),
            offset: next,
            leader_epoch: -1,
            metadata: String::new(),
        };
        client.commit_offsets(&self.group, &[commit]).await.map_err(failure)
    }
}

/// FNV-1a: it tells selections apart.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}
