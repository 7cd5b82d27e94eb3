//! A task: awaits a handler of its own, with one event after the other.
//!
//! Tasks live as long as their engine, on the runtime of whoever started it, so an event costs no
//! spawn. A task takes the next run when it has nothing to do, calls the handler with its events in
//! order, and hands over what an event emitted when its future has returned `Ok`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use onrush_runtime::Instant;

use super::batch::Batches;
use super::group::TaskInput;
use super::hook;
use super::progress::{Next, Progress};
use super::station::{Called, Station};
use crate::assignment::{Assignment, Holding};
use crate::async_handler::{AsyncHandler, BatchHandler, OwnedEvent};
use crate::failure::{Failure, HandlerError};
use crate::handler::Place;
use crate::lineage::event_time;

/// A task's future.
type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Makes the tasks of an engine, each with a handler of its own.
pub struct Tasks {
    make: Box<dyn Fn(usize, Station) -> Running + Send + Sync>,
}

impl Tasks {
    /// Tasks that give their handler one event after the other.
    pub fn each<H: AsyncHandler + 'static>(
        factory: impl Fn(Place) -> H + Send + Sync + 'static,
    ) -> Self {
        let make = move |number, station| -> Running {
            Box::pin(run(Single(factory(Place::Task(number))), station))
        };
        Self { make: Box::new(make) }
    }

    /// Tasks that give their handler up to `most` events at once.
    pub fn batch<H: BatchHandler + 'static>(
        most: std::num::NonZeroUsize,
        factory: impl Fn(Place) -> H + Send + Sync + 'static,
    ) -> Self {
        let make = move |number, station| -> Running {
            Box::pin(run(Batches::new(factory(Place::Task(number)), most), station))
        };
        Self { make: Box::new(make) }
    }

    /// The task with this number, to be spawned.
    pub fn make(
        &self,
        number: usize,
        station: Station,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        (self.make)(number, station)
    }
}

/// Calls a handler of some kind.
pub(crate) trait Caller: Send {
    fn assigned(&mut self, assignment: &Assignment);
    fn revoked(&mut self, assignment: &Assignment);
    fn has_hooks(&self) -> bool;
    /// Takes what is next and works it off; false if there was nothing.
    fn work(&mut self, station: &mut Station) -> impl Future<Output = bool> + Send;
}

async fn run<C: Caller>(mut caller: C, mut station: Station) {
    station.set_hooks(caller.has_hooks());
    loop {
        station.receive(&mut []);
        run_hooks(&mut caller, &mut station);
        if station.is_closing() {
            return;
        }
        if !caller.work(&mut station).await {
            station.rest().await;
        }
    }
}

fn run_hooks<C: Caller>(caller: &mut C, station: &mut Station) {
    while let Some(input) = station.next_hook() {
        match input {
            TaskInput::Assigned(holding) => announce(caller, station, &holding),
            TaskInput::Revoked(holding, origin) => {
                if station.tell_end(&holding) {
                    hook(&holding.assignment, || caller.revoked(&holding.assignment));
                }
                station.hook_done(origin);
            }
            TaskInput::Withdrawn | TaskInput::Room | TaskInput::Close => {}
        }
    }
}

/// Tells the handler of a partition, if it does not know yet.
pub(crate) fn announce<C: Caller>(caller: &mut C, station: &mut Station, holding: &Arc<Holding>) {
    if !station.tell_once(holding) {
        return;
    }
    if let Some(earlier) = station.take_earlier(holding) {
        hook(&earlier.assignment, || caller.revoked(&earlier.assignment));
    }
    hook(&holding.assignment, || caller.assigned(&holding.assignment));
}

/// One event at a time.
struct Single<H>(H);

/// What is known of an event whose handler did not return `Ok`.
pub(crate) enum Fault {
    Failed(HandlerError),
    /// Its outcome does not count any more.
    Gone,
}

impl<R> Called<Result<R, HandlerError>> {
    pub(crate) fn ok(self) -> Result<R, Fault> {
        match self {
            Called::Returned(result) => result.map_err(Fault::Failed),
            Called::Panicked(error) => Err(Fault::Failed(error)),
            Called::TimedOut(limit) => Err(Fault::Failed(timed_out(limit))),
            Called::Gone => Err(Fault::Gone),
        }
    }
}

pub(crate) fn timed_out(limit: std::time::Duration) -> HandlerError {
    HandlerError::msg(format!("the handler did not return within {limit:?}; it was cancelled"))
}

impl<H: AsyncHandler> Single<H> {
    /// Runs the next event and says when it was called; `Err` with its failure, or without one when
    /// the run is at its end.
    async fn next(
        &mut self,
        station: &mut Station,
        progress: &mut Progress,
    ) -> Result<Instant, Option<Failure>> {
        let (now, failures) = (station.now(), progress.failures());
        let (event, cx) = match progress.next() {
            Next::Event(started) => (
                OwnedEvent::new(&started, 0, failures),
                station.outbox.open(now, event_time(started.holding, &started.record), failures),
            ),
            Next::Ended => return Err(None),
            Next::Withdrawn => {
                station.flush();
                return Err(None);
            }
            Next::Unreadable(error) => return Err(progress.failure(error)),
        };
        let runs = std::slice::from_mut(progress);
        let called = station.call(runs, now, || self.0.each(event, cx)).await.ok();
        let emitted = station.outbox.close();
        let ended = match called {
            Ok(()) if emitted => {
                let settled = [runs[0].settled()];
                match station.hand_over(runs, &settled, u32::MAX).await {
                    Some(Ok(waits)) => {
                        if !waits {
                            progress.done();
                        }
                        progress.step();
                        return Ok(now);
                    }
                    Some(Err(error)) => Fault::Failed(error),
                    None => Fault::Gone,
                }
            }
            Ok(()) => {
                progress.done();
                progress.step();
                return Ok(now);
            }
            Err(fault) => fault,
        };
        station.outbox.clear();
        match ended {
            Fault::Failed(error) => Err(progress.failure(error)),
            Fault::Gone => {
                progress.step();
                Err(None)
            }
        }
    }
}

