//! Runs that wait for whoever is idle.
//!
//! Lanes give runs, *takers* (worker threads, or tasks) take them when they have nothing else to
//! do. A run of a slot that waits for acknowledgements may go only to takers that emit through the
//! same emitter; any other goes to whoever comes first, so a handler that never returns holds back
//! its own slot and nothing else.
//!
//! A taker that finds nothing is entered as idle under the same lock, so a run that comes after
//! always wakes somebody (trap 36: no wake-up rests on an edge that may have passed). The last one
//! that became idle is woken first: what it works with is still warm.

mod turns;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use onrush_runtime::Wake;

use crate::assignment::Origin;
use crate::slot::Run;
use turns::Turns;

/// Who takes runs.
#[derive(Debug, Clone)]
pub struct Taker {
    /// Wakes it.
    pub wake: Wake,
    /// What it emits through; takers may share one.
    pub emitter: usize,
}

/// A run, and the emitter that it is bound to.
pub type Given = (Option<usize>, Run);

#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    idle: bool,
    /// It is on its emitter's list, maybe from an earlier rest.
    listed: bool,
}

#[derive(Debug, Default)]
struct Queues {
    free: Turns,
    /// By emitter.
    bound: Vec<VecDeque<Run>>,
    rests: Vec<Rest>,
    /// Takers that rest, by emitter, the last one on top.
    idle: Vec<Vec<usize>>,
    /// Whose turn it is to get a free run.
    next: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Pool {
    takers: Vec<Taker>,
    queues: Mutex<Queues>,
}

impl Pool {
    /// An empty pool for these takers.
    pub fn new(takers: Vec<Taker>) -> Self {
        let emitters = takers.iter().map(|taker| taker.emitter + 1).max().unwrap_or(0);
        let queues = Queues {
            free: Turns::default(),
            bound: std::iter::repeat_with(VecDeque::new).take(emitters).collect(),
            rests: vec![Rest::default(); takers.len()],
            idle: vec![Vec::new(); emitters],
            next: 0,
        };
        Self { takers, queues: Mutex::new(queues) }
    }

    /// How many take from it.
    pub fn takers(&self) -> usize {
        self.takers.len()
    }

    /// Adds runs, and wakes takers for them.
    pub fn give(&self, runs: &mut Vec<Given>) {
        let mut woken = Vec::new();
        {
            let mut queues = self.locked();
            for (emitter, run) in runs.drain(..) {
                match emitter {
                    Some(emitter) => {
                        queues.bound[emitter].push_back(run);
                        woken.extend(queues.rouse(emitter));
                    }
                    None => {
                        queues.free.push(run);
                        woken.extend(queues.rouse_any());
                    }
                }
            }
        }
        woken.into_iter().for_each(|taker| self.takers[taker].wake.wake());
    }

    /// The next run for this taker. Without one it is woken when there is.
    pub fn take(&self, taker: usize) -> Option<Run> {
        let mut queues = self.locked();
        let run = queues.pop(self.takers[taker].emitter);
        queues.rest(taker, self.takers[taker].emitter, run.is_none());
        run
    }

    /// Runs of `events` in all for this taker, of the last one maybe more than that. Without any it
    /// is woken when there are some.
    pub fn take_up_to(&self, taker: usize, events: u64, taken: &mut Vec<Run>) {
        let (mut queues, mut count) = (self.locked(), 0);
        while count < events
            && let Some(run) = queues.pop(self.takers[taker].emitter)
        {
            count += run.events();
            taken.push(run);
        }
        queues.rest(taker, self.takers[taker].emitter, taken.is_empty());
    }

    /// Takes back what nobody has taken of an assignment.
    pub fn recall(&self, origin: Origin) -> Vec<Run> {
        let mut queues = self.locked();
        let Queues { free, bound, .. } = &mut *queues;
        let mut recalled = Vec::new();
        free.recall(origin, &mut recalled);
        for queue in bound {
            let all = std::mem::take(queue);
            let (ours, others): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|run| run.origin == origin);
            recalled.extend(ours);
            queue.extend(others);
        }
        recalled
    }

    /// Runs that nobody has taken.
    pub fn waiting(&self) -> usize {
        let queues = self.locked();
        queues.free.len() + queues.bound.iter().map(VecDeque::len).sum::<usize>()
    }

