//! The thread in which a simulation runs, and the hosts of its network.
//!
//! Time is tokio's paused clock: it stands while anything can run, and then jumps to the next timer.

use std::future::Future;

use tokio::runtime::Builder;

use crate::disk::Disk;
use crate::net::{Faults, MemoryNet};
use crate::spawn::Process;
use crate::{Clock, Executor, Net, Random, Runtime, Spawn, Trace};

/// A thread with a time of its own: the one that calls.
#[derive(Debug)]
pub struct Simulation {
    runtime: tokio::runtime::Runtime,
}

impl Default for Simulation {
    fn default() -> Self {
        Self::new()
    }
}

impl Simulation {
    /// A simulation in which nothing runs yet.
    ///
    /// # Panics
    /// Never: without sockets and signals a runtime needs nothing that the system could refuse.
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        Self { runtime: runtime.expect("a tokio runtime in memory") }
    }

    /// Runs `future` to its end, and all that was started beside it as long as that takes.
    ///
    /// # Panics
    /// Inside of asynchronous code.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// The hosts of a simulated network.
#[derive(Clone, Debug)]
pub struct Hosts {
    net: MemoryNet,
    clock: Clock,
    random: Random,
}

impl Hosts {
    /// A network without hosts, whose time starts now. Inside of [`Simulation::run`].
    pub fn new(random: Random, faults: Faults, trace: Trace) -> Self {
        let net = MemoryNet::new(random.fork(), faults, trace);
        Self { net, clock: Clock::simulated(), random }
    }

    /// What connects them.
    pub fn net(&self) -> &MemoryNet {
        &self.net
    }

    /// Their time.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// A process that starts on the host of this name, with this disk.
    pub fn process(&self, host: &str, disk: Disk) -> Host {
        let process = Process::new(self.random.fork());
        let runtime = Runtime {
            net: Net::Memory(self.net.host(host)),
            disk,
            clock: self.clock,
            random: self.random.fork(),
            spawn: Spawn::Process(process.clone()),
        };
        Host { runtime, process }
    }
}

/// A process with the machine as it sees it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its seams.
    pub runtime: Runtime,
    /// What runs in it.
    pub process: Process,
}

impl Host {
    /// Runs futures in the process.
    pub fn executor(&self) -> Executor {
        Executor::Process(self.process.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::{Step, Wake, Work};

    #[test]
    fn time_jumps_to_the_next_timer() {
        let simulation = Simulation::new();
        let slept = simulation.run(async {
            let start = Instant::now();
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            start.elapsed()
        });
        assert_eq!(slept.as_secs(), 3_600);
    }

    struct Slow(Process, u32);

    impl Work for Slow {
        fn run_once(&mut self, _now: Instant) -> Step {
            self.0.stall(Duration::from_secs(10));
            self.1 -= 1;
            if self.1 == 0 { Step::Done } else { Step::Worked }
        }
    }

    #[test]
    fn a_stall_holds_up_the_work_that_asked_for_it_and_nothing_else() {
        let took = Simulation::new().run(async {
            let faults = Faults { max_delay_millis: 0, split_reads: false };
            let hosts = Hosts::new(Random::seeded(1), faults, Trace::off());
            let host = hosts.process("a", Disk::memory());
            let start = Instant::now();
            let slow = Slow(host.process.clone(), 3);
            let slow = host.runtime.spawn.work("slow".into(), Wake::new(), Box::new(slow)).unwrap();
            host.executor().spawn(async {}).join().await;
            let other = start.elapsed();
            assert!(slow.join().await);
            (other, start.elapsed())
        });
        assert!(took.0 < Duration::from_secs(1), "{took:?}");
        assert!(took.1 >= Duration::from_secs(30), "{took:?}");
    }
}
