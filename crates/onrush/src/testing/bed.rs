//! The test bed: broker, network and time of a test, and what a test does to them.
//!
//! Everything runs in the thread of the test, while it is inside of one of these calls. A crash takes the host off the
//! network *before* its tasks are dropped, so that no destructor says goodbye.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use onrush_broker::{Broker, BrokerConfig, Fsync};
use onrush_engine::{EngineError, Summary, dead_letter};
use onrush_kafka::{At, Client, ClientConfig, ClientError, Commit, Committed};
use onrush_record::Header;
use onrush_runtime::disk::MemoryDisk;
use onrush_runtime::net::Faults;
use onrush_runtime::simulation::{Hosts, Simulation};
use onrush_runtime::spawn::Process;
use onrush_runtime::{Disk, Random, Trace};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::app::App;
use super::group;
use super::history::History;
use super::log::{self, DeadLetter, Record};
use super::member::{Member, Plan};
use super::outbox::Outbox;
use super::outcomes::{Evidence, Outcomes};
use crate::{Error, Subscription};

/// Where the bed's broker listens.
pub(super) const BROKER: &str = "broker:9092";
const BROKER_HOST: &str = "broker";
const OBSERVER_HOST: &str = "test";
/// Longest delay of a piece of data on the network, unless the test wants another.
const DELAY_MILLIS: u64 = 2;
/// How long [`TestBed::settle`] waits, in virtual time: many session time-outs and back-offs.
const SETTLING: Duration = Duration::from_secs(15 * 60);
/// How long a group may take to share its partitions out: it may have to notice that a member crashed.
const BALANCING: Duration = Duration::from_secs(5 * 60);
/// What is waited for is looked at this often, and less often the longer it takes.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(50);
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// What has ended is dropped within this time.
const DROPPING: Duration = Duration::from_millis(10);

/// A broker, a network and a time for one test, and the consumers that it runs; see [the module](super).
///
/// When a test fails, the bed prints its seed and what happened.
pub struct TestBed {
    bed: Rc<Bed>,
}

/// What a bed and its apps share.
pub(super) struct Bed {
    seed: u64,
    simulation: Simulation,
    pub(super) hosts: Hosts,
    disk: MemoryDisk,
    broker: RefCell<Option<Process>>,
    /// On a host of its own, which nothing happens to.
    client: Client,
    outbox: RefCell<Option<Outbox>>,
    members: RefCell<Vec<Rc<Member>>>,
    lives: Cell<u32>,
    pub(super) history: History,
}

impl Default for TestBed {
    fn default() -> Self {
        Self::new()
    }
}

impl TestBed {
    /// A bed with the seed 0: every run of the test is the same.
    ///
    /// # Panics
    /// Inside of an async runtime: the bed has one of its own.
    #[track_caller]
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// A bed with this seed, which draws delays of the network and who goes first. See [`seeds`](super::seeds).
    ///
    /// # Panics
    /// Inside of an async runtime.
    #[track_caller]
    pub fn seeded(seed: u64) -> Self {
        let inside = tokio::runtime::Handle::try_current().is_ok();
        assert!(!inside, "a TestBed has a runtime of its own: use it in a plain #[test] function");
        Self { bed: Rc::new(Bed::open(seed)) }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.bed.seed
    }

    /// Creates a topic.
    ///
    /// # Panics
    /// The broker refuses, or is down.
    #[track_caller]
    pub fn topic(&self, name: &str, partitions: i32) {
        self.bed.ask(self.bed.client.create_topic(name, partitions, 1));
    }

    /// Runs a consumer as it is, but for the brokers that it names; returns when it has partitions.
    ///
    /// # Panics
    /// It does not start: it lacks something, or a topic that it reads was not created.
    #[track_caller]
    pub fn run(&self, consumer: Subscription) -> App {
        let plan = match consumer.into_parts() {
            Ok(parts) => Plan::new(parts),
            Err(error) => panic!("{error}"),
        };
        for topic in &plan.engine.topics {
            let exists = !self.bed.ask(log::partitions(&self.bed.client, topic)).is_empty();
            assert!(
                exists,
                "the consumer reads {topic}, which is not there: call .topic({topic:?}, ..) first"
            );
        }
        let member = self.bed.new_member(Rc::new(plan));
        self.bed.start(&member);
        App { bed: Rc::clone(&self.bed), member }
    }

