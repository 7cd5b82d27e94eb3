//! Events that are dead-lettered by hand.

use super::*;

type Answer = Arc<Inbox<Option<Result<(), String>>>>;

fn told(answer: &Answer) -> Option<Result<(), String>> {
    let mut told = VecDeque::new();
    answer.take(&mut told);
    told.pop_front().expect("every lane answers")
}

impl Bench {
    fn ask(&mut self, partition: i32, offset: i64) -> Answer {
        let answer = Arc::new(Inbox::new(Wake::new()));
        let (partition, asked) = (Self::name(partition), Arc::clone(&answer));
        self.inbox.push(LaneInput::Settle { partition, offset, answer: asked });
        answer
    }

    fn by_hand(&mut self, partition: i32, offset: i64) -> Option<Result<(), String>> {
        let answer = self.ask(partition, offset);
        self.settle();
        told(&answer)
    }
}

/// Key 4 of ten: offsets 4 and 14.
#[test]
fn an_event_that_is_tried_again_and_again_lets_the_commit_and_its_key_go_on() {
    for workers in [0, 2] {
        let mut bench = Bench::new(workers, Order::Key);
        bench.policy(|policy| {
            policy.retry = RetryPolicy { attempts: None, ..RetryPolicy::default() }
        });
        bench.script.lock().unwrap().fail = vec![4];
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 20);
        bench.settle();
        assert_eq!(bench.proposals()[&0].0, 4);
        assert!(!bench.offsets(0).contains(&14), "it waits behind 4");
        assert_eq!(bench.by_hand(0, 4), Some(Ok(())));
        bench.pass_time(Duration::from_secs(30));
        assert_eq!(bench.proposals()[&0].0, 20);
        assert!(bench.offsets(0).contains(&14));
        let tries = bench.offsets(0).iter().filter(|offset| **offset == 4).count();
        assert_eq!(tries, 1, "it is tried no more");
        let counts = bench.metrics.snapshot().total;
        assert_eq!((counts.done, counts.dead_lettered), (19, 1));
    }
}

#[test]
fn an_event_at_work_is_passed_by_the_commit_and_counts_once() {
    let mut bench = Bench::new(1, Order::Key);
    bench.script.lock().unwrap().takes = 60_000;
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 1);
    bench.settle();
    assert!(bench.proposal().is_none_or(|proposal| proposal.offset == 0));
    assert_eq!(bench.by_hand(0, 0), Some(Ok(())));
    assert_eq!(bench.proposals()[&0].0, 1);
    bench.pass_time(Duration::from_secs(61));
    let counts = bench.metrics.snapshot().total;
    assert_eq!((counts.done, counts.dead_lettered), (0, 1), "what its handler says does not count");
    bench.fetched(0, 1, 1, 10);
    (0..12).for_each(|_| bench.pass_time(Duration::from_secs(61)));
    assert_eq!(bench.metrics.snapshot().total.done, 10, "its slot and its worker go on");
}

#[test]
fn an_event_at_work_that_fails_after_all_is_not_tried_again() {
    let mut bench = Bench::new(1, Order::Key);
    bench.policy(|policy| policy.retry = RetryPolicy { attempts: None, ..RetryPolicy::default() });
    bench.script.lock().unwrap().fail = vec![0];
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 1);
    // The lane gives it away, the worker has not called it yet.
    while bench.step(0) {}
    assert_eq!(bench.by_hand_unsettled(0, 0), Some(Ok(())));
    bench.settle();
    bench.pass_time(Duration::from_secs(60));
    assert_eq!(bench.offsets(0), [0]);
    assert_eq!(bench.proposals()[&0].0, 1);
}

impl Bench {
    /// The lane's answer, before any worker does something.
    fn by_hand_unsettled(&mut self, partition: i32, offset: i64) -> Option<Result<(), String>> {
        let answer = self.ask(partition, offset);
        while self.step(0) {}
        told(&answer)
    }
}

#[test]
fn what_is_not_at_work_here_is_refused_with_a_reason() {
    let mut bench = Bench::new(1, Order::Key);
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 3);
    bench.settle();
    let refused = |told: Option<Result<(), String>>| told.unwrap().unwrap_err();
    assert!(refused(bench.by_hand(0, 1)).contains("finished already"));
    assert!(refused(bench.by_hand(0, 3)).contains("not been taken"));
    assert_eq!(bench.by_hand(7, 1), None, "another lane may have it");
    bench.revoke(0, Duration::from_secs(1));
    assert!(refused(bench.by_hand(0, 1)).contains("leaving"));
    assert_eq!(bench.metrics.snapshot().total.dead_lettered, 0);
}
