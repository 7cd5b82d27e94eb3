//! A cluster with a topic, members that note what they do, and what they noted.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use onrush::testing::{BrokerConfig, TestBroker, create_topic, lag};
use onrush::{Assignment, Consumer, Context, Event, Handler, HandlerError, Mode, Place, Producer};

/// What anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// A prime, so that slow events are spread over all of them.
const KEYS: u64 = 2_003;

/// How long the group waits for a member that is silent; a Kafka of the tests waits as long.
const SESSION: Duration = Duration::from_secs(6);

/// Something that a member did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note {
    pub(crate) member: usize,
    pub(crate) partition: i32,
    pub(crate) what: What,
    pub(crate) at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Started(u64),
    Done(u64),
    Revoked,
}

/// Handlers that do not return, each at the first owner of its event.
#[derive(Default)]
pub(crate) struct Stuck {
    numbers: Mutex<BTreeSet<u64>>,
    is_over: Mutex<bool>,
    over: Condvar,
}

impl Stuck {
    /// Whether this event is stuck here; it is stuck once.
    fn holds(&self, number: u64) -> bool {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }

    fn wait(&self) {
        let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.over.wait_while(is_over, |is_over| !*is_over));
    }
}

/// See the module.
pub(crate) struct Crew {
    pub(crate) address: String,
    pub(crate) name: String,
    pub(crate) notes: Arc<Mutex<Vec<Note>>>,
    pub(crate) stuck: Arc<Stuck>,
    _broker: Option<TestBroker>,
    _turn: Turn,
}

/// Who measures is alone on the machine, as far as these scenarios go.
enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

static TURNS: RwLock<()> = RwLock::new(());

impl Crew {
    pub(crate) fn new(scenario: &str, partitions: i32) -> Self {
        let _guard = TURNS.read().unwrap_or_else(PoisonError::into_inner);
        Self::in_turn(Turn::Shared { _guard }, scenario, partitions)
    }

    /// For a scenario that measures.
    pub(crate) fn alone(scenario: &str, partitions: i32) -> Self {
        let _guard = TURNS.write().unwrap_or_else(PoisonError::into_inner);
        Self::in_turn(Turn::Alone { _guard }, scenario, partitions)
    }