    /// Sends an event and waits for its acknowledgement.
    ///
    /// # Panics
    /// The topic does not exist, or the broker is down.
    #[track_caller]
    pub fn send(&self, topic: &str, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Record {
        self.send_with(topic, Some(key.as_ref()), Some(value.as_ref()), &[])
    }

    /// As [`TestBed::send`], with headers, and perhaps without key or value.
    ///
    /// # Panics
    /// As [`TestBed::send`].
    #[track_caller]
    pub fn send_with(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Record {
        let headers = headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect();
        let record = unsent(topic, key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec), headers);
        self.bed.send(vec![record]).swap_remove(0)
    }

    /// Sends events in one burst and waits for their acknowledgement.
    ///
    /// ```
    /// # use onrush::testing::TestBed;
    /// let test = TestBed::new();
    /// test.topic("payments", 6);
    /// let sent = test.send_all("payments", [("alice", "10"), ("bob", "20"), ("alice", "30")]);
    /// assert_eq!(sent[0].partition, sent[2].partition);
    /// ```
    ///
    /// # Panics
    /// As [`TestBed::send`].
    #[track_caller]
    pub fn send_all<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        topic: &str,
        events: impl IntoIterator<Item = (K, V)>,
    ) -> Vec<Record> {
        let records = events.into_iter().map(|(key, value)| {
            unsent(topic, Some(key.as_ref().to_vec()), Some(value.as_ref().to_vec()), Vec::new())
        });
        self.bed.send(records.collect())
    }

