//! Groups of consumers, of either protocol, by id.
//!
//! A group that is empty becomes one of the other kind when somebody joins it that way; its epochs
//! go on, so that what comes late from before is refused. One that has members refuses members of
//! the other kind.

pub(crate) mod classic;
pub(crate) mod consumer;

use std::collections::BTreeMap;
use std::sync::Arc;

use onrush_runtime::Instant;

use self::classic::ClassicGroup;
use self::consumer::ConsumerGroup;
use crate::members::Stored;

/// What a member takes at least, with its ids.
pub(crate) const MEMBER_WEIGHT: usize = 512;

/// The groups by id.
pub(crate) type Groups = BTreeMap<Arc<str>, Group>;

/// A group that has, had or is about to have members.
#[derive(Debug)]
pub(crate) enum Group {
    Consumer(ConsumerGroup),
    Classic(ClassicGroup),
}

/// The protocol of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Consumer,
    Classic,
}

impl Kind {
    /// Kafka's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Classic => "classic",
        }
    }
}

/// The program that a member runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// What it calls itself.
    pub(crate) id: String,
    /// Where it connected from.
    pub(crate) host: String,
}

impl Client {
    fn weight(&self) -> usize {
        self.id.len() + self.host.len()
    }
}

impl Group {
    /// Bytes that it keeps for its members.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Consumer(group) => group.weight(),
            Self::Classic(group) => group.weight(),
        }
    }

    /// The epoch or generation that it reached.
    pub(crate) fn epoch(&self) -> i32 {
        match self {
            Self::Consumer(group) => group.epoch(),
            Self::Classic(group) => group.generation(),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Consumer(_) => Kind::Consumer,
            Self::Classic(_) => Kind::Classic,
        }
    }

    /// Whether nobody is in the group.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Consumer(group) => group.is_empty(),
            Self::Classic(group) => group.is_empty(),
        }
    }

    /// A group as it was stored.
    pub(crate) fn restored(
        now: Instant,
        session_timeout: std::time::Duration,
        (epoch, kind): (i32, Kind),
        stored: &Stored,
    ) -> Result<Self, String> {
        match kind {
            // The broker stopped in between while the group became one of the other kind; whoever was in
            // it had left before.
            Kind::Consumer if stored.contains_key(classic::GROUP_ENTRY) => {
                Ok(Self::Consumer(ConsumerGroup::new(epoch)))
            }
            Kind::Consumer => {
                ConsumerGroup::restored(now, session_timeout, epoch, stored).map(Self::Consumer)
            }
            Kind::Classic => ClassicGroup::restored(now, epoch, stored).map(Self::Classic),
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_runtime::Clock;

    use super::*;

    #[test]
    fn a_group_that_was_about_to_change_its_kind_is_empty() {
        let now = Clock::System.now();
        let classic = ClassicGroup::new(7).stored();
        let consumer = Stored::from([("m".to_owned(), bytes::Bytes::from_static(b"member"))]);
        for (kind, stored) in [(Kind::Consumer, &classic), (Kind::Classic, &consumer)] {
            let session = std::time::Duration::from_secs(1);
            let group = Group::restored(now, session, (7, kind), stored).expect("readable");
            assert!(group.is_empty() && group.epoch() == 7 && group.kind() == kind);
        }
    }
}
