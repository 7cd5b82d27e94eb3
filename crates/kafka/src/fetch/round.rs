//! The loop of one broker: rounds of plan, send, deliver, await, absorb.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use onrush_record::batches;
use onrush_wire::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchedPartition, FetchedTopic,
};
use onrush_wire::{ApiKey, ErrorCode};
use tokio::time::sleep;

use super::config::{LOADED_WAIT, PAUSED_WAIT};
use super::slot::{Plan, Planned, PlannedTopic, Slot, Status};
use super::{FetchEvent, FetchSink, Fetched, Shared};
use crate::connection::{Answer, Connection, received};
use crate::credit::{Lease, Loan};
use crate::error::{ClientError, Remedy, remedy_of};
use crate::link::{Link, Purpose};
use crate::lock::lock;
use crate::partition::TopicPartition;
use crate::string::kafka_string;

/// Events that wait for the next request to be on its way.
type Deliveries = Vec<(Arc<dyn FetchSink>, FetchEvent)>;

fn deliver(events: &mut Deliveries) {
    for (sink, event) in events.drain(..) {
        sink.deliver(event);
    }
}

/// What a round leaves to the next.
#[derive(Default)]
struct Rounds {
    turn: usize,
    loaded: bool,
    events: Deliveries,
    connection: Option<(Arc<Link>, Connection)>,
}

pub(super) async fn run(shared: Arc<Shared>, node: i32) {
    let Some(wake) = lock(&shared.state).loops.get(&node).cloned() else { return };
    let mut rounds = Rounds::default();
    let mut backoff = shared.client.backoff();
    loop {
        let loan = rounds.credit(&shared).await;
        let plan = lock(&shared.state).slots.plan(node, rounds.turn);
        if plan.topics.is_empty() {
            drop(loan);
            deliver(&mut rounds.events);
            wake.notified().await;
            continue;
        }
        match rounds.round(&shared, node, &plan, loan).await {
            Ok(throttle) => {
                backoff.succeeded();
                if !throttle.is_zero() {
                    deliver(&mut rounds.events);
                    sleep(throttle).await;
                }
            }
            Err(error) => {
                deliver(&mut rounds.events);
                rounds.connection = None;
                tracing::warn!(node, code = %error.fault(), %error, "a fetch failed and is repeated");
                if error.remedy() == Remedy::Refresh {
                    // Its failure shows in the next round.
                    let _ = shared.client.refresh(&[]).await;
                }
                sleep(backoff.failed(shared.client.random())).await;
            }
        }
    }
}

impl Rounds {
    /// What was fetched is delivered before waiting for credit, because its leases may be what we
    /// wait for.
    async fn credit(&mut self, shared: &Shared) -> Loan {
        let config = &shared.config;
        let want = config.max_fetch_bytes + config.max_batch_bytes;
        let floor = config.max_batch_bytes + config.loaded_bytes.min(config.max_partition_bytes);
        if let Some(loan) = shared.credit.try_take(floor, want) {
            return loan;
        }
        deliver(&mut self.events);
        shared.credit.take(floor, want).await
    }

    async fn round(
        &mut self,
        shared: &Shared,
        node: i32,
        plan: &Plan,
        loan: Loan,
    ) -> Result<Duration, ClientError> {
        let (link, connection) = self.connection(shared, node).await?;
        let version = connection.version(ApiKey::FETCH)?;
        let answer = self.send(shared, &connection, version, plan, &loan)?;
        deliver(&mut self.events);
        let frame = received(connection.broker(), answer).await?;
        link.is_well().await;
        let length = frame.len();
        let lease = loan.settle(length);
        let (_, response) = FetchResponse::decode(version, frame)
            .map_err(|e| ClientError::wire(connection.broker(), e))?;
        if !response.error_code.is_ok() {
            return Err(ClientError::answered(
                ApiKey::FETCH,
                connection.broker(),
                response.error_code,
            ));
        }
        self.turn = self.turn.wrapping_add(1);
        self.loaded = length >= shared.config.loaded_bytes;
        let throttle = Duration::from_millis(u64::try_from(response.throttle_ms).unwrap_or(0));
        self.absorb(shared, plan, response, &lease);
        Ok(throttle)
    }

    async fn connection(
        &mut self,
        shared: &Shared,
        node: i32,
    ) -> Result<(Arc<Link>, Connection), ClientError> {
        if let Some((link, connection)) =
            self.connection.as_ref().filter(|(_, connection)| connection.is_open())
        {
            return Ok((Arc::clone(link), connection.clone()));
        }
        deliver(&mut self.events);
        let fresh = shared.client.connection(node, Purpose::Fetch).await?;
        self.connection = Some(fresh.clone());
        Ok(fresh)
    }

