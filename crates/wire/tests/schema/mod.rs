//! Arbitrary Produce and Fetch messages, and the same as the schema codec's structs.

pub(crate) mod fetch;
pub(crate) mod produce;

use bytes::Bytes;
use onrush_wire::produce::CurrentLeader;
use onrush_wire::{KafkaString, Uuid, uuid};
use proptest::option;
use proptest::prelude::*;

pub(crate) fn string() -> impl Strategy<Value = KafkaString> {
    "[a-z0-9.é]{0,12}".prop_map(KafkaString::from)
}

pub(crate) fn topic_id() -> impl Strategy<Value = Uuid> {
    any::<[u8; 16]>().prop_map(uuid::from_bytes)
}

/// Lengths on both sides of where a varint grows from one byte to two.
pub(crate) fn records() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just(0), 1..200usize, 126..130usize]
        .prop_flat_map(|length| proptest::collection::vec(any::<u8>(), length))
        .prop_map(Bytes::from)
}

/// Never the unknown leader (-1, -1), which is what `None` stands for.
pub(crate) fn leader() -> impl Strategy<Value = Option<CurrentLeader>> {
    option::of((0..9i32, any::<i32>()).prop_map(|(id, epoch)| CurrentLeader { id, epoch }))
}
