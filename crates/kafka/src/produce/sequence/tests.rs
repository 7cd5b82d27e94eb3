//! The sequencer against a model of the broker, under seeded faults.
use std::sync::Mutex;

use onrush_record::{BatchBuilder, BatchHeader, Compression, Compressor};

use super::*;
use crate::lock::lock;
use crate::produce::{AckSink, Acked};

#[derive(Default)]
struct Acks(Mutex<Vec<Acked>>);

impl AckSink for Acks {
    fn acked(&self, result: Acked) {
        lock(&self.0).push(result);
    }
}

struct Bench {
    sequencer: Sequencer,
    acks: Arc<Acks>,
    now: Instant,
    pushed: u64,
}

const NODE: i32 = 1;

fn leader(_: &TopicPartition) -> Option<Leader> {
    Some(Leader { node: NODE, epoch: 0, topic_id: Uuid::ZERO })
}

impl Bench {
    fn new(seed: u64) -> Self {
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
        let sequencer =
            Sequencer::new(7, &ProducerConfig::default(), backoff, Random::seeded(seed));
        Self { sequencer, acks: Arc::default(), now: Instant::now(), pushed: 0 }
    }

    /// Partitions 0 and 1 have an acknowledged batch of one record each, which is not counted.
    fn established() -> Self {
        let mut bench = Self::new(1);
        bench.push(0, 1);
        bench.push(1, 1);
        let first = bench.requests();
        bench.answer(&first[0], ErrorCode::NONE);
        lock(&bench.acks.0).clear();
        bench.pushed = 0;
        bench
    }

    /// A batch of `count` records, whose first value is the batch's number.
    fn push(&mut self, partition: i32, count: u32) -> u64 {
        let mut builder = BatchBuilder::new(Compression::None);
        let id = self.pushed;
        self.pushed += 1;
        for _ in 0..count {
            builder.append(0, None, Some(&id.to_be_bytes()), &[]).expect("fits");
        }
        let bytes = builder.seal(-1, -1, -1, &mut Compressor::new()).expect("seals").freeze();
        self.sequencer.push(Batch {
            id,
            partition: TopicPartition::new("t", partition),
            bytes,
            count,
            since: self.now,
            ack: Arc::clone(&self.acks) as Arc<dyn AckSink>,
            reservation: None,
        });
        id
    }

    fn requests(&mut self) -> Vec<Outgoing> {
        self.sequencer.requests(self.now, leader)
    }

    fn answer(&mut self, request: &Outgoing, code: ErrorCode) {
        let verdict = Verdict { code, base_offset: 0, message: None };
        let settled = self.sequencer.answered(self.now, request.id, |_| Some(verdict.clone()));
        self.acknowledge(settled);
    }

    fn lose(&mut self, request: &Outgoing) {
        let settled = self.sequencer.failed(self.now, request.id, &ClientError::lost("b:1", "cut"));
        self.acknowledge(settled);
    }

    fn acknowledge(&mut self, settled: Vec<Settled>) {
        for Settled { batch, outcome } in settled {
            batch.acknowledge(outcome);
        }
    }

    fn outcomes(&self) -> Vec<(u64, Result<i64, ProduceError>)> {
        lock(&self.acks.0).iter().map(|acked| (acked.batch, acked.outcome.clone())).collect()
    }

    fn wait(&mut self) {
        self.now += Duration::from_secs(1);
    }
}

/// Epoch and sequence of each batch of the requests.
fn numbers(requests: &[Outgoing]) -> Vec<(i16, i32)> {
    let header = |bytes: &Bytes| BatchHeader::parse(bytes).expect("sealed");
    let batches = requests.iter().flat_map(|request| &request.batches);
    batches
        .map(|(.., bytes)| header(bytes))
        .map(|header| (header.producer_epoch, header.base_sequence))
        .collect()
}

