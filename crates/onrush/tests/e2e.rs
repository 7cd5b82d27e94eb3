//! End to end, through real sockets: the same scenarios against the embedded broker and against Apache Kafka.
//!
//! `ONRUSH_TEST_BROKERS=HOST:PORT` names a cluster to run against; without it each scenario starts a broker of its own.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use onrush::testing::TestBroker;
use onrush::{
    Compression, Consumer, Context, Event, HandlerError, Header, Order, Producer, Running,
};

/// What a scenario may take; a healthy one takes a second or two.
const LIMIT: Duration = Duration::from_secs(60);

/// The cluster of a scenario, and a name for its topic and group that nobody else uses.
struct Target {
    address: String,
    name: String,
    _broker: Option<TestBroker>,
}

impl Target {
    fn new(scenario: &str, partitions: i32) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name =
            format!("{scenario}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let target = match std::env::var("ONRUSH_TEST_BROKERS") {
            Ok(address) => Self { address, name, _broker: None },
            Err(_) => {
                let broker = TestBroker::start().expect("a broker on a free port");
                Self { address: broker.address().to_owned(), name, _broker: Some(broker) }
            }
        };
        target.create_topic(&target.name, partitions);
        target
    }

    fn create_topic(&self, name: &str, partitions: i32) {
        onrush::testing::create_topic(&self.address, name, partitions)
            .expect("the topic is created");
    }

    fn producer(&self) -> Producer {
        Producer::connect(&self.address).expect("the broker answers")
    }

    fn consumer(&self) -> Consumer {
        Consumer::new(&self.address).group(&self.name).topic(&self.name).lanes(NonZeroUsize::MIN)
    }

    /// Sends `count` numbered events, the key of each being its number modulo `keys`.
    fn send(&self, count: u32, keys: u32) {
        let mut producer = self.producer();
        for number in 0..count {
            let key = (number % keys).to_be_bytes();
            producer.send(&self.name, Some(&key), Some(&number.to_be_bytes())).expect("sent");
        }
        producer.flush().expect("acknowledged");
    }
}

fn number(bytes: Option<&[u8]>) -> u32 {
    bytes.and_then(|bytes| bytes.try_into().ok()).map_or(u32::MAX, u32::from_be_bytes)
}

/// What handlers saw, in the order of their calls.
#[derive(Clone, Default)]
struct Seen {
    calls: Arc<Mutex<Vec<(u32, u32)>>>,
    count: Option<mpsc::Sender<()>>,
}

impl Seen {
    fn new() -> (Self, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel();
        (Self { calls: Arc::default(), count: Some(sender) }, receiver)
    }

    fn note(&self, event: &Event<'_>) {
        self.calls
            .lock()
            .expect("no panic under the lock")
            .push((number(event.key), number(event.value)));
        if let Some(count) = &self.count {
            let _ = count.send(());
        }
    }

    fn handler(
        &self,
    ) -> impl Fn(&Event<'_>, &mut Context<'_>) -> Result<(), HandlerError> + Clone + Send + Sync + 'static
    {
        let seen = self.clone();
        move |event: &Event<'_>, _: &mut Context<'_>| {
            seen.note(event);
            Ok(())
        }
    }

    fn values(&self) -> Vec<u32> {
        self.calls
            .lock()
            .expect("no panic under the lock")
            .iter()
            .map(|(_, value)| *value)
            .collect()
    }

    fn by_key(&self) -> BTreeMap<u32, Vec<u32>> {
        let mut by_key = BTreeMap::<u32, Vec<u32>>::new();
        for (key, value) in self.calls.lock().expect("no panic under the lock").iter() {
            by_key.entry(*key).or_default().push(*value);
        }
        by_key
    }
}

fn wait_for(count: u32, calls: &mpsc::Receiver<()>) {
    for seen in 0..count {
        calls.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("only {seen} of {count} events came"));
    }
}

fn expected(count: u32, keys: u32) -> BTreeMap<u32, Vec<u32>> {
    let mut by_key = BTreeMap::<u32, Vec<u32>>::new();
    (0..count).for_each(|number| by_key.entry(number % keys).or_default().push(number));
    by_key
}

fn stop(running: Running) {
    running.stop().expect("drains, commits and leaves");
}

/// Nothing is left to read for a new member of the group.
fn assert_all_committed(target: &Target) {
    let behind = onrush::testing::lag(&target.address, &target.name, &target.name)
        .expect("the broker answers");
    assert_eq!(behind, 0, "events that are not committed");
}