    fn send(
        &self,
        shared: &Shared,
        connection: &Connection,
        version: i16,
        plan: &Plan,
        loan: &Loan,
    ) -> Result<Answer, ClientError> {
        let config = &shared.config;
        let partition_bytes = shared.partition_bytes.load(Ordering::Relaxed);
        let (min_bytes, max_wait) = match (self.loaded, plan.any_paused) {
            (true, _) => (config.loaded_bytes, LOADED_WAIT),
            (false, true) => (config.min_bytes, config.max_wait.min(PAUSED_WAIT)),
            (false, false) => (config.min_bytes, config.max_wait),
        };
        // A first batch comes whole however little is asked for, so the rest of the loan covers it.
        let max_bytes = loan.bytes().saturating_sub(config.max_batch_bytes).max(1);
        let request = FetchRequest {
            max_wait_ms: to_i32(usize::try_from(max_wait.as_millis()).unwrap_or(usize::MAX)),
            min_bytes: to_i32(min_bytes.min(max_bytes)),
            max_bytes: to_i32(max_bytes),
            topics: plan
                .topics
                .iter()
                .map(|topic| fetch_topic(topic, partition_bytes.min(max_bytes)))
                .collect(),
            ..FetchRequest::default()
        };
        let timeout = shared.client.config().request_timeout + max_wait;
        connection
            .request(ApiKey::FETCH, version, timeout, |header| Ok(vec![request.encode(header)?]))
    }

    /// Moves the slots and keeps what is to be delivered.
    fn absorb(&mut self, shared: &Shared, plan: &Plan, response: FetchResponse, lease: &Lease) {
        let mut replace = false;
        let mut state = lock(&shared.state);
        for topic in response.topics {
            let Some(planned) = plan.topics.iter().find(|planned| is_topic(planned, &topic)) else {
                continue;
            };
            for fetched in topic.partitions {
                let Some(asked) =
                    planned.partitions.iter().find(|asked| asked.index == fetched.index)
                else {
                    continue;
                };
                let partition =
                    TopicPartition { topic: Arc::clone(&planned.name), partition: fetched.index };
                let Some(slot) = state.slots.asked(&partition, asked) else { continue };
                if let Some(leader) = fetched.current_leader {
                    shared.client.leader_moved(
                        &planned.name,
                        fetched.index,
                        leader.id,
                        leader.epoch,
                    );
                }
                if let Some(event) = slot.absorb(partition, asked, fetched, lease) {
                    self.events.push((Arc::clone(&slot.sink), event));
                }
                replace |= !matches!(slot.status, Status::Ready(_));
            }
        }
        drop(state);
        if replace {
            shared.unplaced.notify_one();
        }
    }
}

impl Slot {
    /// Takes the slot's part of a response.
    fn absorb(
        &mut self,
        partition: TopicPartition,
        asked: &Planned,
        fetched: FetchedPartition,
        lease: &Lease,
    ) -> Option<FetchEvent> {
        match fetched.error_code {
            ErrorCode::NONE => {}
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                self.status = Status::OutOfRange { resolving: false };
                return None;
            }
            code if remedy_of(code) == Remedy::Fatal => {
                self.status = Status::Stopped;
                let error = ClientError::answered(ApiKey::FETCH, partition.to_string(), code);
                return Some(FetchEvent::Failed { partition, token: asked.token, error });
            }
            _ => {
                self.status = Status::Stale;
                return None;
            }
        }
        match whole_batches(&fetched.records, asked.offset) {
            Ok(None) => None,
            Ok(Some((length, next))) => {
                self.offset = next;
                self.damaged = false;
                Some(FetchEvent::Records(Fetched {
                    partition,
                    token: asked.token,
                    records: fetched.records.slice(..length),
                    high_watermark: fetched.high_watermark,
                    log_start: fetched.log_start_offset,
                    fetch_offset: asked.offset,
                    lease: lease.clone(),
                }))
            }
            Err(_) if !self.damaged => {
                self.damaged = true;
                None
            }
            Err(reason) => {
                self.status = Status::Stopped;
                let error = ClientError::Corrupt {
                    partition: partition.clone(),
                    offset: asked.offset,
                    reason,
                };
                Some(FetchEvent::Failed { partition, token: asked.token, error })
            }
        }
    }
}

