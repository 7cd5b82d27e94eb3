//! Threads and executors.
//!
//! In production a [`Work`] (a lane or a worker) is a thread that loops `run_once` and parks; an [`Executor`] is a
//! tokio runtime of its own. In the simulation both are tasks of the one simulated thread: which runnable part goes
//! next is drawn by delaying parts for a few virtual milliseconds, and [`Process::crash`] ends all parts of a process
//! at once.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, Sleep};

use crate::{Random, Wake};

/// A synchronous part of the engine that a driver runs: a lane or a worker.
pub trait Work: Send + 'static {
    /// Does what is there to do, without blocking, and says what it waits for.
    fn run_once(&mut self, now: Instant) -> Step;
}

/// What a [`Work`] wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call again at once.
    Worked,
    /// Call again when woken, or at `until`.
    Idle {
        /// When to call again although nobody woke it.
        until: Option<Instant>,
    },
    /// Never call again.
    Done,
}

/// How a process gets threads and executors.
#[derive(Clone, Debug)]
pub enum Spawn {
    /// Real ones.
    Threads,
    /// Tasks of a simulated process.
    Process(Process),
}

impl Spawn {
    /// Real threads and tokio runtimes.
    pub fn threads() -> Self {
        Self::Threads
    }

    /// An executor with `threads` threads of its own, named `name`.
    ///
    /// # Errors
    /// The operating system refused a thread or an event queue.
    pub fn executor(&self, name: &str, threads: usize) -> io::Result<Executor> {
        match self {
            Self::Threads => {
                let runtime = Builder::new_multi_thread()
                    .worker_threads(threads.max(1))
                    .thread_name(name)
                    .enable_all()
                    .build()?;
                Ok(Executor::Threads(Arc::new(OwnedRuntime(Some(runtime)))))
            }
            Self::Process(process) => Ok(Executor::Process(process.clone())),
        }
    }

    /// Runs `work` until it is done, on a thread (or task) named `name`, woken through `wake`.
    ///
    /// # Errors
    /// The operating system refused a thread.
    pub fn work(&self, name: String, wake: Wake, work: Box<dyn Work>) -> io::Result<WorkHandle> {
        match self {
            Self::Threads => {
                let (ended, end) = tokio::sync::oneshot::channel();
                std::thread::Builder::new().name(name).spawn(move || {
                    wake.bind_thread();
                    run_thread(work, &wake);
                    // Not reached when `run_once` panics: the dropped sender tells.
                    let _ = ended.send(());
                })?;
                Ok(WorkHandle::Thread(end))
            }
            Self::Process(process) => {
                let task = run_task(work, wake, process.clone());
                Ok(WorkHandle::Task(process.spawn(task)))
            }
        }
    }
}

fn run_thread(mut work: Box<dyn Work>, wake: &Wake) {
    loop {
        match work.run_once(Instant::now()) {
            Step::Worked => {}
            Step::Idle { until } => wake.park(until),
            Step::Done => return,
        }
    }
}

async fn run_task(mut work: Box<dyn Work>, wake: Wake, process: Process) {
    loop {
        let step = work.run_once(Instant::now());
        let stalled = process.take_stall();
        if !stalled.is_zero() {
            tokio::time::sleep(stalled).await;
        }
        match step {
            // A lane that is never done in one go must not hide the passing of time from the rest.
            Step::Worked if process.random.chance(1, 8) => {
                tokio::time::sleep(Duration::from_millis(1)).await
            }
            Step::Worked => tokio::task::yield_now().await,
            Step::Idle { until: None } => wake.notified().await,
            Step::Idle { until: Some(until) } => {
                let _ = tokio::time::timeout_at(until, wake.notified()).await;
            }
            Step::Done => return,
        }
    }
}

/// A lane or worker that runs.
#[derive(Debug)]
pub enum WorkHandle {
    /// On a thread.
    Thread(tokio::sync::oneshot::Receiver<()>),
    /// On a simulated process's task.
    Task(JoinHandle<()>),
}

impl WorkHandle {
    /// Waits for the end; false if it panicked (or its process crashed).
    pub async fn join(self) -> bool {
        match self {
            Self::Thread(end) => end.await.is_ok(),
            Self::Task(task) => task.await.is_ok(),
        }
    }
}

/// Runs futures.
#[derive(Clone, Debug)]
pub enum Executor {
    /// A tokio runtime with threads of its own; it ends when the last clone is dropped.
    Threads(Arc<OwnedRuntime>),
    /// Whatever runtime the caller is in (the command's `main`, a test).
    Current(Handle),
    /// The simulated process.
    Process(Process),
}

