//! `--kill`: members are processes, and once a second one of them dies.
//!
//! ```text
//! runs -> stopped (SIGSTOP, and the kernel has said so) -> looked at: its journals, then what the group has committed
//!           nothing uncommitted -> runs on (SIGCONT), and another one is looked at
//!           something uncommitted -> noted (`death`) -> killed (SIGKILL) and reaped -> a new process is started at once
//! ```
//!
//! So at the moment of a kill it is known, not hoped, that the victim holds partitions and has marked events that are not
//! committed; only such kills count. The note is on disk before the signal is sent. The group hears nothing: the victim's
//! partitions go to others when its session of 3 s (`settings`) has ended, the newcomer is a member of its own.
//!
//! Killing goes on while events are sent, and after that until there were as many kills as announced. Fewer than that, and
//! the run has failed.

mod crew;
mod settings;

use std::path::PathBuf;
use std::time::Duration;

use onrush_kafka::TopicPartition;
use onrush_runtime::{Instant, Random};

use super::death::{self, Death, Left};
use super::generator::{Pace, Progress};
use super::journal::file::{JournalFile, held_by, total_entries};
use super::live::Live;
use super::proof::Proof;
use super::results::{JOURNAL_FOLDER, Results};
use super::run::{Run, STOP_LIMIT, Target, failed, next_look};
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crew::Crew;

pub(super) use settings::BROKER_SETTINGS;

/// Events for which a kill is announced.
pub(super) const EVENTS_PER_KILL: u64 = 150_000;
/// Events that are sent in a second, at most.
const EVENTS_PER_SECOND: u32 = 100_000;
/// Members, unless the arguments say how many: with three more whose sessions have not ended yet, there must be one that
/// works.
const MEMBERS: u16 = 4;
/// From one kill to the next at least, and what chance adds: one second in the mean, and no beat with the commits.
const INTERVAL: Duration = Duration::from_millis(750);
const JITTER_MILLIS: u64 = 500;
/// Longer than the sessions that clusters have by default (45 s).
const STALL_LIMIT: Duration = Duration::from_secs(90);

const _: () = assert!(EVENTS_PER_KILL > EVENTS_PER_SECOND as u64);

/// How many kills a run of `events` events has at least.
pub(super) fn announced(events: u64) -> u64 {
    events / EVENTS_PER_KILL
}

pub(super) async fn to_the_end(
    run: &Run<'_>,
    target: &Target,
    interrupt: &mut Interrupt,
) -> Result<(Results, Proof), Failure> {
    if !run.arguments.brokers.is_empty() {
        settings::shorten_sessions(target).await;
    }
    let journals = run.folder.path().join(JOURNAL_FOLDER);
    std::fs::create_dir_all(&journals).map_err(failed("make the folder of the journals"))?;
    let mut crew = Crew::new(run, &target.name, &journals)?;
    for _ in 0..run.arguments.members.unwrap_or(MEMBERS) {
        crew.start()?;
    }
    let start = Instant::now();
    let (producer, progress) = run.generate(target, Pace::PerSecond(EVENTS_PER_SECOND)).await?;
    let mut killing = Killing {
        run,
        target,
        journals,
        crew,
        start,
        due: start + INTERVAL,
        random: Random::from_entropy(),
        kills: 0,
    };
    let outcome = killing.watch(&progress, interrupt).await;
    let elapsed = start.elapsed();
    progress.stop();
    let stopped = tokio::time::timeout(STOP_LIMIT, killing.crew.stop_all()).await;
    outcome?;
    stopped.unwrap_or_else(|_| Err(Failure::new(Exit::Stalled, "the members do not stop")))?;
    producer.close().await;
    run.results(target, elapsed)
}

/// A run in which members are killed.
struct Killing<'a> {
    run: &'a Run<'a>,
    target: &'a Target,
    journals: PathBuf,
    crew: Crew,
    start: Instant,
    /// When the next member dies.
    due: Instant,
    random: Random,
    kills: u64,
}