/// The bytes of the whole batches at the start of `records`, and the offset after the last one.
/// What is malformed behind a whole batch is left for the next fetch to meet first.
fn whole_batches(records: &Bytes, offset: i64) -> Result<Option<(usize, i64)>, String> {
    let mut walk = batches(records);
    let mut whole = None;
    while let Some(batch) = walk.next() {
        match batch {
            Ok(batch) => {
                whole = Some((walk.position(), batch.header.last_offset().saturating_add(1)))
            }
            Err(_) if whole.is_some() => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    match whole {
        Some((_, next)) if next <= offset => {
            Err(format!("the batches end at {next}, below the offset asked for"))
        }
        whole => Ok(whole),
    }
}

fn is_topic(planned: &PlannedTopic, fetched: &FetchedTopic) -> bool {
    if fetched.name.is_empty() {
        planned.id == fetched.topic_id
    } else {
        *planned.name == *fetched.name.as_str()
    }
}

fn fetch_topic(planned: &PlannedTopic, max_bytes: usize) -> FetchTopic {
    let partition = |planned: &Planned| FetchPartition {
        current_leader_epoch: planned.leader_epoch,
        ..FetchPartition::consumer(planned.index, planned.offset, to_i32(max_bytes))
    };
    FetchTopic {
        name: kafka_string(&planned.name),
        topic_id: planned.id,
        partitions: planned.partitions.iter().map(partition).collect(),
    }
}

fn to_i32(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use onrush_record::{BatchBuilder, Compression, Compressor, header::set_base_offset};

    use super::*;
    use crate::credit::Credit;
    use crate::fetch::slot::Slots;

    struct Nowhere;

    impl FetchSink for Nowhere {
        fn deliver(&self, _: FetchEvent) {}
    }

    fn batch(base_offset: i64, records: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        for _ in 0..records {
            builder.append(0, None, Some(b"value"), &[]).expect("fits");
        }
        let mut bytes = builder.seal(-1, -1, -1, &mut Compressor::new()).expect("seals");
        set_base_offset(&mut bytes, base_offset);
        bytes.to_vec()
    }

    fn found(records: Vec<u8>, offset: i64) -> Result<Option<(usize, i64)>, String> {
        whole_batches(&Bytes::from(records), offset)
    }

    #[test]
    fn only_whole_batches_are_delivered() {
        let (first, second) = (batch(10, 3), batch(13, 2));
        let both = [first.clone(), second.clone()].concat();
        assert_eq!(found(both.clone(), 11), Ok(Some((both.len(), 15))));
        let cut = [first.clone(), second[..30].to_vec()].concat();
        assert_eq!(found(cut, 11), Ok(Some((first.len(), 13))));
        assert_eq!(found(first[..60].to_vec(), 11), Ok(None));
        assert_eq!(found(Vec::new(), 11), Ok(None));
    }

    #[test]
    fn damage_is_met_first_and_batches_below_the_offset_are_no_progress() {
        let mut damaged = batch(13, 2);
        damaged[16] = 9;
        let behind = [batch(10, 3), damaged.clone()].concat();
        assert_eq!(found(behind, 10), Ok(Some((batch(10, 3).len(), 13))));
        assert!(found(damaged, 13).is_err());
        assert!(found(batch(10, 3), 13).expect_err("old").contains("below the offset"));
    }

    /// What becomes of a ready slot at offset 13 that gets this answer: its event and its status
    /// afterwards.
    fn absorbed(answers: &[FetchedPartition]) -> (Option<FetchEvent>, Status, i64) {
        let mut slots = Slots::default();
        let partition = TopicPartition::new("t", 0);
        slots.assign(partition.clone(), 4, 13, Arc::new(Nowhere));
        let leader =
            crate::cluster::Leader { node: 1, epoch: 0, topic_id: onrush_wire::Uuid::ZERO };
        for (_, slot) in slots.iter_mut() {
            slot.place(Some(leader));
        }
        let asked = slots.plan(1, 0).topics[0].partitions[0];
        let lease = Credit::new(100, 0).try_take(1, 1).expect("free").settle(1);
        let slot = slots.asked(&partition, &asked).expect("the same");
        let mut event = None;
        for answer in answers {
            event = slot.absorb(partition.clone(), &asked, answer.clone(), &lease);
        }
        (event, slot.status, slot.offset)
    }

    #[test]
    fn answers_move_slots() {
        let failed = |code| absorbed(&[FetchedPartition::failed(0, code)]);
        let good = FetchedPartition {
            records: batch(13, 2).into(),
            high_watermark: 20,
            ..FetchedPartition::failed(0, ErrorCode::NONE)
        };
        let (event, status, offset) = absorbed(&[good]);
        assert!(matches!(
            event,
            Some(FetchEvent::Records(Fetched { token: 4, fetch_offset: 13, .. }))
        ));
        assert!(matches!((status, offset), (Status::Ready(_), 15)));
        for code in [
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::UNKNOWN_TOPIC_ID,
            ErrorCode::UNKNOWN_LEADER_EPOCH,
        ] {
            assert!(matches!(failed(code), (None, Status::Stale, 13)), "{code}");
        }
        assert!(matches!(
            failed(ErrorCode::OFFSET_OUT_OF_RANGE),
            (None, Status::OutOfRange { resolving: false }, 13)
        ));
        let (event, status, _) = failed(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        assert!(matches!(
            (event, status),
            (Some(FetchEvent::Failed { token: 4, .. }), Status::Stopped)
        ));
    }

    #[test]
    fn damaged_records_are_asked_for_once_more_and_then_stop_the_partition() {
        let mut records = batch(13, 2);
        records[16] = 9;
        let damaged = FetchedPartition {
            records: records.into(),
            ..FetchedPartition::failed(0, ErrorCode::NONE)
        };
        let (event, status, offset) = absorbed(std::slice::from_ref(&damaged));
        assert!(matches!((event, status, offset), (None, Status::Ready(_), 13)));
        let (event, status, _) = absorbed(&[damaged.clone(), damaged]);
        let Some(FetchEvent::Failed { error, .. }) = event else { panic!("{event:?}") };
        assert!(error.to_string().contains("t-0 at offset 13"), "{error}");
        assert_eq!(status, Status::Stopped);
    }
}
