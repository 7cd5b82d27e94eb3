//! Scenarios of members that report, fall silent, and hand partitions over.

use onrush_runtime::Clock;
use onrush_wire::uuid::from_bytes;

use super::*;

const SESSION: Duration = Duration::from_secs(45);
const REBALANCE: Duration = Duration::from_secs(10);
const TOPIC: Uuid = from_bytes([1; 16]);

/// A topic `t`, if it has partitions.
struct Catalogue(i32);

impl Subscribed for Catalogue {
    fn topic(&self, name: &str) -> Option<(Uuid, i32)> {
        (name == "t" && self.0 > 0).then_some((TOPIC, self.0))
    }

    fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        static NAME: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "t".into());
        (self.0 > 0).then(|| &*NAME).into_iter()
    }

    fn changes(&self) -> u64 {
        u64::try_from(self.0).expect("a number of partitions")
    }
}

/// A group and members that do what they are told.
struct Scene {
    group: ConsumerGroup,
    now: Instant,
    topics: Catalogue,
    epochs: BTreeMap<String, i32>,
    owned: BTreeMap<String, Partitions>,
}

impl Scene {
    fn new(partitions: i32) -> Self {
        Self {
            group: ConsumerGroup::default(),
            now: Clock::System.now(),
            topics: Catalogue(partitions),
            epochs: BTreeMap::new(),
            owned: BTreeMap::new(),
        }
    }

    fn send(&mut self, report: Report) -> Result<Told, ErrorCode> {
        self.group.expire(self.now);
        let told = self.group.heartbeat(self.now, SESSION, report, &self.topics);
        told.map_err(|(error, _)| error)
    }

    fn join(&mut self, member: &str) -> Told {
        let told = self.send(joining(member)).expect("joins");
        self.owned.insert(member.to_owned(), told.assignment.clone().expect("told on joining"));
        self.epochs.insert(member.to_owned(), told.epoch);
        told
    }

    /// Reports what the member owns, and keeps what it is told for the next report: it releases at
    /// once.
    fn beat(&mut self, member: &str) -> Told {
        let report = Report {
            member_id: member.to_owned(),
            epoch: self.epochs[member],
            owned: Some(self.owned[member].clone()),
            ..Report::default()
        };
        let told = self.send(report).expect("in the group");
        self.epochs.insert(member.to_owned(), told.epoch);
        if let Some(assignment) = &told.assignment {
            self.owned.insert(member.to_owned(), assignment.clone());
        }
        told
    }

    /// Beats of all members until nothing changes.
    fn settle(&mut self) {
        for _ in 0..4 {
            for member in self.epochs.clone().keys() {
                self.beat(member);
            }
        }
        assert_eq!(self.group.state(), State::Stable);
    }

    fn sizes(&self) -> Vec<usize> {
        self.owned.values().map(BTreeSet::len).collect()
    }
}

fn joining(member: &str) -> Report {
    Report {
        member_id: member.to_owned(),
        epoch: JOIN,
        rebalance_timeout: Some(REBALANCE),
        topics: Some(BTreeSet::from(["t".to_owned()])),
        owned: Some(Partitions::new()),
        ..Report::default()
    }
}

fn static_member(member: &str, epoch: i32) -> Report {
    let report = Report { instance: Some("i".to_owned()), ..joining(member) };
    Report { epoch, ..report }
}

fn all(count: i32) -> Partitions {
    (0..count).map(|partition| (TOPIC, partition)).collect()
}

#[test]
fn the_first_member_owns_everything_at_once() {
    let mut scene = Scene::new(6);
    let told = scene.join("a");
    assert_eq!((told.assignment, told.epoch), (Some(all(6)), 1));
    assert_eq!(scene.beat("a").assignment, None, "nothing is told twice");
}