impl<H: AsyncHandler> Caller for Single<H> {
    fn assigned(&mut self, assignment: &Assignment) {
        self.0.assigned(assignment);
    }

    fn revoked(&mut self, assignment: &Assignment) {
        self.0.revoked(assignment);
    }

    fn has_hooks(&self) -> bool {
        self.0.has_hooks()
    }

    async fn work(&mut self, station: &mut Station) -> bool {
        let Some(mut progress) = station.take() else { return false };
        announce(self, station, &progress.run().holding);
        let failed = loop {
            match self.next(station, &mut progress).await {
                Ok(called) => {
                    let now = station.now();
                    // One that took too long was cancelled.
                    progress.took(now.saturating_duration_since(called), None);
                    if progress.has_news() && progress.is_report_due(now) && progress.has_rest() {
                        station.report(progress.report(now));
                    }
                }
                Err(failed) => break failed,
            }
        };
        let now = station.now();
        station.report(progress.end(now, failed));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use onrush_runtime::{Clock, Wake};

    use super::super::Lanes;
    use super::super::group::{Group, Team};
    use super::super::station::StationConfig;
    use super::*;
    use crate::assignment::Origin;
    use crate::emit::Emitter;
    use crate::emit::testing::TestOutlet;
    use crate::inbox::Inbox;
    use crate::pool::{Pool, Taker};

    fn station() -> (Station, Arc<Inbox<TaskInput>>) {
        let inbox = Arc::new(Inbox::new(Wake::new()));
        let team = Team {
            number: 0,
            inbox: Arc::new(Inbox::new(Wake::new())),
            tasks: vec![Arc::clone(&inbox)],
            lanes: Lanes(Vec::new()),
            control: Arc::new(Inbox::new(Wake::new())),
            clock: Clock::System,
        };
        let taker = Taker { wake: inbox.wake().clone(), emitter: 0 };
        let config = StationConfig {
            number: 0,
            group: Arc::new(Group::new(team, Emitter::new(Box::new(TestOutlet::new(1))))),
            inbox: Arc::clone(&inbox),
            pool: Arc::new(Pool::new(vec![taker])),
            time_limit: None,
        };
        (Station::new(config), inbox)
    }

    fn holding(token: u64) -> Arc<Holding> {
        let (topic, member) = ("flights".into(), "member".into());
        let epoch = token as i32;
        let assignment = Assignment { topic, partition: 0, epoch, start: 0, member };
        Arc::new(Holding::new(assignment, token))
    }

    /// What it was told: an epoch, negative at its end.
    #[derive(Default)]
    struct Told(Vec<i32>);

    impl Caller for Told {
        fn assigned(&mut self, assignment: &Assignment) {
            self.0.push(assignment.epoch);
        }

        fn revoked(&mut self, assignment: &Assignment) {
            self.0.push(-assignment.epoch);
        }

        fn has_hooks(&self) -> bool {
            true
        }

        async fn work(&mut self, _: &mut Station) -> bool {
            false
        }
    }

    #[test]
    fn a_later_assignment_is_told_after_the_end_of_the_earlier_one() {
        let ((mut station, inbox), mut caller) = (station(), Told::default());
        let (earlier, later, unknown) = (holding(1), holding(2), holding(3));
        let origin = |token| Origin { lane: 0, index: 0, token };
        announce(&mut caller, &mut station, &earlier);
        // A run of the later one is here before any message.
        announce(&mut caller, &mut station, &later);
        assert_eq!(caller.0, [1, -1, 2]);
        inbox.push(TaskInput::Revoked(earlier, origin(1)));
        inbox.push(TaskInput::Assigned(Arc::clone(&later)));
        inbox.push(TaskInput::Revoked(later, origin(2)));
        inbox.push(TaskInput::Revoked(unknown, origin(3)));
        station.receive(&mut []);
        run_hooks(&mut caller, &mut station);
        assert_eq!(caller.0, [1, -1, 2, -2]);
    }

    /// Panics when it is dropped.
    struct Bomb(Poll<()>);

    impl Future for Bomb {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            self.0
        }
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("asked to");
        }
    }

    #[tokio::test]
    async fn a_panic_while_a_future_is_dropped_ends_no_task() {
        let (mut station, _inbox) = station();
        let now = station.now();
        let called = station.call(&mut [], now, || Bomb(Poll::Ready(()))).await;
        assert!(matches!(called, Called::Panicked(_)));
        let called = station.call(&mut [], now, || Bomb(Poll::Pending)).await;
        assert!(matches!(called, Called::Gone));
    }
}