#[test]
fn every_event_comes_once_and_each_key_in_order() {
    let target = Target::new("inline", 3);
    target.send(20_000, 100);
    let (seen, calls) = Seen::new();
    let running = target.consumer().each(seen.handler()).start().expect("joins");
    wait_for(20_000, &calls);
    stop(running);
    assert_eq!(seen.by_key(), expected(20_000, 100));
    assert_all_committed(&target);
}

#[test]
fn workers_run_one_event_of_a_key_at_a_time() {
    let target = Target::new("blocking", 2);
    target.send(4_000, 20);
    let (seen, calls) = Seen::new();
    let busy: Arc<[AtomicBool; 20]> = Arc::new(std::array::from_fn(|_| AtomicBool::new(false)));
    let overlaps = Arc::new(AtomicU64::new(0));
    let (noted, flags, counted) = (seen.clone(), busy.clone(), overlaps.clone());
    let handler = move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
        let flag = &flags[number(event.key) as usize];
        counted.fetch_add(u64::from(flag.swap(true, Ordering::SeqCst)), Ordering::SeqCst);
        noted.note(event);
        std::thread::yield_now();
        flag.store(false, Ordering::SeqCst);
        Ok(())
    };
    let workers = NonZeroUsize::new(8).expect("not zero");
    let running = target.consumer().each_blocking(workers, handler).start().expect("joins");
    wait_for(4_000, &calls);
    stop(running);
    assert_eq!(overlaps.load(Ordering::SeqCst), 0);
    assert_eq!(seen.by_key(), expected(4_000, 20));
    assert_all_committed(&target);
}

#[test]
fn order_by_partition_keeps_the_order_across_keys() {
    let target = Target::new("by-partition", 1);
    target.send(2_000, 50);
    let (seen, calls) = Seen::new();
    let workers = NonZeroUsize::new(4).expect("not zero");
    let consumer = target.consumer().order(Order::Partition);
    let running = consumer.each_blocking(workers, seen.handler()).start().expect("joins");
    wait_for(2_000, &calls);
    stop(running);
    assert_eq!(seen.values(), (0..2_000).collect::<Vec<_>>());
}

#[test]
fn two_members_share_and_hand_over_without_loss_or_repeat() {
    let target = Target::new("two", 6);
    target.send(10_000, 100);
    let (seen, calls) = Seen::new();
    let first = target.consumer().each(seen.handler()).start().expect("joins");
    wait_for(10_000, &calls);
    let second = target.consumer().each(seen.handler()).start().expect("joins");
    wait_until("both members have partitions", || {
        let held = |running: &Running| running.handle().snapshot().partitions.len();
        held(&first) == 3 && held(&second) == 3
    });
    target.send(10_000, 100);
    wait_for(10_000, &calls);
    stop(first);
    target.send(10_000, 100);
    wait_for(10_000, &calls);
    stop(second);
    let mut once = expected(10_000, 100);
    once.values_mut().for_each(|values| *values = [&values[..], values, values].concat());
    assert_eq!(seen.by_key(), once);
    assert_all_committed(&target);
}

/// Polls a condition of another thread's doing; there is no event for it that a user could await.
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let (_hold, never) = mpsc::channel::<()>();
    let polls = LIMIT.as_millis() / 20;
    for _ in 0..polls {
        if condition() {
            return;
        }
        let _ = never.recv_timeout(Duration::from_millis(20));
    }
    panic!("not within {LIMIT:?}: {what}");
}

#[test]
fn what_was_finished_above_a_stuck_event_is_not_repeated_after_a_restart() {
    let target = Target::new("stuck", 1);
    target.send(500, 500);
    let (seen, calls) = Seen::new();
    let (release, stuck) = mpsc::channel::<()>();
    let stuck = Arc::new(Mutex::new(stuck));
    let noted = seen.clone();
    let handler = move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
        if number(event.value) == 10 {
            let _ = stuck.lock().map(|stuck| stuck.recv());
        }
        noted.note(event);
        Ok(())
    };
    let workers = NonZeroUsize::new(4).expect("not zero");
    let consumer = target
        .consumer()
        .commit_interval(Duration::from_millis(50))
        .drain_deadline(Duration::from_millis(100));
    let running = consumer.each_blocking(workers, handler).start().expect("joins");
    // Events of other workers go past the stuck one; those queued behind it do not.
    wait_for(250, &calls);
    running.handle().shutdown();
    wait_until("the member has given up the stuck event", || {
        running.handle().snapshot().partitions.is_empty()
    });
    let finished = seen.values();
    assert!(!finished.contains(&10) && finished.iter().any(|value| *value > 10));
    let (again, calls_again) = Seen::new();
    let successor = target.consumer().each(again.handler()).start().expect("joins");
    wait_for(500 - finished.len() as u32, &calls_again);
    stop(successor);
    let mut all = [finished, again.values()].concat();
    all.sort_unstable();
    assert_eq!(
        all,
        (0..500).collect::<Vec<_>>(),
        "what was finished is not repeated, the rest is not lost"
    );
    drop(release);
    let _ = running.join();
    assert_all_committed(&target);
}

