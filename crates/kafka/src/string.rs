//! Strings of the protocol, made from ours.

use onrush_wire::KafkaString;

/// The protocol's form of `text`.
pub(crate) fn kafka_string(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}
