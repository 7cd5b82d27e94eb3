//! The member processes.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use onrush_runtime::Random;
use rustix::process::{Pid, Signal, kill_process};

use crate::member::Arguments;
use crate::{Failure, now_micros};

/// How long a member may take to drain and leave.
const STOP_LIMIT: Duration = Duration::from_secs(30);
const PROBE: Duration = Duration::from_millis(20);
/// A member that wrote within this is at work.
const RECENT: Duration = Duration::from_millis(500);

/// How a member ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Killed { micros: u64 },
    Left,
}

/// A member that ran, and what it wrote.
#[derive(Debug, Clone)]
pub(crate) struct Former {
    pub(crate) journal: PathBuf,
    pub(crate) end: End,
}

struct Member {
    child: Child,
    journal: PathBuf,
}

impl Member {
    fn works(&self) -> bool {
        let written = std::fs::metadata(&self.journal).and_then(|journal| journal.modified());
        written.is_ok_and(|at| at.elapsed().is_ok_and(|ago| ago < RECENT))
    }
}

/// See the module.
pub(crate) struct Crew {
    template: Arguments,
    sabotage: Option<String>,
    folder: PathBuf,
    started: u32,
    members: Vec<Member>,
    pub(crate) former: Vec<Former>,
}

impl Crew {
    pub(crate) fn new(template: Arguments, sabotage: Option<String>, folder: PathBuf) -> Self {
        Self { template, sabotage, folder, started: 0, members: Vec::new(), former: Vec::new() }
    }

    /// One that has events at work, as its journal says: that it wrote not long ago is as good as can be known.
    pub(crate) fn victim(&self, random: &Random) -> Option<usize> {
        let works = |index: &usize| self.members[*index].works();
        let working: Vec<usize> = (0..self.members.len()).filter(works).collect();
        working.get(random.below(working.len() as u64) as usize).copied()
    }

    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        self.started += 1;
        let journal = self.folder.join(format!("member-{:04}.journal", self.started));
        let log =
            std::fs::File::create(self.folder.join(format!("member-{:04}.log", self.started)))?;
        let Arguments { brokers, topic, group, seed, .. } = &self.template;
        let mut member = Command::new(std::env::current_exe()?);
        member.args(["member", "--brokers", brokers, "--topic", topic, "--group", group]);
        member.args(["--seed", &seed.to_string(), "--journal"]).arg(&journal);
        if let Some(sabotage) = &self.sabotage {
            member.args(["--sabotage", sabotage]);
        }
        let child = member.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        self.members.push(Member { child, journal });
        Ok(())
    }

    /// Fails if a member ended that nobody ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        for member in &mut self.members {
            if let Some(status) = member.child.try_wait()? {
                let log = std::fs::read_to_string(member.journal.with_extension("log"));
                return Err(
                    format!("a member ended ({status}): {}", log.unwrap_or_default()).into()
                );
            }
        }
        Ok(())
    }

    /// Kills a member and starts another one.
    pub(crate) fn kill(&mut self, index: usize) -> Result<(), Failure> {
        let Member { mut child, journal, .. } = self.members.swap_remove(index);
        child.kill()?;
        let micros = now_micros();
        child.wait()?;
        self.former.push(Former { journal, end: End::Killed { micros } });
        self.start()
    }

    /// Lets a member drain and leave, and starts another one once it has.
    pub(crate) fn replace(&mut self, index: usize) -> Result<(), Failure> {
        let mut member = self.members.swap_remove(index);
        terminate(&member.child)?;
        self.start()?;
        left(&mut member)?;
        self.former.push(Former { journal: member.journal, end: End::Left });
        Ok(())
    }

    /// Lets all drain and leave.
    pub(crate) fn end(&mut self) -> Result<(), Failure> {
        self.members.iter().try_for_each(|member| terminate(&member.child))?;
        for mut member in std::mem::take(&mut self.members) {
            left(&mut member)?;
            self.former.push(Former { journal: member.journal, end: End::Left });
        }
        Ok(())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

fn terminate(child: &Child) -> Result<(), Failure> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("no process id")?;
    Ok(kill_process(pid, Signal::TERM)?)
}

fn left(member: &mut Member) -> Result<(), Failure> {
    let limit = Instant::now() + STOP_LIMIT;
    loop {
        match member.child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let log = std::fs::read_to_string(member.journal.with_extension("log"));
                return Err(
                    format!("a member left badly ({status}): {}", log.unwrap_or_default()).into()
                );
            }
            None if Instant::now() > limit => {
                let _ = member.child.kill();
                return Err(format!("a member did not leave in {STOP_LIMIT:?}").into());
            }
            None => std::thread::sleep(PROBE),
        }
    }
}