#[test]
fn a_partition_goes_over_only_after_it_was_released() {
    let mut scene = Scene::new(6);
    scene.join("a");
    assert_eq!(scene.join("b").assignment, Some(Partitions::new()), "all is still owned by a");
    let before = scene.owned["a"].clone();
    let told = scene.beat("a");
    let kept = told.assignment.expect("told to release");
    assert_eq!((kept.len(), told.epoch), (3, 1), "the epoch stays until the release");
    // a still works on what it was told to release, and says so.
    scene.owned.insert("a".to_owned(), before.clone());
    scene.beat("a");
    assert_eq!(scene.beat("b").assignment, None);
    // a released.
    scene.owned.insert("a".to_owned(), kept.clone());
    assert_eq!(scene.beat("a").epoch, 2);
    let given = scene.beat("b").assignment.expect("given now");
    assert_eq!(&given, &(&before - &kept));
    scene.settle();
    assert_eq!(scene.sizes(), [3, 3]);
}

#[test]
fn no_partition_has_two_owners_while_members_come_and_go() {
    let mut scene = Scene::new(7);
    for member in ["a", "b", "c", "d"] {
        scene.join(member);
        for reporter in scene.epochs.clone().keys() {
            scene.beat(reporter);
            let owned: usize = scene.owned.values().map(BTreeSet::len).sum();
            let distinct: Partitions = scene.owned.values().flatten().copied().collect();
            assert_eq!(owned, distinct.len(), "{:?}", scene.owned);
        }
    }
    scene.settle();
    assert_eq!(scene.sizes().iter().sum::<usize>(), 7);
}

#[test]
fn who_leaves_hands_over_at_once() {
    let mut scene = Scene::new(4);
    scene.join("a");
    scene.join("b");
    scene.settle();
    scene
        .send(Report { epoch: LEAVE, member_id: "a".to_owned(), ..Report::default() })
        .expect("leaves");
    let gone = scene.owned.remove("a").expect("was there");
    scene.epochs.remove("a");
    assert!(scene.beat("b").assignment.expect("given").is_superset(&gone));
}

#[test]
fn who_is_silent_for_the_session_is_out() {
    let mut scene = Scene::new(4);
    scene.join("a");
    scene.join("b");
    scene.settle();
    scene.now += SESSION / 2;
    scene.beat("b");
    scene.now += SESSION / 2;
    assert_eq!(scene.beat("b").assignment, Some(all(4)));
    let late = Report { member_id: "a".to_owned(), epoch: scene.epochs["a"], ..Report::default() };
    assert_eq!(scene.send(late), Err(ErrorCode::UNKNOWN_MEMBER_ID));
}

