//! OffsetForLeaderEpoch: where the records of an epoch end, so that a client sees whether a crash of
//! the broker cut off what it has read.

use std::collections::BTreeSet;

use onrush_wire::message::offset_for_leader_epoch::request::OffsetForLeaderPartition;
use onrush_wire::message::offset_for_leader_epoch::response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use onrush_wire::message::offset_for_leader_epoch::{Request, Response};
use onrush_wire::{ErrorCode, KafkaString};

use crate::core::Core;
use crate::log::Log;
use crate::requests::list_offsets::batch_at;

/// "None", for an epoch and for an offset.
const NONE: i32 = -1;

impl Core {
    pub(crate) fn offset_for_leader_epoch(&self, request: Request) -> Response {
        // Each is searched for in the log: a partition once per request.
        let mut told = BTreeSet::new();
        let topics = request
            .topics
            .into_iter()
            .map(|topic| OffsetForLeaderTopicResult {
                partitions: topic
                    .partitions
                    .iter()
                    .filter(|asked| told.insert((topic.topic.to_string(), asked.partition)))
                    .map(|asked| self.end_of_epoch(&topic.topic, asked))
                    .collect(),
                topic: topic.topic,
                ..OffsetForLeaderTopicResult::default()
            })
            .collect();
        Response { topics, ..Response::default() }
    }

    fn end_of_epoch(
        &self,
        topic: &KafkaString,
        asked: &OffsetForLeaderPartition,
    ) -> EpochEndOffset {
        let found = self
            .check_leader_epoch(asked.current_leader_epoch)
            .and_then(|()| self.topics.log(topic.as_str(), asked.partition))
            .and_then(|log| epoch_end(log, self.topics.leader_epoch(), asked.leader_epoch));
        let (error, (leader_epoch, end_offset)) = match found {
            Ok(found) => (ErrorCode::NONE, found),
            Err(error) => (error, (NONE, i64::from(NONE))),
        };
        EpochEndOffset {
            error_code: error.0,
            partition: asked.partition,
            leader_epoch,
            end_offset,
            ..EpochEndOffset::default()
        }
    }
}

/// The highest epoch up to `asked` that has records, and the offset behind its last one. `current`
/// is the epoch that goes on.
fn epoch_end(log: &Log, current: i32, asked: i32) -> Result<(i32, i64), ErrorCode> {
    if asked == current {
        return Ok((current, log.end()));
    }
    if !(0..current).contains(&asked) {
        return Ok((NONE, i64::from(NONE)));
    }
    // Epochs never fall along a log: the first batch of a later one is searched for.
    let (mut low, mut high) = (log.start(), log.end());
    let mut floor = None;
    while low < high {
        let header = batch_at(log, low + (high - low) / 2)?.1;
        if header.partition_leader_epoch > asked {
            high = header.base_offset.max(low);
        } else {
            low = header.last_offset() + 1;
            floor = Some(header.partition_leader_epoch);
        }
    }
    Ok((floor.unwrap_or(asked), low.min(log.end())))
}
