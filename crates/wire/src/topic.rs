//! How Produce and Fetch name a topic: by its name, and from version 13 of either API on by its id.

use crate::primitive::{Reader, Writer};
use crate::{KafkaString, Uuid, WireError};

/// First version of Produce and of Fetch with topic ids instead of names.
pub const TOPIC_IDS: i16 = 13;

pub(crate) fn encode(
    version: i16,
    name: &KafkaString,
    id: Uuid,
    writer: &mut Writer,
) -> Result<(), WireError> {
    if version < TOPIC_IDS {
        return writer.string(name, "topic");
    }
    writer.uuid(id);
    Ok(())
}

/// The name or the id; the other one is empty or zero.
pub(crate) fn decode(version: i16, reader: &mut Reader) -> Result<(KafkaString, Uuid), WireError> {
    if version < TOPIC_IDS {
        return Ok((reader.string("topic")?, Uuid::ZERO));
    }
    Ok((KafkaString::default(), reader.uuid("topic id")?))
}
