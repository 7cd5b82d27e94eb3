//! The driver: events, faults, the end, the verdict.
//!
//! ```text
//! sending (a member is killed every few seconds, one is replaced now and then, the broker is restarted twice)
//!   -> finishing (faults are over; everything must be committed) -> leaving -> judged
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use onrush::testing::{create_topic, lag};
use onrush::{Consumer, HandlerError};
use onrush_kafka::{Client, ClientConfig, ConfigChange, ConfigOperation, ConfigResource, Effect};
use onrush_runtime::{Disk, Random, Runtime};

use crate::broker::Broker;
use crate::crew::Crew;
use crate::fate::Event;
use crate::generator::Generator;
use crate::member;
use crate::verdict::{Outage, Run, Verdict};
use crate::{Failure, now_micros};

const TOPIC: &str = "soak";
const PARTITIONS: i32 = 24;
const MEMBERS: usize = 6;
/// Between kills, with some chance: so many that two minutes have more than [`KILLS`].
const KILL_INTERVAL: Duration = Duration::from_millis(3_500);
const KILL_JITTER_MILLIS: u64 = 1_000;
/// Every so many kills, one member leaves in order in between.
const KILLS_PER_REPLACEMENT: u64 = 4;
/// What a run must have had at least, per two minutes.
const KILLS: u64 = 20;
const REBALANCES: u64 = 10;
const RESTARTS: u64 = 2;
/// A run of this length has the broker restarted.
const WITH_RESTARTS: Duration = Duration::from_secs(60);
/// From the last fault to the last commit.
const FINISH_LIMIT: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(50);
/// What a group of another cluster is told; the embedded broker has it in its configuration (`broker`).
const SESSION_SETTINGS: [(&str, &str); 2] =
    [("consumer.heartbeat.interval.ms", "500"), ("consumer.session.timeout.ms", "6000")];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How long events are sent.
    #[arg(long, default_value_t = 2)]
    minutes: u64,
    /// The same in seconds.
    #[arg(long, conflicts_with = "minutes")]
    seconds: Option<u64>,
    /// What decides keys, fates and faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Events per second.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// The `onrush` that serves the embedded broker.
    #[arg(long, value_name = "PATH", required_unless_present = "brokers")]
    onrush: Option<PathBuf>,
    /// Another cluster. When it is to be restarted, `restart` is written to stdout, and `restarted` expected on stdin.
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// Where journals and logs stay; by default they go with a run that was good.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// A damage that the verdict must notice: lose, repeat, reorder, commit-early, forget, or idle (no faults).
    #[arg(long, hide = true)]
    sabotage: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let scratch = tempfile::tempdir()?;
    let folder = arguments.keep.clone().unwrap_or_else(|| scratch.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    let broker = match (&arguments.brokers, &arguments.onrush) {
        (Some(address), _) => Broker::Outside { address: address.clone() },
        (None, Some(onrush)) => Broker::embedded(onrush, &folder.join("log"))?,
        (None, None) => return Err("say --onrush or --brokers".into()),
    };
    let verdict = soak(arguments, broker, &folder);
    let faulty = verdict.as_ref().map_or(true, |verdict| !verdict.is_good());
    if faulty && arguments.keep.is_none() {
        eprintln!("journals and logs are kept in {}", scratch.keep().display());
    }
    let verdict = verdict?;
    println!("{}", serde_json::to_string(&verdict)?);
    match verdict.is_good() {
        true => Ok(()),
        false => Err(verdict.problems.join("\n").into()),
    }
}

fn soak(arguments: &Arguments, broker: Broker, folder: &Path) -> Result<Verdict, Failure> {
    let address = broker.address().to_owned();
    let random = Random::seeded(arguments.seed);
    let group = format!("soak-{:016x}", Random::from_entropy().next_u64());
    let topic = match arguments.brokers {
        Some(_) => format!("{TOPIC}-{group}"),
        None => TOPIC.to_owned(),
    };
    create_topic(&address, &topic, PARTITIONS)?;
    if arguments.brokers.is_some() {
        shorten_sessions(&address, &group)?;
    }
    let idle = arguments.sabotage.as_deref() == Some("idle");
    let template = member::Arguments {
        brokers: address.clone(),
        topic: topic.clone(),
        group: group.clone(),
        seed: arguments.seed,
        journal: PathBuf::new(),
        sabotage: None,
    };
    let sabotage = arguments.sabotage.clone().filter(|_| !idle);
    if let Some(sabotage) = &sabotage {
        member::sabotage(sabotage)?;
    }
    let mut crew = Crew::new(template, sabotage, folder.to_owned());
    (0..MEMBERS).try_for_each(|_| crew.start())?;
    let generator = Generator::start(&address, &topic, arguments.seed, arguments.rate)?;
    let seconds = arguments.seconds.unwrap_or(arguments.minutes * 60);
    let time = Duration::from_secs(seconds);
    let mut faults = Faults::new(broker, random, time, idle);
    let start = Instant::now();
    while start.elapsed() < time {
        std::thread::sleep(TICK);
        crew.check()?;
        if generator.has_ended() {
            break;
        }
        faults.next(&mut crew, start.elapsed())?;
    }
    let events = generator.end()?;
    finish(&mut crew, &address, &group, &topic)?;
    crew.end()?;
    let dead = dead_letters(&address, &format!("{topic}.dead-letter"))?;
    let run = Run {
        seed: arguments.seed,
        events,
        former: crew.former.clone(),
        outages: faults.outages.clone(),
        dead,
    };
    let mut verdict = Verdict::of(&run)?;
    let scale = |count: u64| count * seconds / 120;
    verdict.require("kills", verdict.kills, scale(KILLS));
    verdict.require("rebalances", verdict.rebalances, scale(REBALANCES));
    let restarts = if time >= WITH_RESTARTS { RESTARTS } else { 0 };
    verdict.require("restarts of the broker", verdict.restarts, restarts);
    Ok(verdict)
}