    fn locked(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn pop(&mut self, emitter: usize) -> Option<Run> {
        self.bound[emitter].pop_front().or_else(|| self.free.pop())
    }

    fn rest(&mut self, taker: usize, emitter: usize, idle: bool) {
        let rest = &mut self.rests[taker];
        rest.idle = idle;
        if idle && !rest.listed {
            rest.listed = true;
            self.idle[emitter].push(taker);
        }
    }

    /// A taker of this emitter that rests, and now no longer does.
    fn rouse(&mut self, emitter: usize) -> Option<usize> {
        while let Some(taker) = self.idle[emitter].pop() {
            let rest = &mut self.rests[taker];
            rest.listed = false;
            if std::mem::take(&mut rest.idle) {
                return Some(taker);
            }
        }
        None
    }

    fn rouse_any(&mut self) -> Option<usize> {
        for _ in 0..self.idle.len() {
            let emitter = self.next;
            self.next = (emitter + 1) % self.idle.len();
            if let Some(taker) = self.rouse(emitter) {
                return Some(taker);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use onrush_record::Compression;

    use super::*;
    use crate::assignment::{Assignment, Holding};
    use crate::slot::{Piece, Round};
    use crate::source::testing::{batch, slice};
    use crate::source::{Opener, Source};

    fn run(slot: u32, token: u64) -> Run {
        run_of(0, slot, token)
    }

    fn run_of(index: u32, slot: u32, token: u64) -> Run {
        let (mut source, mut opener) = (Source::default(), Opener::new(1 << 20));
        let value = b"value".as_slice();
        source.push(slice([batch(0, Compression::None, &[(None, value); 4])], 4));
        let batch = Arc::new(source.next(&mut opener).unwrap().unwrap());
        let round = Arc::new(Round { batch, positions: vec![0; 4] });
        let (topic, member) = ("flights".into(), "member".into());
        let assignment = Assignment { topic, partition: 0, epoch: 1, start: 0, member };
        let pieces = VecDeque::from([Piece { round, start: 0, end: 4 }]);
        Run {
            holding: Arc::new(Holding::new(assignment, token)),
            origin: Origin { lane: 0, index, token },
            slot,
            pieces,
            retried: None,
        }
    }

    /// Two emitters with two takers each.
    fn pool() -> Pool {
        let taker = |emitter| Taker { wake: Wake::new(), emitter };
        Pool::new([0, 0, 1, 1].map(taker).to_vec())
    }

    fn is_woken(pool: &Pool, taker: usize) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        pool.takers[taker].wake.poll_woken(&mut context).is_ready()
    }

    #[test]
    fn a_bound_run_goes_to_its_emitter_and_a_free_one_to_anybody() {
        let pool = pool();
        pool.give(&mut vec![(Some(1), run(7, 1)), (None, run(8, 1))]);
        assert_eq!(pool.take(0).map(|run| run.slot), Some(8));
        assert!(pool.take(1).is_none());
        assert_eq!(pool.take(3).map(|run| run.slot), Some(7));
        assert_eq!(pool.waiting(), 0);
    }

    #[test]
    fn trap_36_every_run_wakes_a_taker_that_rests_and_only_one() {
        let pool = pool();
        (0..4).for_each(|taker| assert!(pool.take(taker).is_none()));
        pool.give(&mut vec![(Some(0), run(1, 1))]);
        assert_eq!(
            (0..4).map(|taker| is_woken(&pool, taker)).collect::<Vec<_>>(),
            [false, true, false, false]
        );
        pool.give(&mut vec![(None, run(2, 1)), (None, run(3, 1)), (None, run(4, 1))]);
        let woken = (0..4).filter(|taker| is_woken(&pool, *taker)).collect::<Vec<_>>();
        assert_eq!(woken, [0, 2, 3]);
        // Who was woken and finds nothing rests again, and is woken again.
        assert!((0..4).all(|taker| pool.take(taker).is_some()));
        assert!(pool.take(2).is_none() && pool.take(2).is_none());
        pool.give(&mut vec![(None, run(5, 1))]);
        assert!(is_woken(&pool, 2));
    }

    #[test]
    fn trap_35_a_partition_that_comes_later_does_not_wait_behind_the_runs_of_others() {
        let pool = pool();
        pool.give(&mut (0..100).map(|slot| (None, run(slot, 1))).collect());
        pool.give(&mut vec![(None, run_of(1, 200, 2)), (None, run_of(3, 300, 3))]);
        let next: Vec<_> = (0..5).filter_map(|_| pool.take(0)).map(|run| run.slot).collect();
        assert_eq!(next, [0, 200, 300, 1, 2]);
        let origin = Origin { lane: 0, index: 0, token: 1 };
        assert_eq!((pool.recall(origin).len(), pool.waiting()), (97, 0));
        assert!(pool.take(0).is_none());
    }

    #[test]
    fn what_nobody_has_taken_can_be_recalled() {
        let pool = pool();
        pool.give(&mut vec![(None, run(1, 1)), (Some(1), run(2, 1)), (None, run(3, 2))]);
        let origin = Origin { lane: 0, index: 0, token: 1 };
        assert_eq!(pool.recall(origin).iter().map(|run| run.slot).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(pool.take(2).map(|run| run.slot), Some(3));
    }

    #[test]
    fn a_batch_takes_as_many_runs_as_it_has_room_for() {
        let pool = pool();
        pool.give(&mut (0..5).map(|slot| (None, run(slot, 1))).collect());
        let mut taken = Vec::new();
        pool.take_up_to(0, 9, &mut taken);
        assert_eq!((taken.len(), pool.waiting()), (3, 2));
    }
}
