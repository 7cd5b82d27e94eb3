//! What a seed decides before a run: sizes, faults and when they happen.

use std::num::NonZeroU32;
use std::time::Duration;

use onrush_broker::Fsync;
use onrush_runtime::Random;

use crate::Sabotage;
use crate::history::Promise;

/// The plan of one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Drives everything that is drawn during the run.
    pub(crate) random: Random,
    pub(crate) partitions: i32,
    pub(crate) events: u64,
    pub(crate) keys: u64,
    /// Of 16 events, this many have no key.
    pub(crate) keyless: u64,
    /// When the broker syncs.
    pub(crate) fsync: Fsync,
    /// 0 runs handlers inline on the lanes.
    pub(crate) concurrency: usize,
    /// Handlers that are not inline are awaited by tasks.
    pub(crate) awaits: bool,
    /// Tasks take up to so many events at once; 0: one after the other.
    pub(crate) batch: usize,
    pub(crate) lanes: usize,
    pub(crate) in_flight: u64,
    /// Of 64 calls, this many fail and are tried again.
    pub(crate) failing: u64,
    /// How often an event is tried before it leaves for a retry topic or the dead letters.
    pub(crate) attempts: Option<NonZeroU32>,
    /// Delays of the retry topics.
    pub(crate) rungs: Vec<Duration>,
    /// Of 128 events, this many fail whenever they are tried.
    pub(crate) doomed: u64,
    pub(crate) max_delay_millis: u64,
    pub(crate) faults: Vec<(Duration, Fault)>,
    pub(crate) sabotage: Option<Sabotage>,
}

/// Something that goes wrong at a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A member dies, and is started again after a pause.
    CrashMember(usize, Duration),
    /// A member leaves in good order (a hand-over), and joins again.
    RestartMember(usize),
    /// The broker dies, loses what was not synced, and is started again after a pause.
    CrashBroker(Duration),
    /// The broker's disk has no room left for a while.
    FillDisk(Duration),
    /// So many syncs of the broker's disk fail, and a crash takes their bytes unless they are written again.
    FailSyncs(u32, Duration),
    /// All connections of a host are reset.
    Cut(Host),
}

/// A host of the simulated network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Broker,
    Producer,
    Member(usize),
}

impl Host {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Broker => "broker".to_owned(),
            Self::Producer => "producer".to_owned(),
            Self::Member(member) => format!("member-{member}"),
        }
    }
}

/// Members of the group.
pub(crate) const MEMBERS: usize = 2;
/// Faults happen in this much virtual time; afterwards everything has to finish.
const FAULTY_TIME: Duration = Duration::from_secs(20);

/// A broker that syncs by interval may be so late.
const SYNC_MARGIN: Duration = Duration::from_millis(20);

impl Plan {
    /// What an acknowledgement of this plan's broker is worth.
    pub(crate) fn promise(&self) -> Promise {
        match self.fsync {
            Fsync::Always => Promise::Everything,
            Fsync::Interval(interval) => Promise::OlderThan(interval + SYNC_MARGIN),
            Fsync::Never => Promise::Nothing,
        }
    }

    pub(crate) fn draw(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let random = Random::seeded(seed);
        let mut faults = Vec::new();
        let at = |random: &Random| {
            Duration::from_millis(1_000 + random.below(FAULTY_TIME.as_millis() as u64))
        };
        let pause = |random: &Random| Duration::from_millis(50 + random.below(3_000));
        let member = |random: &Random| random.below(MEMBERS as u64) as usize;
        for _ in 0..1 + random.below(3) {
            faults.push((at(&random), Fault::CrashMember(member(&random), pause(&random))));
        }
        for _ in 0..1 + random.below(2) {
            faults.push((at(&random), Fault::RestartMember(member(&random))));
        }
        for _ in 0..1 + random.below(3) {
            faults.push((at(&random), Fault::CrashBroker(pause(&random))));
        }
        if random.chance(1, 2) {
            faults.push((at(&random), Fault::FillDisk(pause(&random))));
        }
        if random.chance(1, 2) {
            let count = 1 + random.below(4) as u32;
            faults.push((at(&random), Fault::FailSyncs(count, pause(&random))));
        }
        for _ in 0..random.below(5) {
            let host = match random.below(4) {
                0 => Host::Broker,
                1 => Host::Producer,
                _ => Host::Member(member(&random)),
            };
            faults.push((at(&random), Fault::Cut(host)));
        }
        faults.sort_by_key(|(at, _)| *at);
        let fsync = draw_fsync(&random, sabotage);
        if fsync != Fsync::Always {
            // What was acknowledged may then be lost, whatever its age.
            faults.retain(|(_, fault)| !matches!(fault, Fault::FailSyncs(..)));
        }
        let leaving = Leaving::draw(&random.fork(), sabotage);
        Self {
            seed,
            attempts: leaving.attempts,
            rungs: leaving.rungs,
            doomed: leaving.doomed,
            partitions: 1 + random.below(4) as i32,
            events: 500 + random.below(1_500),
            keys: 1 + random.below(40),
            keyless: random.below(4),
            fsync,
            concurrency: if random.chance(1, 3) { 0 } else { 1 + random.below(8) as usize },
            awaits: seed % 2 == 1,
            batch: if seed % 4 == 3 { 1 + (seed / 4 % 16) as usize } else { 0 },
            lanes: 1 + random.below(2) as usize,
            in_flight: 10 + random.below(500),
            max_delay_millis: random.below(8),
            failing: if sabotage == Some(Sabotage::Overtake) { 16 } else { random.below(20) },
            faults,
            sabotage,
            random,
        }
    }
}

/// Which events leave their topic, and how.
struct Leaving {
    attempts: Option<NonZeroU32>,
    rungs: Vec<Duration>,
    doomed: u64,
}

impl Leaving {
    fn draw(random: &Random, sabotage: Option<Sabotage>) -> Self {
        let leaves = match sabotage {
            Some(Sabotage::Overtake) => false,
            Some(Sabotage::Vanish) => true,
            _ => random.chance(1, 2),
        };
        let rungs = [300 + random.below(500), 1_000 + random.below(3_000)];
        let rungs = rungs.into_iter().take(random.below(3) as usize).map(Duration::from_millis);
        match leaves {
            true => Self {
                attempts: NonZeroU32::new(2 + random.below(3) as u32),
                rungs: rungs.collect(),
                doomed: 1 + random.below(2),
            },
            false => Self { attempts: None, rungs: Vec::new(), doomed: 0 },
        }
    }
}

/// Half of the brokers never sync: crashes that take bytes are what is hardest on everybody else.
fn draw_fsync(random: &Random, sabotage: Option<Sabotage>) -> Fsync {
    match random.below(4) {
        _ if sabotage == Some(Sabotage::AckBeforeSync) => Fsync::Always,
        0 => Fsync::Always,
        1 => Fsync::Interval(Duration::from_millis(50 + random.below(1_000))),
        _ => Fsync::Never,
    }
}