    fn in_turn(turn: Turn, scenario: &str, partitions: i32) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name =
            format!("{scenario}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (address, broker) = match std::env::var("ONRUSH_TEST_BROKERS") {
            Ok(address) => (address, None),
            Err(_) => {
                let config = BrokerConfig { session_timeout: SESSION, ..BrokerConfig::default() };
                let broker = TestBroker::with(config).expect("a broker on a free port");
                (broker.address().to_owned(), Some(broker))
            }
        };
        create_topic(&address, &name, partitions).expect("the topic is created");
        Self {
            address,
            name,
            notes: Arc::default(),
            stuck: Arc::default(),
            _broker: broker,
            _turn: turn,
        }
    }

    /// Numbered events of [`KEYS`] keys.
    pub(crate) fn fill(&self, events: u64) {
        let mut producer = Producer::connect(&self.address).expect("the broker answers");
        for number in 0..events {
            let (key, value) = ((number % KEYS).to_be_bytes(), number.to_be_bytes());
            producer.send(&self.name, Some(&key), Some(&value)).expect("sent");
        }
        producer.flush().expect("acknowledged");
    }

    /// These events do not return from the first handler that gets them.
    pub(crate) fn stick(&self, numbers: impl IntoIterator<Item = u64>) {
        self.stuck.numbers.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers);
    }

    /// Handlers that are stuck return now.
    pub(crate) fn unstick(&self) {
        *self.stuck.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stuck.over.notify_all();
    }

    /// A member whose handler takes `takes(number)`.
    pub(crate) fn member(
        &self,
        number: usize,
        concurrency: usize,
        takes: impl Fn(u64) -> Duration + Clone + Send + Sync + 'static,
    ) -> (Consumer, impl Fn(Place) -> Noting + Send + Sync + 'static) {
        let concurrency = NonZeroUsize::new(concurrency).expect("some");
        let consumer = Consumer::new(&self.address)
            .group(&self.name)
            .topic(&self.name)
            .lanes(NonZeroUsize::MIN)
            .commit_interval(Duration::from_millis(200))
            .mode(Mode::EachBlocking { concurrency });
        let (notes, stuck) = (Arc::clone(&self.notes), Arc::clone(&self.stuck));
        let takes: Takes = Arc::new(takes);
        (consumer, move |_| Noting {
            member: number,
            notes: Arc::clone(&notes),
            stuck: Arc::clone(&stuck),
            takes: Arc::clone(&takes),
        })
    }

    pub(crate) fn noted(&self) -> Vec<Note> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many events were done, in all.
    pub(crate) fn done(&self) -> usize {
        let is_done = |note: &&Note| matches!(note.what, What::Done(_));
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(is_done).count()
    }

    /// The partitions from which each member had an event since `since`.
    pub(crate) fn at_work(&self, since: Instant) -> BTreeMap<usize, Vec<i32>> {
        let mut at_work = BTreeMap::<usize, Vec<i32>>::new();
        for note in self.noted().iter().filter(|note| note.at >= since) {
            let partitions = at_work.entry(note.member).or_default();
            if matches!(note.what, What::Started(_)) && !partitions.contains(&note.partition) {
                partitions.push(note.partition);
            }
        }
        at_work
    }

    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let limit = Instant::now() + LIMIT;
        while !is_so() {
            assert!(
                Instant::now() < limit,
                "not in {LIMIT:?}: {what}; {} are done, at work are {:?}",
                self.done(),
                self.at_work(Instant::now() - Duration::from_secs(1)),
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn until_committed(&self) {
        self.until("everything is committed", || {
            lag(&self.address, &self.name, &self.name).is_ok_and(|lag| lag == 0)
        });
    }

    /// By partition that changed its owner: the old one, and the time from its last event to the first of the new one. What a member finishes after it let a partition go is no event of the owner.
    pub(crate) fn rests(&self, since: Instant) -> BTreeMap<i32, (usize, Duration)> {
        let mut last: BTreeMap<i32, (usize, Instant)> = BTreeMap::new();
        let mut rests = BTreeMap::new();
        for note in self.noted() {
            let (owner, at) = *last.entry(note.partition).or_insert((note.member, note.at));
            match note.what {
                What::Started(_) if note.member != owner => {
                    if note.at >= since {
                        let rest = note.at.saturating_duration_since(at);
                        rests.insert(note.partition, (owner, rest));
                    }
                    last.insert(note.partition, (note.member, note.at));
                }
                What::Started(_) | What::Done(_) if note.member == owner => {
                    last.insert(note.partition, (owner, note.at));
                }
                _ => {}
            }
        }
        rests
    }

    /// By partition that had one owner all the time: the longest time without an event that began.
    pub(crate) fn gaps(&self, since: Instant, until: Instant) -> BTreeMap<i32, Duration> {
        let mut seen: BTreeMap<i32, (usize, Instant)> = BTreeMap::new();
        let mut gaps = BTreeMap::new();
        let mut moved = BTreeSet::new();
        let is_meant = |note: &Note| matches!(note.what, What::Started(_)) && note.at <= until;
        for note in self.noted().into_iter().filter(is_meant) {
            let before = seen.insert(note.partition, (note.member, note.at));
            let Some((member, at)) = before.filter(|_| note.at >= since) else { continue };
            if member != note.member {
                moved.insert(note.partition);
            }
            let gap: &mut Duration = gaps.entry(note.partition).or_default();
            *gap = (*gap).max(note.at.saturating_duration_since(at.max(since)));
        }
        gaps.retain(|partition, _| !moved.contains(partition));
        gaps
    }

    /// Events that began at one member while they ran at another.
    pub(crate) fn overlaps(&self) -> BTreeSet<u64> {
        let mut running: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
        let mut overlaps = BTreeSet::new();
        for note in self.noted() {
            match note.what {
                What::Started(number) => {
                    let at = running.entry(number).or_default();
                    at.insert(note.member);
                    if at.len() > 1 {
                        overlaps.insert(number);
                    }
                }
                What::Done(number) => {
                    running.entry(number).or_default().remove(&note.member);
                }
                What::Revoked => {}
            }
        }
        overlaps
    }

    /// As long as a member has a partition, the events of a key begin there in their order.
    pub(crate) fn assert_in_order(&self) {
        let mut last: BTreeMap<(usize, i32), BTreeMap<u64, u64>> = BTreeMap::new();
        for note in self.noted() {
            let stay = last.entry((note.member, note.partition)).or_default();
            match note.what {
                What::Started(number) => {
                    let before = stay.insert(number % KEYS, number);
                    assert!(before < Some(number), "{number} after {before:?}: {note:?}");
                }
                What::Done(_) => {}
                What::Revoked => stay.clear(),
            }
        }
    }

    /// How many of these events have begun.
    pub(crate) fn started(&self, numbers: &[u64]) -> usize {
        let has_begun =
            |number: &&u64| self.noted().iter().any(|note| note.what == What::Started(**number));
        numbers.iter().filter(has_begun).count()
    }

    /// Events that began more than once.
    pub(crate) fn started_twice(&self) -> BTreeSet<u64> {
        let mut started = BTreeSet::new();
        let is_again = |note: &Note| match note.what {
            What::Started(number) => (!started.insert(number)).then_some(number),
            _ => None,
        };
        self.noted().iter().filter_map(is_again).collect()
    }

    /// Where these events were first: (member, partition).
    pub(crate) fn places_of(&self, numbers: &[u64]) -> BTreeSet<(usize, i32)> {
        let mut left: BTreeSet<u64> = numbers.iter().copied().collect();
        let is_meant = |note: &Note| match note.what {
            What::Started(number) => left.remove(&number),
            _ => false,
        };
        let notes = self.noted().into_iter().filter(is_meant);
        notes.map(|note| (note.member, note.partition)).collect()
    }

    /// How often each event was done.
    pub(crate) fn times(&self) -> BTreeMap<u64, usize> {
        let mut times = BTreeMap::new();
        for note in self.noted() {
            if let What::Done(number) = note.what {
                *times.entry(number).or_default() += 1;
            }
        }
        times
    }
}

type Takes = Arc<dyn Fn(u64) -> Duration + Send + Sync>;

/// The handler.
pub(crate) struct Noting {
    member: usize,
    notes: Arc<Mutex<Vec<Note>>>,
    stuck: Arc<Stuck>,
    takes: Takes,
}

impl Noting {
    fn note(&self, partition: i32, what: What) {
        let note = Note { member: self.member, partition, what, at: Instant::now() };
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}

impl Handler for Noting {
    fn each(&mut self, event: &Event<'_>, _: &mut Context<'_>) -> Result<(), HandlerError> {
        let number =
            event.value.and_then(|value| value.try_into().ok()).map_or(0, u64::from_be_bytes);
        self.note(event.partition, What::Started(number));
        match self.stuck.holds(number) {
            true => self.stuck.wait(),
            false => std::thread::sleep((self.takes)(number)),
        }
        self.note(event.partition, What::Done(number));
        Ok(())
    }

    fn revoked(&mut self, assignment: &Assignment) {
        self.note(assignment.partition, What::Revoked);
    }
}
