//! A cluster with a topic, members that note what they do, and what they noted.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use onrush::testing::{BrokerConfig, TestBroker, create_topic, lag};
use onrush::{Assignment, Consumer, Context, Event, Handler, HandlerError, Mode, Place, Producer};

/// What anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

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

/// See the module.
pub(crate) struct Crew {
    pub(crate) address: String,
    pub(crate) name: String,
    pub(crate) notes: Arc<Mutex<Vec<Note>>>,
    _broker: Option<TestBroker>,
}

impl Crew {
    pub(crate) fn new(scenario: &str, partitions: i32) -> Self {
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
        Self { address, name, notes: Arc::default(), _broker: broker }
    }

    /// Numbered events, each with a key of its own.
    pub(crate) fn fill(&self, events: u64) {
        let mut producer = Producer::connect(&self.address).expect("the broker answers");
        for number in 0..events {
            let bytes = number.to_be_bytes();
            producer.send(&self.name, Some(&bytes), Some(&bytes)).expect("sent");
        }
        producer.flush().expect("acknowledged");
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
        let notes = Arc::clone(&self.notes);
        let takes: Takes = Arc::new(takes);
        (consumer, move |_| Noting {
            member: number,
            notes: Arc::clone(&notes),
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
            assert!(Instant::now() < limit, "not in {LIMIT:?}: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn until_committed(&self) {
        self.until("everything is committed", || {
            lag(&self.address, &self.name, &self.name).is_ok_and(|lag| lag == 0)
        });
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
        std::thread::sleep((self.takes)(number));
        self.note(event.partition, What::Done(number));
        Ok(())
    }

    fn revoked(&mut self, assignment: &Assignment) {
        self.note(assignment.partition, What::Revoked);
    }
}
