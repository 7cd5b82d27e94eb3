//! DeleteRecords and OffsetForLeaderEpoch: where a log begins, and where its epochs end.

mod epochs;

use onrush_wire::message::delete_records::response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use onrush_wire::message::delete_records::{Request, Response};
use onrush_wire::{ErrorCode, KafkaString};

use crate::core::Core;
use crate::topics::{Place, TopicRef};

/// "All of them", for the first offset that stays.
const END: i64 = -1;

/// "None", for where a log begins.
const UNKNOWN: i64 = -1;

impl Core {
    pub(crate) fn delete_records(&mut self, request: Request) -> Response {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let index = asked.partition_index;
                let deleted = self.delete_below(&topic.name, index, asked.offset);
                let (error, low_watermark) = match deleted {
                    Ok(start) => (ErrorCode::NONE, start),
                    Err(error) => (error, UNKNOWN),
                };
                partitions.push(DeleteRecordsPartitionResult {
                    partition_index: index,
                    low_watermark,
                    error_code: error.0,
                    ..DeleteRecordsPartitionResult::default()
                });
            }
            topics.push(DeleteRecordsTopicResult {
                name: topic.name,
                partitions,
                ..DeleteRecordsTopicResult::default()
            });
        }
        Response { topics, ..Response::default() }
    }

    /// Deletes what is below an offset and tells where the log begins now.
    fn delete_below(
        &mut self,
        topic: &KafkaString,
        partition: i32,
        offset: i64,
    ) -> Result<i64, ErrorCode> {
        let end = self.topics.log(topic.as_str(), partition)?.end();
        let offset = if offset == END { end } else { offset };
        if !(0..=end).contains(&offset) {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let topic = self.topics.find(TopicRef::Name(topic.as_str()))?.name.clone();
        let place = Place { topic, partition };
        let deleted = self.topics.delete_below(&place, offset);
        // It syncs before it deletes.
        self.settle(&place);
        deleted
    }
}
