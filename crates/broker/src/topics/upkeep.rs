//! What the syncer does to the logs: forces them to the disk, notes how far they are there, drops what is too old.

use std::io;

use onrush_runtime::Fault;
use onrush_wire::Uuid;

use super::{Place, Topics};
use crate::Fsync;
use crate::checkpoint::{Draft, Writer};
use crate::log::{Log, Retention, Unsynced};

/// What is to be put on the disk of the log of a partition.
#[derive(Debug)]
pub(crate) struct SyncTask {
    pub(crate) place: Place,
    /// Of the topic: another one may have its name when the sync is done.
    topic: Uuid,
    /// None if all records are there.
    unsynced: Option<Unsynced>,
    /// A checkpoint of the time when all of them are.
    draft: Option<Draft>,
}

impl SyncTask {
    /// Takes long: not to be called under a lock.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        if let Some(unsynced) = &self.unsynced {
            unsynced.sync()?;
        }
        if let Some(draft) = &self.draft
            && let Err(error) = draft.write()
        {
            let Place { topic, partition } = &self.place;
            tracing::warn!(%topic, partition, %error, "cannot write a checkpoint; the last one stays");
            self.draft = None;
        }
        Ok(())
    }
}

impl Topics {
    /// Does something to a log and takes note of what it grew or shrank by, and of what it left for the syncer.
    pub(super) fn change<T>(
        &mut self,
        place: &Place,
        act: impl FnOnce(&mut Log) -> T,
    ) -> Option<T> {
        let log = self.log_mut(place)?;
        let (before, had_failed) = (log.size(), log.has_failed());
        let result = act(log);
        let (after, has_failed) = (log.size(), log.has_failed());
        self.size = self.size - before + after;
        // Once what had failed is there, what was written behind it has its turn.
        if (has_failed || had_failed) && !self.dirty.contains(place) {
            self.dirty.insert(place.clone());
        }
        Some(result)
    }

    /// Notes that something was written to a log. If its segment is nearly full, it is synced without delay under every
    /// policy: a new one is begun under the lock of all requests, and little is left to be synced then.
    pub(super) fn wrote(&mut self, place: &Place) {
        let soon = self.log(&place.topic, place.partition).is_ok_and(Log::is_nearly_full);
        self.urgent |= soon;
        if (soon || self.limits.fsync != Fsync::Never) && !self.dirty.contains(place) {
            self.dirty.insert(place.clone());
        }
    }

    /// Whether something must be synced before its time.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Whether there is something for the syncer.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// What the syncer has to do now; the places of logs that are gone, or synced already.
    pub(crate) fn take_dirty(&mut self) -> (Vec<SyncTask>, Vec<Place>) {
        self.urgent = false;
        let (mut tasks, mut settled) = (Vec::new(), Vec::new());
        for place in std::mem::take(&mut self.dirty) {
            let topic = self.topics.get(&place.topic).map(|topic| topic.id);
            let log = self.log(&place.topic, place.partition).ok();
            match topic.zip(log.and_then(Log::unsynced)) {
                Some((topic, unsynced)) => {
                    tasks.push(SyncTask { place, topic, unsynced: Some(unsynced), draft: None });
                }
                None => settled.push(place),
            }
        }
        (tasks, settled)
    }

    /// The places of all logs.
    pub(crate) fn places(&self) -> Vec<Place> {
        let of_topic = |topic: &super::Topic| {
            let name = topic.name.clone();
            let count = topic.logs.len();
            (0..).take(count).map(move |partition| Place { topic: name.clone(), partition })
        };
        self.topics.values().flat_map(of_topic).collect()
    }

    /// Begins a checkpoint of a log, if that is of use.
    pub(crate) fn checkpoint(&mut self, place: Place) -> Option<SyncTask> {
        let topic = self.topics.get(&place.topic)?.id;
        let log = self.log_mut(&place)?;
        if !log.is_behind() || log.has_failed() {
            return None;
        }
        let (unsynced, draft) = (log.unsynced(), Some(log.draft(Writer::Syncer)));
        self.dirty.remove(&place);
        Some(SyncTask { place, topic, unsynced, draft })
    }

    /// Notes what became of a task.
    pub(crate) fn synced(&mut self, task: &SyncTask, result: &io::Result<()>) {
        if self.topics.get(&task.place.topic).is_none_or(|topic| topic.id != task.topic) {
            return;
        }
        self.change(&task.place, |log| match (result, &task.unsynced) {
            (Ok(()), unsynced) => {
                if let Some(unsynced) = unsynced {
                    log.synced(unsynced);
                }
                if let Some(draft) = &task.draft
                    && let Err(error) = log.place(draft)
                {
                    tracing::warn!(%error, "cannot put a checkpoint in place; the last one stays");
                }
            }
            (Err(_), Some(unsynced)) => log.sync_failed(unsynced),
            (Err(_), None) => {}
        });
    }

    /// How many bytes of a log readers see that they did not see at the last call, and where it ends for readers and
    /// for writers.
    pub(crate) fn take_shown(&mut self, place: &Place) -> (usize, i64, i64) {
        let log = self.log_mut(place);
        log.map_or((0, 0, 0), |log| (log.take_shown(), log.end(), log.next_offset()))
    }

    /// Drops what a log need not keep any more. `now` is the time of day.
    pub(crate) fn retain(&mut self, place: &Place, now: i64) {
        let Some(topic) = self.topics.get(&place.topic) else { return };
        let retention =
            Retention { age: topic.settings.retention, bytes: topic.settings.retention_bytes };
        let before = self.log(&place.topic, place.partition).map_or(0, Log::start);
        let retained = self.change(place, |log| log.retain(now, &retention));
        let start = self.log(&place.topic, place.partition).map_or(0, Log::start);
        let Place { topic, partition } = place;
        if let Some(Err(error)) = retained {
            tracing::error!(%topic, partition, code = %Fault::BrokerStorage, %error, "cannot drop the oldest segment");
        }
        if start > before {
            tracing::info!(%topic, partition, start, "dropped records that need not be kept");
        }
    }
}