impl Killing<'_> {
    /// Kills, and shows progress; returns when everything is committed.
    async fn watch(
        &mut self,
        progress: &Progress,
        interrupt: &mut Interrupt,
    ) -> Result<(), Failure> {
        let events = self.run.arguments.events;
        let live = Live::new(events, !self.run.arguments.json);
        let (mut last_marked, mut last_change) = (0, Instant::now());
        loop {
            next_look(progress, interrupt).await?;
            self.crew.check()?;
            let marked = total_entries(&self.journals).map_err(failed("read the journals"))?;
            live.show_kills(progress, marked, self.crew.size(), self.kills);
            if marked != last_marked {
                (last_marked, last_change) = (marked, Instant::now());
            }
            let sent = progress.acknowledged() == events;
            if Instant::now() >= self.due && (!sent || self.kills < announced(events)) {
                self.kill_one().await?;
            }
            if sent && self.target.behind().await?.is_empty() {
                return Ok(());
            }
            if last_change.elapsed() > STALL_LIMIT {
                return Err(self.run.stalled(self.target, progress, marked, STALL_LIMIT).await);
            }
        }
    }

    /// Kills a member that has something to lose, if there is one.
    async fn kill_one(&mut self) -> Result<(), Failure> {
        let mut processes = self.crew.processes();
        while !processes.is_empty() {
            let picked = self.random.below(processes.len() as u64) as usize;
            let process = processes.swap_remove(picked);
            // A member that has marked nothing is left in peace.
            if self.held_by(process)?.iter().all(|journal| journal.entries.is_empty()) {
                continue;
            }
            let looked = match self.crew.stop(process).await {
                Ok(()) => self.look_at(process).await,
                Err(failure) => Err(failure),
            };
            let noted = looked.and_then(|death| self.note(death));
            if !matches!(noted, Ok(Noted::Death)) {
                self.crew.go_on(process)?;
                noted?;
                continue;
            }
            self.crew.kill(process).await?;
            self.kills += 1;
            let jitter = Duration::from_millis(self.random.below(JITTER_MILLIS));
            self.due = Instant::now() + INTERVAL + jitter;
            return self.crew.start();
        }
        Ok(())
    }

    /// What a member that stands still would leave, if it has anything uncommitted.
    async fn look_at(&self, process: u32) -> Result<Option<Death>, Failure> {
        let journals = self.held_by(process)?;
        let Some(first) = journals.first() else { return Ok(None) };
        let partition = |journal: &JournalFile| {
            TopicPartition::new(self.target.name.as_str(), journal.header.partition)
        };
        let partitions: Vec<_> = journals.iter().map(partition).collect();
        let committed = self.target.committed(&partitions).await?;
        let left = journals.iter().filter_map(|journal| {
            let found =
                committed.iter().find(|c| c.partition.partition == journal.header.partition)?;
            Some(Left::new(journal, found.offset, &found.metadata))
        });
        let death = Death {
            kill: self.kills + 1,
            after_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            process,
            member: first.header.member.clone(),
            left: left.collect(),
        };
        Ok(death.left.iter().any(|left| left.uncommitted > 0).then_some(death))
    }

    /// Puts on disk what will be known of a victim.
    fn note(&self, death: Option<Death>) -> Result<Noted, Failure> {
        let Some(death) = death else { return Ok(Noted::Nothing) };
        death::note(self.run.folder.path(), &death).map_err(failed("note a kill"))?;
        Ok(Noted::Death)
    }

    fn held_by(&self, process: u32) -> Result<Vec<JournalFile>, Failure> {
        held_by(&self.journals, process).map_err(failed("read the journals"))
    }
}

/// What came of a look at a member that stands still.
enum Noted {
    /// It has something to lose, and is to die.
    Death,
    /// It has nothing to lose, and lives on.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_a_million_and_a_half_has_ten_kills() {
        assert_eq!([149_999, 150_000, 1_500_000].map(announced), [0, 1, 10]);
    }
}