#[test]
fn who_does_not_release_in_time_is_out() {
    let mut scene = Scene::new(4);
    scene.join("a");
    scene.join("b");
    scene.beat("a");
    let still =
        Report { member_id: "a".to_owned(), epoch: 1, owned: Some(all(4)), ..Report::default() };
    scene.now += REBALANCE / 2;
    scene.send(still.clone()).expect("within its time");
    scene.now += REBALANCE / 2;
    assert_eq!(scene.send(still), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(scene.beat("b").assignment, Some(all(4)));
}

#[test]
fn epochs_fence_reports_and_commits() {
    let mut scene = Scene::new(4);
    scene.join("a");
    scene.join("b");
    scene.settle();
    let epoch = scene.epochs["a"];
    let of = |epoch| Report {
        member_id: "a".to_owned(),
        epoch,
        owned: Some(all(4)),
        ..Report::default()
    };
    assert_eq!(scene.send(of(epoch + 1)), Err(ErrorCode::FENCED_MEMBER_EPOCH));
    assert_eq!(scene.send(of(epoch - 1)), Err(ErrorCode::FENCED_MEMBER_EPOCH));
    // The answer with the new epoch was lost: it owns no more than it was given.
    let before = Report { owned: Some(Partitions::new()), ..of(epoch - 1) };
    assert_eq!(scene.send(before).expect("believed").epoch, epoch);
    assert_eq!(scene.group.validate("a", epoch), Ok(()));
    assert_eq!(scene.group.validate("a", epoch - 1), Err(ErrorCode::STALE_MEMBER_EPOCH));
    assert_eq!(scene.group.validate("x", epoch), Err(ErrorCode::UNKNOWN_MEMBER_ID));
}

#[test]
fn who_joins_again_starts_with_nothing_and_gets_its_share_back() {
    let mut scene = Scene::new(4);
    scene.join("a");
    scene.join("b");
    scene.settle();
    let before = scene.owned["a"].clone();
    assert_eq!(scene.join("a").assignment, Some(before));
}

#[test]
fn an_instance_that_left_for_a_while_finds_its_partitions_again() {
    let mut scene = Scene::new(4);
    let told = scene.send(static_member("first", JOIN)).expect("joins");
    scene.join("b");
    scene
        .send(Report { owned: Some(all(4)), ..static_member("first", told.epoch) })
        .expect("reports");
    let half: Partitions = scene.group.members["first"].assigned.clone();
    scene
        .send(Report { owned: Some(half.clone()), ..static_member("first", told.epoch) })
        .expect("released");
    let held = scene.send(static_member("second", JOIN));
    assert_eq!(held, Err(ErrorCode::UNRELEASED_INSTANCE_ID));
    scene.send(static_member("first", LEAVE_FOR_NOW)).expect("leaves");
    scene.beat("b");
    assert_eq!(scene.beat("b").assignment, None, "nobody else gets them");
    let back = scene.send(static_member("second", JOIN)).expect("is back");
    assert_eq!(back.assignment, Some(half));
    let fenced = scene.send(static_member("first", 2));
    assert_eq!(fenced, Err(ErrorCode::FENCED_INSTANCE_ID));
}

#[test]
fn a_topic_that_comes_later_is_assigned_at_the_next_report() {
    let mut scene = Scene::new(0);
    assert_eq!(scene.join("a").assignment, Some(Partitions::new()));
    scene.topics = Catalogue(2);
    assert_eq!(scene.beat("a").assignment, Some(all(2)));
}

#[test]
fn a_group_that_is_read_back_goes_on_where_it_was() {
    let mut scene = Scene::new(4);
    scene.join("a");
    scene.join("b");
    // a is told to release, and the broker restarts before it did.
    scene.beat("a");
    let stored = scene.group.stored();
    let epoch = scene.group.epoch();
    scene.now += SESSION * 2;
    scene.group = ConsumerGroup::restored(scene.now, SESSION, epoch, &stored).expect("readable");
    assert_eq!(scene.group.stored(), stored);
    assert_eq!(scene.beat("b").assignment, None, "a has not released yet");
    scene.settle();
    assert_eq!(scene.sizes(), [2, 2]);
    scene.now += SESSION;
    assert_eq!(scene.group.expire(scene.now).len(), 2);
}

#[test]
fn epochs_go_on_above_those_of_the_life_before() {
    let mut scene = Scene::new(1);
    scene.group =
        ConsumerGroup::restored(scene.now, SESSION, 41, &Stored::new()).expect("readable");
    assert_eq!(scene.join("a").epoch, 42);
}

#[test]
fn a_pattern_is_matched_when_topics_come() {
    let mut scene = Scene::new(0);
    let by_pattern = |member| Report {
        topics: None,
        pattern: Some("[a-z]|other".to_owned()),
        ..joining(member)
    };
    let told = scene.send(by_pattern("a")).expect("joins");
    assert_eq!(told.assignment, Some(Partitions::new()));
    scene.topics = Catalogue(2);
    scene.epochs.insert("a".to_owned(), told.epoch);
    scene.owned.insert("a".to_owned(), Partitions::new());
    assert_eq!(scene.beat("a").assignment, Some(all(2)));
    assert_eq!(scene.group.subscribed_topics(), BTreeSet::from(["t".to_owned()]));
    // Survives, also in what is stored.
    let stored = scene.group.stored();
    scene.group = ConsumerGroup::restored(scene.now, SESSION, scene.group.epoch(), &stored)
        .expect("readable");
    assert_eq!(scene.group.stored(), stored);
    // Taken back.
    let report = Report { pattern: Some(String::new()), ..by_pattern("a") };
    scene.send(report).expect("joins");
    assert!(scene.group.subscribed_topics().is_empty());
}

#[test]
fn different_patterns_are_bounded() {
    let mut scene = Scene::new(1);
    let by_pattern = |index: usize| Report {
        topics: None,
        pattern: Some(format!("t{index}")),
        ..joining(&format!("m{index}"))
    };
    for index in 0..MAX_PATTERNS {
        scene.send(by_pattern(index)).expect("joins");
    }
    assert_eq!(scene.send(by_pattern(MAX_PATTERNS)), Err(ErrorCode::INVALID_REQUEST));
    scene.send(Report { member_id: "again".to_owned(), ..by_pattern(0) }).expect("is known");
}

#[test]
fn the_assignor_is_what_most_want() {
    let mut scene = Scene::new(4);
    let wants = |member, assignor| Report { assignor, ..joining(member) };
    scene.send(wants("a", None)).expect("joins");
    assert_eq!(scene.group.assignor(), Assignor::Uniform);
    scene.send(wants("b", Some(Assignor::Range))).expect("joins");
    assert_eq!(scene.group.assignor(), Assignor::Range);
    let first = Partitions::from([(TOPIC, 0), (TOPIC, 1)]);
    assert_eq!(scene.group.target["a"], first);
    let stored = scene.group.stored();
    let group = ConsumerGroup::restored(scene.now, SESSION, scene.group.epoch(), &stored);
    assert_eq!(group.expect("readable").assignor(), Assignor::Range);
    scene.send(wants("c", Some(Assignor::Uniform))).expect("joins");
    assert_eq!(scene.group.assignor(), Assignor::Uniform, "of equals");
}

/// Topics as before, of which nothing must be asked.
struct Unchanged(u64);

impl Subscribed for Unchanged {
    fn topic(&self, name: &str) -> Option<(Uuid, i32)> {
        panic!("{name} was looked up")
    }

    fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::repeat_with(|| panic!("topics were looked through"))
    }

    fn changes(&self) -> u64 {
        self.0
    }
}

