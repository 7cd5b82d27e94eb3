//! Requests as the broker gets them: a frame without its length prefix.

use std::sync::LazyLock;

use bytes::Bytes;
use onrush_broker::fuzzing::served;
use onrush_wire::fetch::{FetchPartition, FetchRequest, FetchTopic};
use onrush_wire::frame::PREFIX;
use onrush_wire::produce::{PartitionProduce, ProduceRequest, TopicProduce};
use onrush_wire::{ApiKey, KafkaString, RequestHeader, Uuid, VersionRange};

use super::apis::Api;
use super::batches;
use crate::Verdict;
use crate::corpus::Entry;
use crate::growth;
use crate::memory::bounded;

/// A header has a client id and tagged fields, which are slices.
const HEADER_COST: usize = 4 * 1024;

pub(crate) fn parse(input: &[u8]) -> Verdict {
    let frame = Bytes::copy_from_slice(input);
    let Ok((header, body)) = bounded(HEADER_COST, || RequestHeader::decode(frame)) else {
        return Verdict::Refused;
    };
    let served = served()
        .any(|(key, versions)| key == header.api_key && versions.contains(header.api_version));
    match Api::of(header.api_key).filter(|_| served) {
        Some(api) => Verdict::from(&(api.check_request)(&header, body)),
        None => Verdict::Refused,
    }
}

/// Grown once: other targets are made of them too.
static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(make);

pub(crate) fn entries() -> Vec<Entry> {
    ENTRIES.clone()
}

fn make() -> Vec<Entry> {
    let mut entries = Vec::new();
    for (key, version) in versions(served()) {
        let Some(api) = Api::of(key) else { continue };
        let decode = |body| (api.request_text)(version, body);
        for (number, body) in growth::messages(seed(key, version), &decode).into_iter().enumerate()
        {
            let frame = [head(key, version), body].concat();
            entries.push(Entry::new(format!("{key} {version} {number}"), frame));
        }
        if key == ApiKey::PRODUCE {
            entries.push(Entry::new(format!("{key} {version} batch"), produce(version)));
        }
    }
    entries
}

/// Each version of each API by itself.
pub(super) fn versions(
    apis: impl Iterator<Item = (ApiKey, VersionRange)>,
) -> impl Iterator<Item = (ApiKey, i16)> {
    apis.flat_map(|(key, versions)| {
        (versions.min..=versions.max).map(move |version| (key, version))
    })
}

pub(super) fn seed(key: ApiKey, version: i16) -> u64 {
    (u64::from(key.0.cast_unsigned()) << 16) + u64::from(version.cast_unsigned())
}

/// The bytes of a request's header.
pub(super) fn head(key: ApiKey, version: i16) -> Vec<u8> {
    let mut head = [key.0.to_be_bytes(), version.to_be_bytes()].concat();
    head.extend(7_i32.to_be_bytes());
    head.extend([0, 4]);
    head.extend(b"fuzz");
    if key.request_header_version(version) >= 2 {
        head.push(0);
    }
    head
}

/// A metadata request for all topics.
pub(super) fn metadata() -> Vec<u8> {
    let all = (-1_i32).to_be_bytes();
    [&head(ApiKey::METADATA, 1)[..], &all].concat()
}

/// A fetch from a topic's start.
pub(super) fn fetch(version: i16) -> Vec<u8> {
    let header = RequestHeader::new(ApiKey::FETCH, version, 9);
    let topic = FetchTopic {
        name: KafkaString::from_static("orders"),
        topic_id: Uuid::ZERO,
        partitions: vec![FetchPartition::consumer(0, 0, 1 << 20)],
    };
    let request = FetchRequest { topics: vec![topic], ..FetchRequest::default() };
    request.encode(&header).expect("a valid request").slice(PREFIX..).to_vec()
}

/// A produce request with a sound batch.
pub(super) fn produce(version: i16) -> Vec<u8> {
    produce_batch(version, batches::plain().into())
}

/// A produce request with this batch.
pub(super) fn produce_batch(version: i16, batch: Bytes) -> Vec<u8> {
    let header = RequestHeader::new(ApiKey::PRODUCE, version, 9);
    let records = Some(batch);
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 1_000,
        topics: vec![TopicProduce {
            name: KafkaString::from_static("orders"),
            topic_id: Uuid::ZERO,
            partitions: vec![PartitionProduce { index: 0, records }],
        }],
    };
    request.encode(&header).expect("a valid request").concat().split_off(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Corpus, Target};

    #[test]
    fn the_committed_corpus_has_every_version_that_is_announced() {
        let corpus = Corpus::load(Target::named("requests").unwrap()).unwrap();
        for (key, version) in versions(served()) {
            assert!(Api::of(key).is_some(), "add {key} to guards/src/targets/apis.rs");
            let name = format!("{key} {version} ");
            assert!(
                corpus.entries.iter().any(|entry| entry.name.starts_with(&name)),
                "no {name}: `cargo xtask fuzz --corpus` makes it"
            );
        }
    }
}
