//! The members of all groups on the disk, so that a restart of the broker does not make them start
//! over.
//!
//! The file `members` is a [`Journal`]; its entries begin with a kind:
//!
//! | kind | entry |
//! |---|---|
//! | 1 | member, new or changed: group, id, and what the group knows of it |
//! | 2 | member gone: group, id |
//! | 3 | the broker started, under this policy of syncing |
//! | 4 | the broker ended cleanly |
//!
//! Members are written only when something about them changed, not per heartbeat, and always
//! synced. What is found is used only if no acknowledged record can be missing: after a clean end,
//! or when records were synced before they were acknowledged. Else a member might go on above bytes
//! that a crash took; then all of them are unknown, join anew and read the committed offsets again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use onrush_runtime::Disk;

use crate::journal::{Entries, Journal, put_string, take_string};
use crate::{BrokerError, Fsync};

pub(crate) const FILE: &str = "members";

const MEMBER: u8 = 1;
const GONE: u8 = 2;
const STARTED: u8 = 3;
const ENDED: u8 = 4;

/// Members of a group by id, each as bytes.
pub(crate) type Stored = BTreeMap<String, Bytes>;

/// All members.
#[derive(Debug)]
pub(crate) struct Members {
    journal: Journal,
    current: Current,
    fsync: Fsync,
}

#[derive(Debug, Default)]
struct Current {
    groups: BTreeMap<Arc<str>, Stored>,
    /// Whether records that were acknowledged before the last end are all there.
    complete: bool,
}

impl Members {
    /// Opens the file; `fsync` is the policy for records.
    pub(crate) fn open(disk: &Disk, fsync: Fsync) -> Result<Self, BrokerError> {
        let mut current = Current::default();
        let journal = Journal::open(disk, FILE, |entry| current.replay(entry))?;
        let mut members = Self { journal, current, fsync };
        members.start().map_err(BrokerError::storage("write", FILE))?;
        Ok(members)
    }

    fn start(&mut self) -> io::Result<()> {
        self.current.groups.retain(|_, members| !members.is_empty());
        if !self.current.complete && !self.current.groups.is_empty() {
            let groups = self.current.groups.len();
            tracing::warn!(
                groups,
                "records may be missing since the last start: all members of groups must join anew"
            );
            self.current.groups.clear();
        }
        self.journal.rewrite(self.current.entries(self.fsync))
    }

    /// The members of all groups.
    pub(crate) fn groups(&self) -> &BTreeMap<Arc<str>, Stored> {
        &self.current.groups
    }

    /// Stores what changed in a group.
    pub(crate) fn store(&mut self, group: &Arc<str>, members: Stored) -> io::Result<()> {
        let none = Stored::new();
        let before = self.current.groups.get(group).unwrap_or(&none);
        let mut entries = Entries::default();
        for (id, member) in members.iter().filter(|(id, member)| before.get(*id) != Some(member)) {
            put_member(&mut entries, group, id, member);
        }
        for id in before.keys().filter(|id| !members.contains_key(*id)) {
            entries.push(|buffer| {
                buffer.put_u8(GONE);
                put_string(buffer, group);
                put_string(buffer, id);
            });
        }
        self.journal.append(entries, Fsync::Always)?;
        if members.is_empty() {
            self.current.groups.remove(group);
        } else {
            self.current.groups.insert(group.clone(), members);
        }
        self.journal.rewrite_if_grown(|| self.current.entries(self.fsync));
        Ok(())
    }

    /// Notes a clean end; everything else must be on the disk before.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        let mut entries = Entries::default();
        entries.push(|buffer| buffer.put_u8(ENDED));
        self.journal.append(entries, Fsync::Always)
    }
}

impl Current {
    fn replay(&mut self, mut entry: Bytes) -> Result<(), String> {
        match entry.try_get_u8().map_err(|error| error.to_string())? {
            MEMBER => {
                let group = take_string(&mut entry)?;
                let id = take_string(&mut entry)?;
                self.groups.entry(group.into()).or_default().insert(id, entry);
            }
            GONE => {
                let group = take_string(&mut entry)?;
                let id = take_string(&mut entry)?;
                if let Some(members) = self.groups.get_mut(group.as_str()) {
                    members.remove(&id);
                }
            }
            STARTED => self.complete = entry.first() == Some(&1),
            ENDED => self.complete = true,
            kind => return Err(format!("entry of the unknown kind {kind}")),
        }
        Ok(())
    }

    fn entries(&self, fsync: Fsync) -> Entries {
        let mut entries = Entries::default();
        entries.push(|buffer| {
            buffer.put_u8(STARTED);
            buffer.put_u8(u8::from(fsync == Fsync::Always));
        });
        for (group, members) in &self.groups {
            for (id, member) in members {
                put_member(&mut entries, group, id, member);
            }
        }
        entries
    }
}

fn put_member(entries: &mut Entries, group: &str, id: &str, member: &Bytes) {
    entries.push(|buffer| {
        buffer.put_u8(MEMBER);
        put_string(buffer, group);
        put_string(buffer, id);
        buffer.put_slice(member);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Arc<str> {
        "g".into()
    }

    fn stored(ids: &[&str]) -> Stored {
        ids.iter().map(|id| ((*id).to_owned(), Bytes::from_static(b"state"))).collect()
    }

    #[test]
    fn members_survive_when_records_were_synced() {
        let disk = Disk::memory();
        let mut members = Members::open(&disk, Fsync::Always).expect("opens");
        members.store(&group(), stored(&["a", "b"])).expect("stored");
        members.store(&group(), stored(&["b", "c"])).expect("stored");
        let members = Members::open(&disk, Fsync::Never).expect("opens");
        assert_eq!(members.groups().get("g"), Some(&stored(&["b", "c"])));
    }

    #[test]
    fn without_syncs_members_survive_a_clean_end_only() {
        let disk = Disk::memory();
        let mut members = Members::open(&disk, Fsync::Never).expect("opens");
        members.store(&group(), stored(&["a"])).expect("stored");
        members.end().expect("stored");
        let members = Members::open(&disk, Fsync::Never).expect("opens");
        assert_eq!(members.groups().get("g"), Some(&stored(&["a"])));
        // This life ends without a word.
        drop(members);
        assert!(Members::open(&disk, Fsync::Always).expect("opens").groups().is_empty());
    }

    #[test]
    fn what_did_not_change_is_not_written() {
        let disk = Disk::memory();
        let mut members = Members::open(&disk, Fsync::Never).expect("opens");
        members.store(&group(), stored(&["a", "b"])).expect("stored");
        let length = members.journal.len();
        members.store(&group(), stored(&["a", "b"])).expect("stored");
        assert_eq!(members.journal.len(), length);
    }
}
