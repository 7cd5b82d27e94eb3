//! The member processes: this binary's hidden command `demo-member`, ended with whoever started it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::ValueEnum;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::super::command::SabotageArgument;
use super::super::member;
use super::super::run::{Run, failed};
use crate::failure::{Exit, Failure};

/// From SIGSTOP to the kernel's word that all threads stand still.
const STAND_STILL_LIMIT: Duration = Duration::from_secs(5);
const STAND_STILL_TICK: Duration = Duration::from_millis(1);

/// The members that run.
pub(super) struct Crew {
    launch: Launch,
    running: Vec<Child>,
}

/// How a member is started.
struct Launch {
    program: PathBuf,
    brokers: String,
    name: String,
    journals: PathBuf,
    events: u64,
    sabotage: Option<SabotageArgument>,
}

impl Crew {
    /// Nobody yet, of the group `name` that reads the topic `name`.
    pub(super) fn new(run: &Run<'_>, name: &str, journals: &Path) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(failed("find this program's own file"))?;
        let launch = Launch {
            program,
            brokers: run.brokers.join(","),
            name: name.to_owned(),
            journals: journals.to_owned(),
            events: run.arguments.events,
            sabotage: run.arguments.sabotage,
        };
        Ok(Self { launch, running: Vec::new() })
    }

    /// Adds a member.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        let child = self.launch.command().spawn().map_err(failed("start a member"))?;
        self.running.push(child);
        Ok(())
    }

    /// How many members run.
    pub(super) fn size(&self) -> usize {
        self.running.len()
    }

    /// Ids of their processes.
    pub(super) fn processes(&self) -> Vec<u32> {
        self.running.iter().filter_map(Child::id).collect()
    }

    /// An error if a member has ended although nobody asked it to.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        for child in &mut self.running {
            if let Some(status) = child.try_wait().map_err(failed("look after a member"))? {
                let said = "what it said stands above";
                return Err(Failure::new(
                    Exit::Wrong,
                    format!("a member ended early ({status}); {said}"),
                ));
            }
        }
        Ok(())
    }

    /// Makes a member stand still, all of its threads.
    pub(super) async fn stop(&self, process: u32) -> Result<(), Failure> {
        signal(process, Signal::STOP)?;
        let stands_still = async {
            let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
            loop {
                let status = waitid(WaitId::Pid(pid(process)?), options)
                    .map_err(failed("wait for a member to stand still"))?;
                if status.is_some_and(|status| status.stopped()) {
                    return Ok(());
                }
                tokio::time::sleep(STAND_STILL_TICK).await;
            }
        };
        let limit = tokio::time::timeout(STAND_STILL_LIMIT, stands_still).await;
        limit.unwrap_or_else(|_| {
            Err(Failure::new(Exit::Stalled, "a member does not stand still after SIGSTOP"))
        })
    }

    /// Lets a member go on that stands still.
    pub(super) fn go_on(&self, process: u32) -> Result<(), Failure> {
        signal(process, Signal::CONT)
    }

    /// Kills a member and waits for its end.
    pub(super) async fn kill(&mut self, process: u32) -> Result<(), Failure> {
        let Some(index) = self.running.iter().position(|child| child.id() == Some(process)) else {
            return Err(Failure::new(
                Exit::Wrong,
                "a member that was to be killed has ended before",
            ));
        };
        self.running.swap_remove(index).kill().await.map_err(failed("kill a member"))
    }

    /// All members drain, commit and leave.
    pub(super) async fn stop_all(&mut self) -> Result<(), Failure> {
        for child in &mut self.running {
            if let Some(stdin) = &mut child.stdin {
                // One that cannot be told any more has ended, which is seen below.
                let _ = stdin.write_all(member::STOP.as_bytes()).await;
            }
        }
        let mut outcome = Ok(());
        while let Some(mut child) = self.running.pop() {
            let status = child.wait().await.map_err(failed("wait for a member"));
            outcome = outcome.and(status.and_then(|status| match status.success() {
                true => Ok(()),
                false => Err(Failure::new(Exit::Wrong, format!("a member failed ({status})"))),
            }));
        }
        outcome
    }
}

impl Launch {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args([member::COMMAND, "--brokers", &self.brokers, "--name", &self.name]);
        command.arg("--journals").arg(&self.journals);
        command.arg("--events").arg(self.events.to_string());
        if let Some(value) = self.sabotage.and_then(|sabotage| sabotage.to_possible_value()) {
            command.arg("--sabotage").arg(value.get_name());
        }
        // As for the broker: the pipe ends a member with this process, and Ctrl-C at the terminal is for this one alone.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
        command
    }
}

fn signal(process: u32, signal: Signal) -> Result<(), Failure> {
    kill_process(pid(process)?, signal).map_err(failed("send a signal to a member"))
}

fn pid(process: u32) -> Result<Pid, Failure> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| Failure::unavailable(format!("{process} is no process id")))
}