/// What goes wrong, and when.
struct Faults {
    broker: Broker,
    random: Random,
    next_kill: Duration,
    /// When the broker is restarted.
    restarts: Vec<Duration>,
    kills: u64,
    idle: bool,
    outages: Vec<Outage>,
}

impl Faults {
    fn new(broker: Broker, random: Random, time: Duration, idle: bool) -> Self {
        // The later one first: the last of the list is next. A short run has none: what is done around one may be repeated.
        let restarts =
            if time >= WITH_RESTARTS { vec![time * 2 / 3, time / 3] } else { Vec::new() };
        Self {
            broker,
            random,
            next_kill: KILL_INTERVAL,
            restarts,
            kills: 0,
            idle,
            outages: Vec::new(),
        }
    }

    fn next(&mut self, crew: &mut Crew, elapsed: Duration) -> Result<(), Failure> {
        if self.idle {
            return Ok(());
        }
        if self.restarts.last().is_some_and(|due| *due <= elapsed) {
            self.restarts.pop();
            let from = now_micros();
            self.broker.restart()?;
            self.outages.push(Outage { from, to: now_micros() });
        }
        if self.next_kill <= elapsed {
            let jitter = Duration::from_millis(self.random.below(2 * KILL_JITTER_MILLIS));
            self.next_kill =
                elapsed + KILL_INTERVAL - Duration::from_millis(KILL_JITTER_MILLIS) + jitter;
            let Some(victim) = crew.victim(&self.random) else { return Ok(()) };
            self.kills += 1;
            match self.kills.is_multiple_of(KILLS_PER_REPLACEMENT + 1) {
                true => crew.replace(victim)?,
                false => crew.kill(victim)?,
            }
        }
        Ok(())
    }
}

/// Waits until everything is committed.
fn finish(crew: &mut Crew, brokers: &str, group: &str, topic: &str) -> Result<(), Failure> {
    let limit = Instant::now() + FINISH_LIMIT;
    loop {
        crew.check()?;
        let left = lag(brokers, group, topic)?;
        if left == 0 {
            return Ok(());
        }
        if Instant::now() > limit {
            return Err(format!(
                "{left} events are not committed {FINISH_LIMIT:?} after the last fault"
            )
            .into());
        }
        std::thread::sleep(TICK * 10);
    }
}

/// The events of the dead letters.
fn dead_letters(brokers: &str, topic: &str) -> Result<Vec<u64>, Failure> {
    let numbers = Arc::new(Mutex::new(Vec::new()));
    let found = Arc::clone(&numbers);
    let group = format!("{topic}-reader-{:016x}", Random::from_entropy().next_u64());
    let running = Consumer::new(brokers)
        .group(&group)
        .topic(topic)
        .commit_interval(TICK * 2)
        .each(move |event, _| {
            let event = event.value.and_then(Event::read);
            let event = event.ok_or_else(|| HandlerError::fatal("a value of another program"))?;
            found.lock().unwrap_or_else(PoisonError::into_inner).push(event.number);
            Ok(())
        })
        .start()?;
    let limit = Instant::now() + FINISH_LIMIT;
    while lag(brokers, &group, topic)? > 0 {
        if Instant::now() > limit {
            return Err("the dead letters cannot be read to their end".into());
        }
        std::thread::sleep(TICK);
    }
    running.stop()?;
    let numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(numbers.clone())
}

/// Members that die are missed soon.
fn shorten_sessions(brokers: &str, group: &str) -> Result<(), Failure> {
    let runtime = Runtime::production(Disk::memory());
    let executor = runtime.spawn.executor("soak", 1)?;
    let changes = SESSION_SETTINGS.map(|(name, value)| ConfigChange {
        name: name.to_owned(),
        operation: ConfigOperation::Set(value.to_owned()),
    });
    let config = ClientConfig::new([brokers.to_owned()]);
    executor.block_on(async {
        let client = Client::connect(config, &runtime, executor.clone()).await?;
        let group = ConfigResource::Group(group.to_owned());
        client.alter_configs(&group, &changes, Effect::Apply).await
    })?;
    Ok(())
}