#[test]
fn what_a_handler_emits_arrives() {
    let target = Target::new("emit", 2);
    let sizes = format!("{}-out", target.name);
    target.create_topic(&sizes, 2);
    target.send(3_000, 10);
    let to = sizes.clone();
    let handler = move |event: &Event<'_>, cx: &mut Context<'_>| -> Result<(), HandlerError> {
        cx.emit(&to, event.key, event.value, &[])?;
        Ok(())
    };
    let emitting = target.consumer().each(handler).start().expect("joins");
    let (seen, calls) = Seen::new();
    let reading = Consumer::new(&target.address).group(&sizes).topic(&sizes);
    let reading = reading.each(seen.handler()).start().expect("joins");
    wait_for(3_000, &calls);
    stop(emitting);
    stop(reading);
    assert_eq!(seen.by_key(), expected(3_000, 10));
    assert_all_committed(&target);
}

#[test]
fn events_whose_handler_fails_or_panics_go_to_the_dead_letters() {
    let target = Target::new("poison", 1);
    let letters = format!("{}-dead", target.name);
    target.create_topic(&letters, 1);
    target.send(300, 7);
    let (seen, calls) = Seen::new();
    let noted = seen.clone();
    let handler = move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
        match number(event.value) {
            100 => Err(HandlerError::msg("unwanted")),
            200 => panic!("poison"),
            _ => {
                noted.note(event);
                Ok(())
            }
        }
    };
    let running =
        target.consumer().dead_letter_topic(&letters).each(handler).start().expect("joins");
    wait_for(298, &calls);
    let (dead, dead_calls) = Seen::new();
    let reading = Consumer::new(&target.address).group(&letters).topic(&letters);
    let reading = reading.each(dead.handler()).start().expect("joins");
    wait_for(2, &dead_calls);
    stop(running);
    stop(reading);
    let mut values = dead.values();
    // Which of them had its last try first, the pauses between tries decide.
    values.sort_unstable();
    assert_eq!(values, [100, 200]);
    assert_all_committed(&target);
}

#[test]
fn nulls_and_headers_come_as_they_were_sent() {
    let target = Target::new("nulls", 1);
    let mut producer = target.producer();
    producer.send(&target.name, None, Some(b"no key")).expect("sent");
    producer.send(&target.name, Some(b"tombstone"), None).expect("sent");
    let header = Header { key: "trace", value: Some(b"1") };
    producer.send_with(&target.name, Some(b"h"), Some(b""), &[header]).expect("sent");
    producer.flush().expect("acknowledged");
    type Owned = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);
    let (sender, events) = mpsc::channel::<Owned>();
    let handler = move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let headers = event
            .headers
            .map(|header| header.map(|header| (header.key.to_owned(), owned(header.value))));
        let _ =
            sender.send((owned(event.key), owned(event.value), headers.collect::<Result<_, _>>()?));
        Ok(())
    };
    let running = target.consumer().each(handler).start().expect("joins");
    let next = || events.recv_timeout(LIMIT).expect("an event");
    assert_eq!(next(), (None, Some(b"no key".to_vec()), vec![]));
    assert_eq!(next(), (Some(b"tombstone".to_vec()), None, vec![]));
    assert_eq!(
        next(),
        (Some(b"h".to_vec()), Some(vec![]), vec![("trace".to_owned(), Some(b"1".to_vec()))])
    );
    stop(running);
}

#[test]
fn compressed_batches_come_back() {
    for compression in Compression::ALL {
        let target = Target::new("codec", 2);
        let mut producer = Producer::builder(&target.address)
            .compression(compression)
            .connect()
            .expect("connects");
        for number in 0..5_000_u32 {
            let key = (number % 10).to_be_bytes();
            producer.send(&target.name, Some(&key), Some(&number.to_be_bytes())).expect("sent");
        }
        producer.flush().expect("acknowledged");
        let (seen, calls) = Seen::new();
        let running = target.consumer().each(seen.handler()).start().expect("joins");
        wait_for(5_000, &calls);
        stop(running);
        assert_eq!(seen.by_key(), expected(5_000, 10), "{compression:?}");
    }
}

#[test]
fn a_topic_that_does_not_exist_is_named() {
    let target = Target::new("missing", 1);
    let error = target
        .producer()
        .send("no-such-topic", None, Some(b"x"))
        .expect_err("there is no such topic");
    assert!(error.to_string().contains("no-such-topic"), "{error}");
}