impl Executor {
    /// The runtime that the caller is in. For drivers and tests.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn current() -> Self {
        Self::Current(Handle::current())
    }

    /// Starts `future`.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(match self {
            Self::Threads(runtime) => runtime.handle().spawn(future),
            Self::Current(handle) => handle.spawn(future),
            Self::Process(process) => process.spawn(future),
        })
    }

    /// Runs `future` on the calling thread until it ends. For drivers: never inside of asynchronous code.
    ///
    /// # Panics
    /// In the simulation, which has one thread that must not be blocked.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        match self {
            Self::Threads(runtime) => runtime.handle().block_on(future),
            Self::Current(handle) => handle.block_on(future),
            Self::Process(_) => panic!("block_on would stop the simulation's only thread"),
        }
    }
}

/// A tokio runtime that may be dropped anywhere: it does not wait for its tasks.
#[derive(Debug)]
pub struct OwnedRuntime(Option<tokio::runtime::Runtime>);

impl OwnedRuntime {
    fn handle(&self) -> &Handle {
        // `None` only inside of `drop`, which has the only reference.
        self.0.as_ref().map(tokio::runtime::Runtime::handle).expect("runtime is alive until drop")
    }
}

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A future that runs. Dropping it lets the future run on.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Task {
    /// Ends the future at its next await.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Waits for the end; false if it panicked or was aborted.
    pub async fn join(self) -> bool {
        self.0.await.is_ok()
    }

    /// Whether the future has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

/// A simulated process: a set of tasks of the simulation's thread that can be killed together.
#[derive(Clone, Debug)]
pub struct Process {
    random: Random,
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
    /// Asked for by the part that is being run, of which there is one.
    stall: Arc<Mutex<Duration>>,
}

impl Process {
    /// A process without tasks; `random` decides how its parts interleave.
    pub fn new(random: Random) -> Self {
        Self { random, tasks: Arc::default(), stall: Arc::default() }
    }

    /// The lane or worker that is being run goes on after `duration` only, as if its thread had blocked.
    pub fn stall(&self, duration: Duration) {
        *self.stall.lock().unwrap_or_else(PoisonError::into_inner) += duration;
    }

    fn take_stall(&self) -> Duration {
        std::mem::take(&mut *self.stall.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends every task of the process. The caller cuts network and disk before, so that no destructor says goodbye.
    pub fn crash(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let jittered =
            Jittered { future: Box::pin(future), pause: None, random: self.random.clone() };
        let task = Handle::current().spawn(jittered);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task.abort_handle());
        task
    }
}

/// Polls a future after a drawn pause, so that the order in which runnable parts go on is the seed's.
struct Jittered<F> {
    future: Pin<Box<F>>,
    pause: Option<Pin<Box<Sleep>>>,
    random: Random,
}

impl<F: Future> Future for Jittered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.pause.is_none() && self.random.chance(1, 8) {
            let pause = Duration::from_millis(1 + self.random.below(3));
            self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        }
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        self.future.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct CountDown(u32, Arc<AtomicU32>, Wake);

    impl Work for CountDown {
        fn run_once(&mut self, _now: Instant) -> Step {
            self.1.fetch_add(1, Ordering::Relaxed);
            match self.0 {
                0 => Step::Done,
                _ => {
                    self.0 -= 1;
                    self.2.wake();
                    Step::Idle { until: None }
                }
            }
        }
    }

    async fn runs_to_its_end(spawn: Spawn) {
        let (calls, wake) = (Arc::new(AtomicU32::new(0)), Wake::new());
        let work = CountDown(3, calls.clone(), wake.clone());
        assert!(spawn.work("lane".into(), wake, Box::new(work)).unwrap().join().await);
        assert_eq!(calls.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn work_runs_to_its_end_on_a_thread() {
        runs_to_its_end(Spawn::threads()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn work_runs_to_its_end_in_a_process() {
        runs_to_its_end(Spawn::Process(Process::new(Random::seeded(1)))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_ends_every_part() {
        let process = Process::new(Random::seeded(1));
        let executor = Executor::Process(process.clone());
        let task = executor.spawn(std::future::pending());
        process.crash();
        assert!(!task.join().await);
    }

    #[tokio::test]
    async fn a_panicking_work_is_told() {
        struct Panics;
        impl Work for Panics {
            fn run_once(&mut self, _now: Instant) -> Step {
                panic!("handler")
            }
        }
        let handle = Spawn::threads().work("lane".into(), Wake::new(), Box::new(Panics)).unwrap();
        assert!(!handle.join().await);
    }
}