    /// Sends an event once more, into the same partition, as a producer does that does not know that it had succeeded.
    ///
    /// ```
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 6);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// let app = test.run(consumer.each(|_, _| Ok(())));
    /// let payment = test.send("payments", "alice", "10");
    /// test.duplicate(&payment);
    /// test.settle();
    /// assert_eq!(app.calls().len(), 2); // a handler that must pay once has to notice
    /// ```
    ///
    /// # Panics
    /// As [`TestBed::send`].
    #[track_caller]
    pub fn duplicate(&self, event: &Record) -> Record {
        self.bed.note(format!("{event:?} is sent again"));
        self.bed.send(vec![event.clone()]).swap_remove(0)
    }

    /// The group reads everything again: its members stop, its commits are set to the beginnings of the topics, and the
    /// members start again.
    ///
    /// ```
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 6);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// let app = test.run(consumer.each(|_, _| Ok(())));
    /// test.send("payments", "alice", "10");
    /// test.settle();
    /// test.rewind("billing");
    /// test.settle();
    /// assert_eq!(app.outcomes().repeated, 1);
    /// ```
    ///
    /// # Panics
    /// No member of the group runs, one does not end well, or the broker is down.
    #[track_caller]
    pub fn rewind(&self, group: &str) {
        let members = self.bed.running(group);
        assert!(!members.is_empty(), "no member of {group} runs");
        for member in &members {
            if let Some(Err(error)) = self.bed.stop(member) {
                panic!("{} did not end well: {error}", member.name);
            }
        }
        self.bed.ask(self.bed.rewind(group, &members));
        members.iter().for_each(|member| self.bed.join(member));
        self.bed.balance(group);
    }

    /// Lets time pass until every group that has a running member has committed all events of its topics, and panics if
    /// that takes more than a quarter of an hour of virtual time.
    ///
    /// # Panics
    /// It takes longer, a consumer ends of its own, or the broker is down.
    #[track_caller]
    pub fn settle(&self) {
        self.settle_within(SETTLING);
    }

    /// As [`TestBed::settle`], in at most this much virtual time.
    ///
    /// # Panics
    /// As [`TestBed::settle`].
    #[track_caller]
    pub fn settle_within(&self, limit: Duration) {
        let bed = &self.bed;
        let unfinished = async || {
            let members = bed.members.borrow().clone();
            let mut groups = Vec::<Vec<&Member>>::new();
            for member in members.iter().filter(|member| member.handle().is_some()) {
                match groups.iter_mut().find(|group| group[0].group() == member.group()) {
                    Some(group) => group.push(member),
                    None => groups.push(vec![member]),
                }
            }
            let open = group::unfinished(&bed.client, &groups).await?;
            Ok((!open.is_empty()).then(|| open.join("\n  ")))
        };
        if let Err(open) = bed.wait(limit, unfinished) {
            panic!("not settled within {limit:?} of virtual time:\n  {open}");
        }
    }

    /// Lets this much time pass.
    pub fn advance(&self, duration: Duration) {
        self.bed.advance(duration);
    }

    /// How much time has passed since the bed was made.
    pub fn now(&self) -> Duration {
        self.bed.simulation.run(async { self.bed.history.now() })
    }

    /// Every record of a topic, whoever wrote it, by partition and offset; none if the topic does not exist.
    ///
    /// ```
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 6);
    /// test.topic("receipts", 1);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// test.run(consumer.each(|event, cx| Ok(cx.emit("receipts", event.key, Some(b"paid"), &[])?)));
    /// test.send("payments", "alice", "10");
    /// test.settle();
    /// let receipts = test.records("receipts");
    /// assert_eq!((receipts[0].key_text(), receipts[0].value_text()), ("alice".into(), "paid".into()));
    /// ```
    ///
    /// # Panics
    /// The broker is down.
    #[track_caller]
    pub fn records(&self, topic: &str) -> Vec<Record> {
        self.bed.records(topic)
    }

    /// The dead letters of a topic's events, in the order of these, by the consumers of this bed.
    ///
    /// ```
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 6);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// test.run(consumer.each(|_, _| Err(HandlerError::msg("no such account"))));
    /// test.send("payments", "alice", "10");
    /// test.settle();
    /// assert_eq!(test.dead_letters("payments")[0].error, "no such account");
    /// ```
    ///
    /// # Panics
    /// The broker is down.
    #[track_caller]
    pub fn dead_letters(&self, topic: &str) -> Vec<DeadLetter> {
        let members = self.bed.members.borrow().clone();
        let mut topics: Vec<_> =
            members.iter().map(|member| dead_letter_topic(&member.plan, topic)).collect();
        topics.sort();
        topics.dedup();
        let letters = topics.iter().flat_map(|letters| self.bed.records(letters));
        let mut letters = DeadLetter::of(topic, letters.collect());
        letters.sort_by_key(|letter| (letter.partition, letter.offset));
        letters
    }

    /// What a group has committed in each partition of a topic: the offset to go on from, none where it has not begun.
    ///
    /// ```
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 1);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// test.run(consumer.each(|_, _| Ok(())));
    /// test.send("payments", "alice", "10");
    /// test.settle();
    /// assert_eq!(test.committed("billing", "payments"), [Some(1)]);
    /// ```
    ///
    /// # Panics
    /// The broker is down.
    #[track_caller]
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<i64>> {
        let client = &self.bed.client;
        let committed = self.bed.ask(async {
            let partitions = log::partitions(client, topic).await?;
            client.fetch_offsets(group, &partitions).await
        });
        let offset = |committed: Committed| Some(committed.offset).filter(|offset| *offset >= 0);
        committed.into_iter().map(offset).collect()
    }

    /// The broker's process ends; what it acknowledged stays on its disk.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 6);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// let app = test.run(consumer.each(|_, _| Ok(())));
    /// test.send("payments", "alice", "10");
    /// test.broker_down();
    /// test.advance(Duration::from_secs(60));
    /// test.broker_up();
    /// test.settle();
    /// app.assert_all_done();
    /// ```
    pub fn broker_down(&self) {
        self.bed.note("the broker is down");
        self.bed.hosts.net().take_down(BROKER_HOST);
        if let Some(process) = self.bed.broker.borrow_mut().take() {
            process.crash();
        }
        self.bed.advance(DROPPING);
    }

    /// Starts the broker again.
    ///
    /// # Panics
    /// It is not down.
    #[track_caller]
    pub fn broker_up(&self) {
        assert!(self.bed.broker.borrow().is_none(), "the broker is up");
        self.bed.hosts.net().bring_up(BROKER_HOST);
        let started = start_broker(&self.bed.hosts, &self.bed.disk);
        match self.bed.simulation.run(started) {
            Ok(process) => *self.bed.broker.borrow_mut() = Some(process),
            Err(error) => panic!("the broker does not start: {error}"),
        }
        self.bed.note("the broker is up");
    }

    /// From now on every piece of data is on its way for up to this long; 2 ms at first.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 6);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// let app = test.run(consumer.each(|_, _| Ok(())));
    /// test.slow_network(Duration::from_millis(500));
    /// test.send("payments", "alice", "10");
    /// test.settle();
    /// app.assert_all_done();
    /// ```
    pub fn slow_network(&self, delay: Duration) {
        self.bed.note(format!("the network takes up to {delay:?}"));
        let max_delay_millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.bed.hosts.net().set_faults(Faults { max_delay_millis, split_reads: true });
    }

    /// What happened so far, as a failing test prints it.
    pub fn history(&self) -> String {
        self.bed.history.to_string()
    }
}

fn unsent(
    topic: &str,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
) -> Record {
    let (partition, offset, timestamp) = (-1, -1, -1);
    Record { topic: topic.to_owned(), partition, offset, timestamp, key, value, headers }
}