#[test]
fn five_in_flight_and_several_partitions_in_a_request() {
    let mut bench = Bench::established();
    for _ in 0..7 {
        bench.push(0, 3);
        bench.push(1, 2);
    }
    let requests = bench.requests();
    assert_eq!(requests.len(), 5);
    assert!(requests.iter().all(|request| request.batches.len() == 2));
    let mut sequences = numbers(&requests);
    sequences.sort_unstable();
    assert_eq!(
        sequences,
        [(0, 1), (0, 1), (0, 3), (0, 4), (0, 5), (0, 7), (0, 7), (0, 9), (0, 10), (0, 13)]
    );
    assert!(bench.requests().is_empty());
    bench.answer(&requests[0], ErrorCode::NONE);
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn what_failed_is_sent_again_in_order_under_the_same_sequences() {
    let mut bench = Bench::established();
    for _ in 0..3 {
        bench.push(0, 2);
    }
    let first = bench.requests();
    bench.answer(&first[0], ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert!(bench.sequencer.take_refresh().is_some());
    bench.push(0, 2);
    bench.wait();
    assert!(bench.requests().is_empty(), "two are still in flight");
    bench.answer(&first[1], ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.answer(&first[2], ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.wait();
    let again = bench.requests();
    assert_eq!(numbers(&again), [(0, 1), (0, 3), (0, 5), (0, 7)]);
    for request in &again {
        bench.answer(request, ErrorCode::NONE);
    }
    let order: Vec<_> =
        bench.outcomes().into_iter().map(|(id, outcome)| (id, outcome.is_ok())).collect();
    assert_eq!(order, [(0, true), (1, true), (2, true), (3, true)]);
}

#[test]
fn a_duplicate_is_a_success() {
    let mut bench = Bench::new(1);
    bench.push(0, 1);
    let lost = bench.requests();
    bench.lose(&lost[0]);
    bench.wait();
    let again = bench.requests();
    bench.answer(&again[0], ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
    assert!(bench.outcomes()[0].1.is_ok());
}

#[test]
fn after_a_refusal_the_rest_is_numbered_anew() {
    let mut bench = Bench::established();
    for _ in 0..3 {
        bench.push(0, 2);
    }
    let first = bench.requests();
    bench.answer(&first[0], ErrorCode::MESSAGE_TOO_LARGE);
    bench.answer(&first[1], ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.answer(&first[2], ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert!(matches!(bench.outcomes()[..], [(0, Err(ProduceError::Refused { .. }))]));
    bench.wait();
    let anew = bench.requests();
    assert_eq!(numbers(&anew), [(1, 0)], "the first of an epoch flies alone");
    bench.answer(&anew[0], ErrorCode::NONE);
    assert_eq!(numbers(&bench.requests()), [(1, 2)]);
}

#[test]
fn what_may_have_been_written_is_never_numbered_anew() {
    let mut bench = Bench::established();
    bench.push(0, 2);
    bench.push(0, 2);
    bench.push(0, 2);
    let first = bench.requests();
    bench.answer(&first[0], ErrorCode::INVALID_RECORD);
    bench.lose(&first[1]);
    bench.answer(&first[2], ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.wait();
    assert_eq!(numbers(&bench.requests()), [(1, 0)]);
    let outcomes = bench.outcomes();
    assert!(matches!(outcomes[0], (0, Err(ProduceError::Refused { .. }))));
    assert!(matches!(outcomes[1], (1, Err(ProduceError::MayHaveBeenWritten { .. }))));
    assert!(
        outcomes[1].1.as_ref().expect_err("failed").to_string().contains("may have been written")
    );
}

#[test]
fn a_gap_before_the_oldest_batch_is_a_broker_that_lost_something() {
    let mut bench = Bench::established();
    bench.push(0, 4);
    bench.push(0, 4);
    let first = bench.requests();
    bench.answer(&first[0], ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.lose(&first[1]);
    bench.wait();
    assert_eq!(
        numbers(&bench.requests()),
        [(1, 0)],
        "the first was refused for sure, the second may be in the log"
    );
    let outcomes = bench.outcomes();
    assert!(matches!(outcomes[..], [(1, Err(ProduceError::MayHaveBeenWritten { .. }))]));
}

#[test]
fn the_delivery_timeout_tells_what_may_have_been_written() {
    let mut bench = Bench::established();
    bench.push(0, 1);
    bench.push(0, 1);
    bench.push(1, 1);
    let requests = bench.requests();
    bench.lose(&requests[0]);
    bench.now += ProducerConfig::default().delivery_timeout;
    let settled = bench.sequencer.expire(bench.now);
    bench.acknowledge(settled);
    assert_eq!(bench.outcomes().len(), 2, "the one in flight is waited for");
    bench.lose(&requests[1]);
    let settled = bench.sequencer.expire(bench.now);
    bench.acknowledge(settled);
    bench.push(2, 1);
    let waiting = bench.sequencer.requests(bench.now, |_| None);
    assert!(waiting.is_empty());
    bench.now += ProducerConfig::default().delivery_timeout;
    let settled = bench.sequencer.expire(bench.now);
    bench.acknowledge(settled);
    let kinds: Vec<_> = bench
        .outcomes()
        .into_iter()
        .map(|(_, outcome)| matches!(outcome, Err(ProduceError::MayHaveBeenWritten { .. })))
        .collect();
    assert_eq!(kinds, [true, true, true, false]);
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_after(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 1, 5), 3);
}

/// The broker's side of idempotence, for one partition: the next sequence (any, from a producer
/// that it has not heard of) and the last five batches.
#[derive(Default)]
struct Log {
    ids: Vec<u64>,
    epoch: i16,
    next: Option<i32>,
    recent: VecDeque<(i32, i32)>,
}

impl Log {
    fn append(&mut self, bytes: &Bytes) -> ErrorCode {
        let header = BatchHeader::parse(bytes).expect("sealed");
        let (first, last) = (header.base_sequence, header.base_sequence + header.last_offset_delta);
        if header.producer_epoch > self.epoch && first == 0 {
            *self = Self {
                ids: std::mem::take(&mut self.ids),
                epoch: header.producer_epoch,
                ..Self::default()
            };
        }
        if header.producer_epoch < self.epoch {
            return ErrorCode::INVALID_PRODUCER_EPOCH;
        }
        if self.recent.contains(&(first, last)) {
            return ErrorCode::NONE;
        }
        if self.next.is_some_and(|next| first != next) {
            return ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
        }
        self.next = Some(last + 1);
        self.recent.push_back((first, last));
        if self.recent.len() > 5 {
            self.recent.pop_front();
        }
        let value = onrush_record::records(&bytes[onrush_record::HEADER_LEN..], &header)
            .next()
            .expect("a record")
            .expect("valid")
            .value;
        self.ids.push(u64::from_be_bytes(value.expect("a value").try_into().expect("8 bytes")));
        ErrorCode::NONE
    }
}

/// Random batches, answers, refusals and cuts against a model of the broker: every batch is in the
/// log exactly once, in order, and was acknowledged once.
fn faults(seed: u64) -> (usize, usize) {
    let random = Random::seeded(seed);
    let mut bench = Bench::new(seed ^ 1);
    let mut logs: [Log; 3] = Default::default();
    let mut flying: VecDeque<Outgoing> = VecDeque::new();
    let (mut cuts, mut refusals) = (0, 0);
    let mut expected: [Vec<u64>; 3] = Default::default();
    for step in 0..600 {
        if step < 300 {
            for _ in 0..random.below(4) {
                let partition = random.below(3);
                let id = bench.push(
                    i32::try_from(partition).expect("small"),
                    u32::try_from(random.below(4) + 1).expect("small"),
                );
                expected[usize::try_from(partition).expect("small")].push(id);
            }
        }
        bench.now += Duration::from_millis(random.below(60));
        flying.extend(bench.requests());
        let faulty = step < 500;
        if faulty && random.chance(1, 12) {
            // The connection is cut: some of what was in flight was carried out, nothing was heard
            // of it.
            cuts += 1;
            let done = random.below(6);
            for (index, request) in (0..).zip(std::mem::take(&mut flying)) {
                if index < done {
                    for (partition, _, bytes) in &request.batches {
                        logs[usize::try_from(partition.partition).expect("small")].append(bytes);
                    }
                }
                bench.lose(&request);
            }
            continue;
        }
        for _ in 0..random.below(3) {
            let Some(request) = flying.pop_front() else { break };
            let mut verdicts = BTreeMap::new();
            for (partition, _, bytes) in &request.batches {
                let code = if faulty && random.chance(1, 10) {
                    refusals += 1;
                    ErrorCode::NOT_ENOUGH_REPLICAS
                } else {
                    logs[usize::try_from(partition.partition).expect("small")].append(bytes)
                };
                verdicts.insert(partition.clone(), Verdict { code, base_offset: 0, message: None });
            }
            let settled = bench
                .sequencer
                .answered(bench.now, request.id, |partition| verdicts.get(partition).cloned());
            bench.acknowledge(settled);
        }
    }
    for (log, expected) in logs.iter().zip(&expected) {
        assert_eq!(&log.ids, expected, "seed {seed}");
    }
    let outcomes = bench.outcomes();
    assert_eq!(outcomes.len(), expected.iter().map(Vec::len).sum::<usize>(), "seed {seed}");
    let failed: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).collect();
    assert!(failed.is_empty(), "seed {seed}: {failed:?}");
    (cuts, refusals)
}

#[test]
fn faults_lose_nothing_double_nothing_and_keep_the_order() {
    let (mut cuts, mut refusals) = (0, 0);
    for seed in 0..200 {
        let (some_cuts, some_refusals) = faults(seed);
        cuts += some_cuts;
        refusals += some_refusals;
    }
    assert!(cuts > 1_000 && refusals > 1_000, "{cuts} cuts, {refusals} refusals");
}
