//! What lanes, workers and the control driver tell each other: per slice, per run, or per
//! partition; never per event.

use std::collections::VecDeque;
use std::sync::Arc;

use onrush_kafka::{ClientError, ErrorCode, TopicPartition};
use onrush_runtime::Instant;

use crate::assignment::{Holding, Origin};
use crate::commit::{Proposal, Verdict};
use crate::completed::{CompletedSet, OffsetRun};
use crate::detail::Slowest;
use crate::emit::{Delivery, Settled};
use crate::error::{PartitionStopped, StopReason};
use crate::failure::Failure;
use crate::inbox::Inbox;
use crate::metadata::{MetadataError, Note};
use crate::metrics::PartitionCells;
use crate::slot::{Piece, Retried};
use crate::source::Slice;

/// To a lane.
#[derive(Debug)]
pub enum LaneInput {
    /// A partition comes.
    Assign(Box<Assign>),
    /// Batches of a partition.
    Fetched {
        /// Which.
        partition: TopicPartition,
        /// The fetch token; see [`ControlInput::Fetch`].
        token: u64,
        /// The batches.
        slice: Slice,
    },
    /// The next offset is not in the log.
    OutOfRange {
        /// Of which partition.
        partition: TopicPartition,
        /// The fetch token.
        token: u64,
        /// The first offset in the log.
        log_start: i64,
        /// The offset after the last one.
        end: i64,
    },
    /// A partition cannot be read.
    FetchFailed {
        /// Which.
        partition: TopicPartition,
        /// The fetch token.
        token: u64,
        /// Why.
        error: ClientError,
    },
    /// What a worker did.
    Report(Report),
    /// Events whose emitted records are acknowledged at a worker.
    Settled(Vec<Settled>),
    /// What events emitted cannot be written.
    Undelivered {
        /// Their assignments.
        origins: Vec<Origin>,
        /// Why.
        reason: String,
    },
    /// A batch of the lane's own emitter was written, or not.
    Delivered(Delivery),
    /// Say what is to be committed.
    Commit,
    /// The broker's answer to a proposal.
    Answered(Proposal, Verdict),
    /// A partition leaves: finish what runs, until the deadline.
    Revoke(TopicPartition, Instant),
    /// A partition leaves now, its last commit is done.
    Release(TopicPartition),
    /// A partition has left already; nothing of it may be committed.
    Lost(TopicPartition),
    /// A worker told its handler that the partition has gone.
    HookDone(Origin),
    /// Another share of the byte budget per partition.
    Share(usize),
    /// A topic is in the metadata now, or cannot be had.
    Topic(Arc<str>, Result<(), String>),
    /// Try again what is paused.
    Resume,
    /// Somebody dead-lettered an event by hand: say whether it counts.
    Settle {
        /// Of which partition.
        partition: TopicPartition,
        /// Its offset.
        offset: i64,
        /// Where to say it; `None` if the partition is not here.
        answer: Arc<Inbox<Option<Result<(), String>>>>,
    },
    /// End when no partition is left.
    Close,
}

/// A partition that comes to a lane.
#[derive(Debug)]
pub struct Assign {
    /// The partition.
    pub holding: Arc<Holding>,
    /// The committed offset, if there is one.
    pub committed: Option<i64>,
    /// What is done above the start.
    pub completed: CompletedSet,
    /// What the owner before knew of events that are not.
    pub notes: Vec<Note>,
    /// Where it shows how it stands.
    pub cells: Arc<PartitionCells>,
}

/// What a worker did with a run, so far or in the end.
#[derive(Debug)]
pub struct Report {
    /// The assignment.
    pub origin: Origin,
    /// The slot.
    pub slot: u32,
    /// What the run's events emit through.
    pub emitter: usize,
    /// Events that are done.
    pub done: Vec<OffsetRun>,
    /// Events that took longer than an event may.
    pub overdue: u64,
    /// The event that took longest, if it was long.
    pub slowest: Option<Slowest>,
    /// The event that failed.
    pub failed: Option<Failure>,
    /// The run came back; this was not started.
    pub rest: Option<VecDeque<Piece>>,
    /// What kind of run it was; see `Run::retried`.
    pub retried: Option<Retried>,
}

/// To a worker, or to a group of tasks.
#[derive(Debug)]
pub enum WorkerInput {
    /// A partition came.
    Assigned(Arc<Holding>),
    /// A partition has gone; say when the handler knows.
    Revoked(Arc<Holding>, Origin),
    /// Hand over what was emitted without waiting for more.
    Flush,
    /// A batch was written, or not.
    Delivered(Delivery),
    /// A topic is in the metadata now, or cannot be had.
    Topic(Arc<str>, Result<(), String>),
    /// End.
    Close,
}

/// Who asks for a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A lane.
    Lane(usize),
    /// A worker, or a group of tasks.
    Worker(usize),
}

/// What a topic is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A handler emits to it: it has to exist.
    Emit,
    /// Events that failed leave for it: it is created.
    Departure,
}

/// To the control driver.
#[derive(Debug)]
pub enum ControlInput {
    /// Read the partition from this offset, in place of what was read. The token tells the slices
    /// of this reading.
    Fetch(TopicPartition, u64, i64),
    /// The log of a partition was cut, and its ledger began again under this token.
    Restarted(TopicPartition, u64),
    /// Stop asking for a partition that is held under this token, or go on.
    Pause(TopicPartition, u64, bool),
    /// Answer to [`LaneInput::Commit`].
    Proposals(usize, Vec<Proposal>),
    /// A partition that was revoked is drained, or its deadline has passed.
    Drained {
        /// Which.
        partition: TopicPartition,
        /// The assignment.
        token: u64,
        /// Its last commit, if there is something to commit.
        proposal: Option<Proposal>,
        /// Events that still run.
        running: u64,
    },
    /// A partition has left its lane.
    Released(TopicPartition, u64),
    /// A partition that is held under this token is not processed any more.
    Stopped(u64, PartitionStopped),
    /// The metadata does not have a topic.
    TopicWanted(Asker, Arc<str>, Purpose),
    /// What was done about it.
    TopicTried(Arc<str>, Result<(), String>),
    /// Where partitions start, as the cluster says.
    Starts(Vec<(TopicPartition, u64)>, Result<Vec<StartAt>, ClientError>),
    /// The answer to a commit.
    Committed(Vec<Proposal>, Result<Vec<(TopicPartition, ErrorCode)>, ClientError>),
    /// A lane or worker has ended; false if it panicked.
    Ended(String, bool),
}

/// Where a partition starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartAt {
    /// Which.
    pub partition: TopicPartition,
    /// The offset.
    pub offset: i64,
    /// The committed offset, if there is one.
    pub committed: Option<i64>,
    /// What is done above it.
    pub completed: CompletedSet,
    /// What the owner before knew of events that are not.
    pub notes: Vec<Note>,
    /// Why the commit's metadata tells nothing, if something stands there.
    pub unread: Option<MetadataError>,
}

/// A stop on its way to the control driver.
pub(crate) fn stopped(holding: &Holding, offset: i64, reason: StopReason) -> ControlInput {
    let stopped = PartitionStopped { partition: holding.partition.clone(), offset, reason };
    ControlInput::Stopped(holding.token, stopped)
}
