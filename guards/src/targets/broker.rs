//! Sessions: the frames that one client sends to a broker that is new, each without its length
//! prefix.
//!
//! Whatever is answered, a client can decode.

use bytes::{Bytes, BytesMut};
use onrush_broker::BrokerConfig;
use onrush_broker::fuzzing::{Answer, Bench, served};
use onrush_runtime::Disk;
use onrush_wire::frame::PREFIX;
use onrush_wire::message::{create_topics, encode_request};
use onrush_wire::{ApiKey, KafkaString, RequestHeader, api_versions};

use super::apis::Api;
use super::requests;
use crate::corpus::Entry;
use crate::memory::bounded;
use crate::{Verdict, parts};

/// What a session may hold: the broker's own state, and a request of the longest input while it is
/// decoded and answered.
const COST: usize = 64 << 20;

/// Names that grown messages have.
const TOPICS: [&str; 3] = ["abc", "abcde", "orders"];

pub(crate) fn parse(input: &[u8]) -> Verdict {
    let frames: Vec<Bytes> = parts::split(input).into_iter().map(Bytes::copy_from_slice).collect();
    let answered = bounded(COST, || {
        let mut broker =
            Bench::open(&Disk::memory(), BrokerConfig::default()).expect("nothing is on the disk");
        frames.into_iter().map(|frame| talk(&mut broker, frame)).min()
    });
    match answered {
        Some(true) => Verdict::Accepted,
        _ => Verdict::Refused,
    }
}

/// Sends a frame and checks the answer; whether the connection stays open.
pub(super) fn talk(broker: &mut Bench, frame: Bytes) -> bool {
    let header = RequestHeader::decode(frame.clone());
    match (broker.request(frame), header) {
        (Answer::Frame(segments), Ok((header, _))) => {
            let mut answer = BytesMut::new();
            segments.iter().for_each(|segment| answer.extend_from_slice(segment));
            readable(&header, answer.freeze());
            true
        }
        (Answer::Frame(_), Err(error)) => panic!("answered a header that is refused: {error}"),
        (Answer::None, _) => true,
        (Answer::Closed, _) => false,
    }
}

fn readable(header: &RequestHeader, frame: Bytes) {
    let (key, version) = (header.api_key, header.api_version);
    let (prefix, frame) = (&frame[..PREFIX], frame.slice(PREFIX..));
    assert_eq!(prefix, (frame.len() as u32).to_be_bytes(), "another length than the frame has");
    let decoded = match Api::of(key) {
        Some(_) if key == ApiKey::API_VERSIONS => {
            api_versions::decode(version, frame).map(|(_, response)| format!("{response:?}"))
        }
        Some(api) => (api.response_text)(version, frame),
        None => panic!("{key} is answered, but not in guards/src/targets/apis.rs"),
    };
    if let Err(error) = decoded {
        panic!("the answer to {key} {version} cannot be decoded: {error}");
    }
}

/// After topics were created, one request of every version.
pub(crate) fn entries() -> Vec<Entry> {
    let mut entries = vec![Entry::new("nothing but topics", parts::join(&[created()]))];
    for entry in requests::entries() {
        let frames = [created(), entry.bytes];
        entries.push(Entry::new(entry.name, parts::join(&frames)));
    }
    entries.push(Entry::new("everything", parts::join(&everything())));
    entries
}

/// A frame that creates the topics.
pub(super) fn created() -> Vec<u8> {
    let topic = |name| create_topics::request::CreatableTopic {
        name: KafkaString::from_static(name),
        num_partitions: 2,
        replication_factor: 1,
        ..Default::default()
    };
    let topics: Vec<_> = TOPICS.into_iter().map(topic).collect();
    let request = create_topics::Request { topics, timeout_ms: 1_000, ..Default::default() };
    let header = RequestHeader::new(ApiKey::CREATE_TOPICS, 5, 1);
    encode_request(&header, &request).expect("a valid request").slice(PREFIX..).to_vec()
}

/// The newest version of every request in one session, those last that take topics away.
fn everything() -> Vec<Vec<u8>> {
    let newest = |(key, range): (ApiKey, onrush_wire::VersionRange)| (key, range.max);
    let (last, first): (Vec<_>, Vec<_>) =
        served().map(newest).partition(|(key, _)| *key == ApiKey::DELETE_TOPICS);
    let mut frames = vec![created()];
    let all = requests::entries();
    for (key, version) in first.into_iter().chain(last) {
        let name = format!("{key} {version} ");
        let found = all.iter().filter(|entry| entry.name.starts_with(&name));
        frames.extend(found.map(|entry| entry.bytes.clone()));
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::requests::versions;
    use crate::{Corpus, Target};

    #[test]
    fn the_committed_corpus_has_every_version_that_is_announced() {
        let corpus = Corpus::load(Target::named("broker").unwrap()).unwrap();
        for (key, version) in versions(served()) {
            let name = format!("{key} {version} ");
            assert!(
                corpus.entries.iter().any(|entry| entry.name.starts_with(&name)),
                "no {name}: `cargo xtask fuzz --corpus` makes it"
            );
        }
    }
}