fn dead_letter_topic(plan: &Plan, topic: &str) -> String {
    let own = || format!("{topic}{}", dead_letter::TOPIC_SUFFIX);
    plan.engine.dead_letter_topic.clone().unwrap_or_else(own)
}

/// A broker that keeps what it acknowledged, whatever becomes of it.
async fn start_broker(hosts: &Hosts, disk: &MemoryDisk) -> Result<Process, String> {
    let host = hosts.process(BROKER_HOST, Disk::Memory(disk.clone()));
    let process = host.process.clone();
    let config =
        BrokerConfig { listen: BROKER.to_owned(), fsync: Fsync::Always, ..BrokerConfig::default() };
    let (tell, opened) = oneshot::channel();
    host.executor().spawn(async move {
        let broker = Broker::open(config, &host.runtime, host.executor()).await;
        // Whoever started it waits for it.
        let _ = tell.send(broker.as_ref().map(drop).map_err(ToString::to_string));
        // Holds the broker until the process ends.
        std::future::pending::<()>().await;
        drop(broker);
    });
    opened.await.unwrap_or_else(|_| Err("it panicked".to_owned())).map(|()| process)
}

impl Bed {
    fn open(seed: u64) -> Self {
        let (simulation, disk) = (Simulation::new(), MemoryDisk::default());
        let (hosts, history, broker, client) = simulation.run(async {
            let faults = Faults { max_delay_millis: DELAY_MILLIS, split_reads: true };
            let hosts = Hosts::new(Random::seeded(seed), faults, Trace::off());
            let history = History::new();
            let broker = start_broker(&hosts, &disk).await;
            let host = hosts.process(OBSERVER_HOST, Disk::memory());
            let config = ClientConfig::new([BROKER]);
            let client = Client::connect(config, &host.runtime, host.executor()).await;
            (hosts, history, broker, client)
        });
        let broker = broker.unwrap_or_else(|error| panic!("the broker does not start: {error}"));
        let client = client.unwrap_or_else(|error| panic!("the broker cannot be reached: {error}"));
        Self {
            seed,
            simulation,
            hosts,
            disk,
            broker: RefCell::new(Some(broker)),
            client,
            outbox: RefCell::default(),
            members: RefCell::default(),
            lives: Cell::default(),
            history,
        }
    }

    pub(super) fn advance(&self, duration: Duration) {
        self.simulation.run(async { sleep(duration).await });
    }

    /// Notes something that the test does.
    pub(super) fn note(&self, text: impl Into<String>) {
        self.simulation.run(async { self.history.note(text) });
    }

    /// Asks the broker something that it must be able to answer.
    #[track_caller]
    fn ask<T, E: std::fmt::Display>(&self, question: impl Future<Output = Result<T, E>>) -> T {
        self.assert_broker();
        match self.simulation.run(question) {
            Ok(answer) => answer,
            Err(error) => panic!("the broker was asked in vain: {error}"),
        }
    }

    #[track_caller]
    fn assert_broker(&self) {
        assert!(self.broker.borrow().is_some(), "the broker is down: call .broker_up() first");
    }

