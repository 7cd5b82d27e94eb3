//! The errors that a person can meet, each with the code under which it is looked up.
//!
//! A code is the same in a log line (`code`), on the command line, in the header of a dead letter and in what a doctor
//! says. Each has a page with cause and cure in `docs/errors`, printed by `onrush explain CODE`. A number is never given to
//! another error: one that is gone leaves a gap. The table stands in this crate because every other one may use it.

use std::fmt;
use std::str::FromStr;

/// What went wrong, as far as the cure depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Fault {
    /// The arguments of a command cannot be used.
    Usage = 1,
    /// The configuration file or an `ONRUSH_` variable cannot be used.
    Configuration = 2,
    /// No cluster of that name is configured.
    UnknownCluster = 3,
    /// A file cannot be read or written.
    File = 4,
    /// Input is not in the declared format.
    Input = 5,
    /// A change was not confirmed, so nothing was changed.
    NotConfirmed = 6,
    /// The operating system refused a thread.
    Thread = 7,
    /// No progress for too long.
    Stalled = 8,
    /// The user interrupted it.
    Interrupted = 9,
    /// A proof failed, or a result is not what it must be.
    Wrong = 10,
    /// Something outside could not be had, and no other code says it better.
    Unavailable = 11,
    /// No broker can be reached.
    Unreachable = 12,
    /// A connection broke while a request was on its way.
    ConnectionLost = 13,
    /// A broker did not answer in time.
    NoAnswer = 14,
    /// What came is not what Kafka's protocol allows.
    Protocol = 15,
    /// The broker speaks no version that this client speaks.
    BrokerTooOld = 16,
    /// The cluster refused, for the reason given.
    Refused = 17,
    /// The topic does not exist.
    UnknownTopic = 18,
    /// The topic exists already.
    TopicExists = 19,
    /// A partition has no leader at the moment.
    NoLeader = 20,
    /// The principal lacks the right.
    NotAuthorized = 21,
    /// The group does not exist.
    UnknownGroup = 22,
    /// The group has members, and must not have any for this.
    GroupInUse = 23,
    /// Events expired before they were read.
    Expired = 24,
    /// A log ends below what was read from it.
    LogCut = 25,
    /// A record or batch is larger than the topic takes.
    TooLarge = 26,
    /// A batch in the log is damaged.
    CorruptBatch = 27,
    /// The broker cannot write to or read from its disk.
    BrokerStorage = 28,
    /// Whether a batch was written is not known.
    MayHaveBeenWritten = 29,
    /// A batch could not be delivered in time.
    NotDelivered = 30,
    /// More waits than a limit allows.
    Overloaded = 31,
    /// It was closed meanwhile.
    Closed = 32,
    /// A commit was refused or failed.
    CommitFailed = 33,
    /// The metadata of a group's commit is not ours.
    ForeignMetadata = 34,
    /// The embedded broker cannot listen on its address.
    Listen = 40,
    /// Another broker holds the data directory.
    DataInUse = 41,
    /// The data directory cannot be used.
    DataDirectory = 42,
    /// A file was written by a newer version.
    NewerFormat = 43,
    /// Bytes on the disk have changed.
    Damaged = 44,
    /// A setting of the embedded broker cannot be.
    BrokerSetting = 45,
    /// A setting of the consumer cannot be.
    ConsumerSetting = 50,
    /// A handler returned an error, or panicked.
    HandlerFailed = 51,
    /// An event cannot go to the dead letters.
    DeadLetterRefused = 52,
    /// What a handler emitted cannot be written.
    EmitRefused = 53,
    /// Events still ran when their partition had to leave.
    DrainDeadline = 54,
    /// An event failed, and its key waits until it is told to go on.
    KeyPaused = 55,
    /// So many events failed that nothing more of their partition is taken.
    PartitionPaused = 56,
    /// A handler's error stopped a partition.
    HandlerStopped = 57,
    /// A rule of Onrush itself is broken.
    Bug = 60,
}

impl Fault {
    /// Every one, by number.
    pub const ALL: [Self; 49] = [
        Self::Usage,
        Self::Configuration,
        Self::UnknownCluster,
        Self::File,
        Self::Input,
        Self::NotConfirmed,
        Self::Thread,
        Self::Stalled,
        Self::Interrupted,
        Self::Wrong,
        Self::Unavailable,
        Self::Unreachable,
        Self::ConnectionLost,
        Self::NoAnswer,
        Self::Protocol,
        Self::BrokerTooOld,
        Self::Refused,
        Self::UnknownTopic,
        Self::TopicExists,
        Self::NoLeader,
        Self::NotAuthorized,
        Self::UnknownGroup,
        Self::GroupInUse,
        Self::Expired,
        Self::LogCut,
        Self::TooLarge,
        Self::CorruptBatch,
        Self::BrokerStorage,
        Self::MayHaveBeenWritten,
        Self::NotDelivered,
        Self::Overloaded,
        Self::Closed,
        Self::CommitFailed,
        Self::ForeignMetadata,
        Self::Listen,
        Self::DataInUse,
        Self::DataDirectory,
        Self::NewerFormat,
        Self::Damaged,
        Self::BrokerSetting,
        Self::ConsumerSetting,
        Self::HandlerFailed,
        Self::DeadLetterRefused,
        Self::EmitRefused,
        Self::DrainDeadline,
        Self::KeyPaused,
        Self::PartitionPaused,
        Self::HandlerStopped,
        Self::Bug,
    ];

    /// The number in its code.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// The code: `ONR0012`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ONR{:04}", self.number())
    }
}

/// What was given is the code of no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchFault;

/// Reads a code as people type it: `ONR0012`, `onr12`, `12`.
impl FromStr for Fault {
    type Err = NoSuchFault;

    fn from_str(text: &str) -> Result<Self, NoSuchFault> {
        let digits = match text.get(..3) {
            Some(prefix) if prefix.eq_ignore_ascii_case("ONR") => &text[3..],
            _ => text,
        };
        let number: u16 = digits.parse().map_err(|_| NoSuchFault)?;
        Self::ALL.into_iter().find(|fault| fault.number() == number).ok_or(NoSuchFault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_read_back() {
        assert!(Fault::ALL.is_sorted_by(|a, b| a.number() < b.number()));
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        assert_eq!(Fault::Unreachable.to_string(), "ONR0012");
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        for text in ["ONR0012", "onr0012", "onr12", "12", "0012"] {
            assert_eq!(text.parse(), Ok(Fault::Unreachable), "{text}");
        }
        for text in ["", "ONR", "ONR9999", "E0012", "-12", "ÖNR12", "ONR00120000000000"] {
            assert_eq!(text.parse::<Fault>(), Err(NoSuchFault), "{text}");
        }
    }
}
