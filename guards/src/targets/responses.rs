//! Responses as a client gets them: API and version of the request, and a frame without its length
//! prefix.

use bytes::Bytes;
use onrush_wire::fetch::{FetchResponse, FetchedPartition, FetchedTopic};
use onrush_wire::frame::PREFIX;
use onrush_wire::{ApiKey, ErrorCode, KafkaString, Uuid, VersionRange, api_versions};

use super::apis::{APIS, Api};
use super::batches;
use super::requests::{seed, versions};
use crate::Verdict;
use crate::corpus::Entry;
use crate::growth;

pub(crate) fn parse(input: &[u8]) -> Verdict {
    let Some((key, version, frame)) = split(input) else { return Verdict::Refused };
    let known = key.versions().is_some_and(|known| known.contains(version));
    let Some(api) = Api::of(key).filter(|_| known) else { return Verdict::Refused };
    if key == ApiKey::API_VERSIONS {
        // Before the versions are known, an answer may come in another than was asked.
        let _ = api_versions::decode(version, frame.clone());
    }
    Verdict::from(&(api.check_response)(version, frame))
}

fn split(input: &[u8]) -> Option<(ApiKey, i16, Bytes)> {
    let (key, rest) = input.split_first_chunk()?;
    let (version, frame) = rest.split_first_chunk()?;
    let key = ApiKey(i16::from_be_bytes(*key));
    Some((key, i16::from_be_bytes(*version), Bytes::copy_from_slice(frame)))
}

fn joined(key: ApiKey, version: i16, frame: &[u8]) -> Vec<u8> {
    [&key.0.to_be_bytes(), &version.to_be_bytes(), frame].concat()
}

fn known() -> impl Iterator<Item = (ApiKey, VersionRange)> {
    APIS.iter().filter_map(|api| Some((api.key, api.key.versions()?)))
}

pub(crate) fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for (key, version) in versions(known()) {
        let Some(api) = Api::of(key) else { continue };
        let decode = |frame| (api.response_text)(version, frame);
        let grown = growth::messages(seed(key, version) ^ (1 << 40), &decode);
        for (number, frame) in grown.into_iter().enumerate() {
            let name = format!("{key} {version} {number}");
            entries.push(Entry::new(name, joined(key, version, &frame)));
        }
        if key == ApiKey::FETCH {
            let name = format!("{key} {version} batches");
            entries.push(Entry::new(name, joined(key, version, &fetched(version))));
        }
    }
    entries
}

/// A fetch response with sound batches.
fn fetched(version: i16) -> Vec<u8> {
    let records = Bytes::from([batches::plain(), batches::plain()].concat());
    let partition = FetchedPartition {
        high_watermark: 6,
        last_stable_offset: 6,
        log_start_offset: 0,
        records,
        ..FetchedPartition::failed(0, ErrorCode::NONE)
    };
    let response = FetchResponse {
        topics: vec![FetchedTopic {
            name: KafkaString::from_static("orders"),
            topic_id: Uuid::ZERO,
            partitions: vec![partition],
        }],
        ..FetchResponse::default()
    };
    response.encode(9, version).expect("a valid response").concat().split_off(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Corpus, Target};

    #[test]
    fn the_committed_corpus_has_every_known_version() {
        let corpus = Corpus::load(Target::named("responses").unwrap()).unwrap();
        for (key, version) in versions(known()) {
            let name = format!("{key} {version} ");
            assert!(
                corpus.entries.iter().any(|entry| entry.name.starts_with(&name)),
                "no {name}: `cargo xtask fuzz --corpus` makes it"
            );
        }
    }
}
