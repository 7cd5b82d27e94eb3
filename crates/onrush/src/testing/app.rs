//! A running consumer, as a test handles it.

use std::rc::Rc;
use std::time::Duration;

use onrush_engine::{Event, Snapshot, Summary};

use super::bed::Bed;
use super::history::{Call, out_of_order};
use super::member::Member;
use super::outcomes::{Outcome, Outcomes};

/// A consumer that runs in a [`TestBed`](super::TestBed): one member of its group, in a process of its own.
///
/// What it says of events is that of the whole group.
pub struct App {
    pub(super) bed: Rc<Bed>,
    pub(super) member: Rc<Member>,
}

impl App {
    /// How the history names it: the group, and a number.
    pub fn name(&self) -> &str {
        &self.member.name
    }

    /// Starts another member with the same handler; returns when the partitions are shared out anew.
    ///
    /// ```
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 6);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// let first = test.run(consumer.each(|_, _| Ok(())));
    /// assert_eq!(first.partitions().len(), 6);
    /// let second = first.add_member();
    /// assert_eq!((first.partitions().len(), second.partitions().len()), (3, 3));
    /// ```
    ///
    /// # Panics
    /// It does not start, or the group does not settle.
    #[track_caller]
    pub fn add_member(&self) -> Self {
        let member = self.bed.new_member(Rc::clone(&self.member.plan));
        self.bed.start(&member);
        Self { bed: Rc::clone(&self.bed), member }
    }

    /// The process dies: what it had not finished, or not committed, is run again by whoever takes over. The group
    /// notices after the session time-out, while time [advances](super::TestBed::advance) or the bed
    /// [settles](super::TestBed::settle).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 2);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// let app = test.run(consumer.each(|_, _| Ok(())));
    /// let other = app.add_member();
    /// app.crash();
    /// test.send_all("payments", (0..10).map(|n| (n.to_string(), "10")));
    /// test.settle(); // takes more than 45 seconds, in virtual time
    /// assert_eq!(other.partitions().len(), 2);
    /// other.assert_all_done();
    /// ```
    pub fn crash(&self) {
        self.bed.hosts.net().take_down(self.name());
        self.member.crash();
        self.bed.note(format!("{} has crashed", self.name()));
        self.bed.advance(Duration::from_millis(1));
    }

    /// The process goes on, but nothing reaches it and nothing leaves it.
    ///
    /// ```
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 2);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// let app = test.run(consumer.each(|_, _| Ok(())));
    /// let other = app.add_member();
    /// app.cut_off();
    /// test.send_all("payments", (0..10).map(|n| (n.to_string(), "10")));
    /// test.settle(); // by the other one alone
    /// app.reconnect();
    /// test.settle();
    /// other.assert_all_done();
    /// ```
    pub fn cut_off(&self) {
        self.bed.note(format!("{} is cut off", self.name()));
        self.bed.hosts.net().take_down(self.name());
    }

    /// Ends [`App::cut_off`].
    pub fn reconnect(&self) {
        self.bed.note(format!("{} is connected again", self.name()));
        self.bed.hosts.net().bring_up(self.name());
    }

    /// Drains, commits and leaves the group, as on SIGTERM.
    ///
    /// # Panics
    /// It does not run, or it had to stop before.
    #[track_caller]
    pub fn stop(&self) -> Summary {
        match self.bed.stop(&self.member) {
            Some(Ok(summary)) => summary,
            Some(Err(error)) => panic!("{} did not end well: {error}", self.name()),
            None => panic!("{} does not run", self.name()),
        }
    }

    /// Starts it again, after it was stopped if it runs; returns when the partitions are shared out anew. After a
    /// [crash](App::crash) that takes the session time-out: until then its predecessor counts as a member.
    ///
    /// ```
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 2);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// let app = test.run(consumer.each(|_, _| Ok(())));
    /// test.send("payments", "alice", "10");
    /// test.settle();
    /// app.restart();
    /// test.settle();
    /// assert_eq!(app.outcomes().repeated, 0);
    /// ```
    ///
    /// # Panics
    /// It does not end well or does not start, or the group does not settle.
    #[track_caller]
    pub fn restart(&self) {
        if let Some(Err(error)) = self.bed.stop(&self.member) {
            panic!("{} did not end well: {error}", self.name());
        }
        self.bed.hosts.net().bring_up(self.name());
        self.bed.start(&self.member);
    }

    /// Lets each call of a handler take so long, in virtual time.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 1);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// let app = test.run(consumer.each(|_, _| Ok(())));
    /// app.slow(|event| Duration::from_secs(if event.key == Some(b"alice") { 60 } else { 0 }));
    /// test.send("payments", "alice", "10");
    /// test.advance(Duration::from_secs(30));
    /// assert_eq!(app.outcomes().open, 1);
    /// test.settle();
    /// app.assert_all_done();
    /// ```
    pub fn slow(&self, took: impl Fn(&Event<'_>) -> Duration + Send + 'static) {
        self.member.pace.set(Box::new(took));
    }

    /// The partitions that it has: topic and number. None while it does not run.
    pub fn partitions(&self) -> Vec<(String, i32)> {
        let states = self.snapshot().unwrap_or_default().partitions;
        let name = |state: onrush_engine::PartitionState| {
            (state.partition.topic.to_string(), state.partition.partition)
        };
        states.into_iter().map(name).collect()
    }

    /// Its counts, as its metrics show them; none while it does not run.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.member.handle().map(|handle| handle.snapshot())
    }

    /// Every call of a handler, by all members of the group, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.bed.history.calls(self.member.group())
    }

    /// What became of every event in the group's topics, as the broker knows it.
    ///
    /// ```
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 6);
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// let app = test.run(consumer.each(|event, _| match event.value {
    ///     Some(b"poison") => Err(HandlerError::msg("unwanted")),
    ///     _ => Ok(()),
    /// }));
    /// test.send("payments", "alice", "10");
    /// test.send("payments", "mallory", "poison");
    /// test.settle();
    /// let outcomes = app.outcomes();
    /// assert_eq!((outcomes.done, outcomes.dead_lettered, outcomes.open), (1, 1, 0));
    /// ```
    ///
    /// # Panics
    /// The broker is down.
    #[track_caller]
    pub fn outcomes(&self) -> Outcomes {
        self.bed.outcomes(&self.member.plan)
    }

    /// Panics unless every event in the group's topics is done: none open, none in the dead letters.
    #[track_caller]
    pub fn assert_all_done(&self) {
        let outcomes = self.outcomes();
        let others = outcomes.all_but(Outcome::Done);
        assert!(others.is_empty(), "not all is done of {outcomes:?}{others}");
    }

    /// Panics if handlers were called with events of one key in the wrong order.
    ///
    /// ```should_panic
    /// # use std::{num::NonZeroUsize, time::Duration};
    /// # use onrush::{prelude::*, testing::TestBed};
    /// let test = TestBed::new();
    /// test.topic("payments", 1);
    /// let workers = NonZeroUsize::new(4).unwrap();
    /// let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
    /// let app = test.run(consumer.order(Order::None).each_blocking(workers, |_, _| Ok(())));
    /// app.slow(|event| Duration::from_millis(event.offset as u64 * 7 % 10));
    /// test.send_all("payments", (0..100).map(|n| ("alice", n.to_string())));
    /// test.settle();
    /// app.assert_key_order(); // panics: nobody asked for the order
    /// ```
    ///
    /// It sees calls of the handler only. What a handler does with an event behind the engine's back shows in what it
    /// leaves behind: assert that.
    #[track_caller]
    pub fn assert_key_order(&self) {
        if let Some((before, after)) = out_of_order(&self.calls()) {
            panic!("events of one key were run in the wrong order:\n  {before}\n  {after}");
        }
    }
}