    /// Lets time pass until `missing` says that nothing is; what is when the time is up.
    #[track_caller]
    fn wait(
        &self,
        limit: Duration,
        missing: impl AsyncFn() -> Result<Option<String>, ClientError>,
    ) -> Result<(), String> {
        self.assert_broker();
        let mut last = "nothing was to be seen".to_owned();
        let looking = async {
            let begin = self.history.now();
            loop {
                if let Some(failure) = self.take_failure() {
                    return Err(failure);
                }
                match missing().await {
                    Ok(None) => return Ok(()),
                    Ok(Some(missing)) => last = missing,
                    Err(error) => last = error.to_string(),
                }
                let passed = self.history.now() - begin;
                sleep((passed / 10).clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL_MAX)).await;
            }
        };
        let looked = self.simulation.run(async { timeout(limit, looking).await });
        looked.unwrap_or(Err(last))
    }

    fn take_failure(&self) -> Option<String> {
        self.members.borrow().iter().find_map(|member| member.take_failure())
    }

    #[track_caller]
    fn send(&self, mut records: Vec<Record>) -> Vec<Record> {
        self.assert_broker();
        let outbox = self.outbox.borrow_mut().take();
        let sent = self.simulation.run(async {
            let mut outbox = match outbox {
                Some(outbox) => outbox,
                None => Outbox::open(self.client.clone(), self.hosts.clock()).await?,
            };
            outbox.send(&mut records).await?;
            Ok::<_, Error>(outbox)
        });
        match sent {
            Ok(outbox) => *self.outbox.borrow_mut() = Some(outbox),
            Err(error) => panic!("not sent: {error}"),
        }
        records
    }

    #[track_caller]
    fn records(&self, topic: &str) -> Vec<Record> {
        self.ask(log::read(&self.client, topic))
    }

    pub(super) fn new_member(&self, plan: Rc<Plan>) -> Rc<Member> {
        let mut members = self.members.borrow_mut();
        let group = &plan.engine.group;
        let of_group = members.iter().filter(|member| member.group() == group).count();
        let member = Rc::new(Member::new(&format!("{group}-{}", of_group + 1), plan));
        members.push(Rc::clone(&member));
        member
    }

    fn running(&self, group: &str) -> Vec<Rc<Member>> {
        let members = self.members.borrow();
        let of_group = members.iter().filter(|member| member.group() == group);
        of_group.filter(|member| member.handle().is_some()).cloned().collect()
    }

    /// Starts a member, and waits until the group has shared out its partitions.
    #[track_caller]
    pub(super) fn start(&self, member: &Member) {
        self.join(member);
        self.balance(member.group());
    }

    #[track_caller]
    fn join(&self, member: &Member) {
        self.assert_broker();
        self.lives.set(self.lives.get() + 1);
        let started = member.start(&self.hosts, &self.history, self.lives.get());
        if let Err(error) = self.simulation.run(started) {
            panic!("{} does not start: {error}", member.name);
        }
    }

    #[track_caller]
    fn balance(&self, group: &str) {
        let unbalanced = async || {
            let members = self.running(group);
            let members: Vec<&Member> = members.iter().map(Rc::as_ref).collect();
            group::unbalanced(&self.client, group, &members).await
        };
        if let Err(missing) = self.wait(BALANCING, unbalanced) {
            panic!("the group {group} does not settle on who has what: {missing}");
        }
    }

    pub(super) fn stop(&self, member: &Member) -> Option<Result<Summary, EngineError>> {
        let end = self.simulation.run(member.stop())?;
        self.note(format!("{} has stopped", member.name));
        Some(end)
    }

    /// The group goes on from the beginnings of its partitions.
    async fn rewind(&self, group: &str, members: &[Rc<Member>]) -> Result<(), ClientError> {
        let members: Vec<&Member> = members.iter().map(Rc::as_ref).collect();
        let committed = group::committed(&self.client, &members).await?;
        let partitions: Vec<_> =
            committed.into_iter().map(|committed| committed.partition).collect();
        let starts = self.client.list_offsets(&partitions, At::Earliest).await?;
        let commits: Vec<_> = starts
            .into_iter()
            .map(|(partition, start)| Commit {
                partition,
                offset: start.offset,
                leader_epoch: -1,
                metadata: String::new(),
            })
            .collect();
        self.client.commit_offsets(group, &commits).await?;
        self.history.note(format!("{group} is set to the beginning"));
        Ok(())
    }

    #[track_caller]
    pub(super) fn outcomes(&self, plan: &Plan) -> Outcomes {
        let engine = &plan.engine;
        let committed = self.ask(self.client.fetch_all_offsets(&engine.group));
        let is_own = |topic: &str| engine.topics.iter().any(|own| *own == *topic);
        let mut retries: Vec<String> =
            committed.iter().map(|commit| commit.partition.topic.to_string()).collect();
        retries.retain(|topic| !is_own(topic));
        retries.dedup();
        let retries: Vec<Record> = retries.iter().flat_map(|topic| self.records(topic)).collect();
        let mut letters: Vec<String> =
            engine.topics.iter().map(|topic| dead_letter_topic(plan, topic)).collect();
        letters.dedup();
        let letters: Vec<Record> = letters.iter().flat_map(|topic| self.records(topic)).collect();
        let events = engine.topics.iter().flat_map(|topic| self.records(topic)).collect();
        let calls = self.history.calls(&engine.group);
        let evidence = Evidence {
            committed: &committed,
            retries: &retries,
            dead_letters: &letters,
            calls: &calls,
        };
        Outcomes::of(events, &evidence)
    }

    fn tell(&self) {
        let history = &self.history;
        eprintln!("test bed with seed {0}, again by TestBed::seeded({0}):\n{history}", self.seed);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        let outbox = self.outbox.get_mut().take();
        let members = std::mem::take(self.members.get_mut());
        let broker = self.broker.get_mut().take();
        // What is dropped may want to start something: inside of the simulation it can.
        self.simulation.run(async {
            for member in members {
                self.hosts.net().take_down(&member.name);
                member.crash();
            }
            drop(outbox);
            if let Some(process) = broker {
                process.crash();
            }
            sleep(DROPPING).await;
        });
    }
}