#[test]
fn who_goes_on_as_before_keeps_its_session_and_nothing_is_looked_at() {
    let mut scene = Scene::new(3);
    scene.join("a");
    let silent = |scene: &Scene| Report {
        member_id: "a".to_owned(),
        epoch: scene.epochs["a"],
        ..Report::default()
    };
    scene.now += SESSION / 2;
    let report = silent(&scene);
    let told = scene.group.goes_on(scene.now, SESSION, &report, &Unchanged(3)).expect("goes on");
    assert_eq!((told.epoch, told.assignment), (1, None));
    scene.now += SESSION / 2;
    assert_eq!(scene.group.expire(scene.now), []);
    // Whatever is new is looked at.
    for other in [
        Report { epoch: 0, ..report.clone() },
        Report { topics: Some(BTreeSet::new()), ..report.clone() },
        Report { pattern: Some("x".to_owned()), ..report.clone() },
        Report { instance: Some("i".to_owned()), ..report.clone() },
        Report { rebalance_timeout: Some(REBALANCE), ..report.clone() },
        Report { assignor: Some(Assignor::Range), ..report.clone() },
        Report { member_id: "b".to_owned(), ..report.clone() },
    ] {
        assert_eq!(scene.group.goes_on(scene.now, SESSION, &other, &Unchanged(3)), None);
    }
    assert_eq!(scene.group.goes_on(scene.now, SESSION, &report, &Unchanged(4)), None);
    scene.join("b");
    assert_eq!(scene.group.goes_on(scene.now, SESSION, &report, &Unchanged(3)), None);
    for member in ["a", "a", "b"] {
        scene.beat(member);
    }
    let report = silent(&scene);
    assert!(scene.group.goes_on(scene.now, SESSION, &report, &Unchanged(3)).is_some());
    // One that is out changes the group for the others.
    scene.group.remove("b");
    assert_eq!(scene.group.goes_on(scene.now, SESSION, &report, &Unchanged(3)), None);
}
