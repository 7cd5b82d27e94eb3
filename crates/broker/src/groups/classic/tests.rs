//! The state machine without sockets: connections are numbers, time is moved by hand.

use std::time::Duration;

use onrush_runtime::Clock;

use super::*;

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);
const LIMITS: Limits = Limits { max_members: 10, initial_delay: Duration::from_secs(3) };

struct Scene {
    now: Instant,
    group: ClassicGroup,
    limits: Limits,
}

fn protocols(names: &[&str]) -> Vec<Protocol> {
    let protocol = |name: &&str| Protocol {
        name: (*name).to_owned(),
        metadata: Bytes::copy_from_slice(name.as_bytes()),
    };
    names.iter().map(protocol).collect()
}

/// A JoinGroup of a member that is to have the id `member` if it has none yet.
fn joining(connection: ConnectionId, member: &str) -> Joining {
    Joining {
        connection,
        member_id: member.to_owned(),
        new_id: member.to_owned(),
        instance: None,
        client: Default::default(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: CONSUMER.to_owned(),
        protocols: protocols(&["range", "roundrobin"]),
        can_be_pending: true,
        can_skip_assignment: true,
    }
}

fn unknown(connection: ConnectionId, member: &str) -> Joining {
    Joining { member_id: String::new(), can_be_pending: false, ..joining(connection, member) }
}

fn instance(connection: ConnectionId, member: &str, instance: &str) -> Joining {
    Joining { instance: Some(instance.to_owned()), ..unknown(connection, member) }
}

impl Scene {
    fn new() -> Self {
        Self { now: Clock::System.now(), group: ClassicGroup::new(0), limits: LIMITS }
    }

    /// A stable group of dynamic members; each has its position in the list as its connection.
    fn of(members: &[&str]) -> Self {
        let mut scene = Self::new();
        for (connection, member) in (1..).zip(members) {
            scene.group.join(scene.now, scene.limits, unknown(connection, member));
        }
        scene.settle();
        scene
    }

    fn join(&mut self, joining: Joining) {
        self.group.join(self.now, self.limits, joining);
    }

    fn sync(&mut self, connection: ConnectionId, member: &str, assigned: &[(&str, &str)]) {
        let assigned = assigned
            .iter()
            .map(|(id, what)| ((*id).to_owned(), Bytes::copy_from_slice(what.as_bytes())));
        let syncing = Syncing {
            connection,
            member_id: member.to_owned(),
            instance: None,
            generation: self.group.generation(),
            protocol_type: None,
            protocol: None,
            assignments: assigned.collect(),
        };
        self.group.sync(self.now, syncing);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.group.advance(self.now, self.limits);
    }

    fn heartbeat(&mut self, member: &str) -> Result<(), ErrorCode> {
        let generation = self.group.generation();
        self.group.heartbeat(self.now, member, None, generation)
    }

    /// What JoinGroups and SyncGroups were answered since the last call.
    fn told(&mut self) -> BTreeMap<ConnectionId, Answer> {
        self.group.take_answers().into_iter().collect()
    }

    fn joined(&mut self) -> BTreeMap<ConnectionId, Joined> {
        let joined = |(connection, answer)| match answer {
            Answer::Join(Ok(joined)) => (connection, joined),
            other => panic!("{connection} was told {other:?}"),
        };
        self.told().into_iter().map(joined).collect()
    }

    fn synced(&mut self) -> BTreeMap<ConnectionId, String> {
        let synced = |(connection, answer)| match answer {
            Answer::Sync(Ok(Synced { assignment, .. })) => {
                (connection, String::from_utf8(assignment.to_vec()).expect("text"))
            }
            other => panic!("{connection} was told {other:?}"),
        };
        self.told().into_iter().map(synced).collect()
    }

    /// Lets the initial delay pass and has every member synchronise.
    fn settle(&mut self) {
        self.pass(self.limits.initial_delay);
        self.pass(self.limits.initial_delay);
        let joined = self.joined();
        let members: Vec<String> = joined.values().map(|joined| joined.member_id.clone()).collect();
        let assigned: Vec<_> = members.iter().map(|id| (id.as_str(), id.as_str())).collect();
        for (connection, joined) in &joined {
            self.sync(*connection, &joined.member_id, &assigned);
        }
        assert_eq!(self.synced().len(), joined.len());
        assert_eq!(self.group.state(), State::Stable);
        assert!(self.group.take_unstored());
    }
}

fn join_error(member: &str, error: ErrorCode) -> Answer {
    refused(member, error)
}

#[test]
fn who_has_no_id_is_told_one_first() {
    let mut scene = Scene::new();
    scene.join(Joining { member_id: String::new(), ..joining(1, "a") });
    let told = scene.told();
    assert_eq!(told[&1], join_error("a", ErrorCode::MEMBER_ID_REQUIRED));
    assert!(scene.group.is_empty() && !scene.group.is_idle());
    scene.join(joining(1, "a"));
    assert!(scene.told().is_empty(), "a new group waits for more members");
    scene.pass(LIMITS.initial_delay);
    let joined = &scene.joined()[&1];
    assert_eq!((joined.generation, joined.leader.as_str()), (1, "a"));
    assert_eq!(joined.protocol.as_deref(), Some("range"));
    assert_eq!(&joined.members[0].metadata[..], b"range");
}

#[test]
fn an_id_that_nobody_comes_back_with_is_forgotten() {
    let mut scene = Scene::new();
    scene.join(Joining { member_id: String::new(), ..joining(1, "a") });
    scene.pass(SESSION);
    assert!(scene.group.is_idle());
    scene.told();
    scene.join(joining(1, "a"));
    assert_eq!(scene.told()[&1], join_error("a", ErrorCode::UNKNOWN_MEMBER_ID));
}

#[test]
fn a_new_group_waits_longer_for_each_who_joins_but_not_without_end() {
    let mut scene = Scene::new();
    scene.join(Joining { rebalance_timeout: Duration::from_secs(7), ..unknown(1, "a") });
    for (connection, member) in [(2, "b"), (3, "c")] {
        scene.pass(Duration::from_secs(2));
        scene.join(Joining {
            rebalance_timeout: Duration::from_secs(7),
            ..unknown(connection, member)
        });
        scene.pass(Duration::from_secs(1));
        assert!(scene.told().is_empty(), "{member} has just joined");
    }
    // 3 s, then 3 s, then what is left of 7.
    scene.pass(Duration::from_secs(1));
    let joined = scene.joined();
    assert_eq!(joined.len(), 3);
    assert_eq!((joined[&1].members.len(), joined[&2].members.len()), (3, 0));
}

#[test]
fn all_join_again_when_somebody_comes_and_the_leader_assigns() {
    let mut scene = Scene::of(&["a"]);
    scene.join(unknown(2, "b"));
    assert!(scene.told().is_empty());
    assert_eq!(scene.heartbeat("a"), Err(ErrorCode::REBALANCE_IN_PROGRESS));
    scene.join(joining(1, "a"));
    let joined = scene.joined();
    assert_eq!((joined[&1].generation, joined[&2].generation), (2, 2));
    assert_eq!((joined[&1].members.len(), joined[&2].members.len()), (2, 0));
    assert_eq!(joined[&2].leader, "a");
    assert_eq!(scene.heartbeat("a"), Ok(()));

    scene.sync(2, "b", &[]);
    assert!(scene.told().is_empty(), "the leader has not assigned yet");
    scene.sync(1, "a", &[("a", "0"), ("b", "1")]);
    let synced = scene.synced();
    assert_eq!((synced[&1].as_str(), synced[&2].as_str()), ("0", "1"));
    // Who asks again is told the same.
    scene.sync(2, "b", &[]);
    assert_eq!(scene.synced()[&2], "1");
}

#[test]
fn a_rebalance_interrupts_those_who_synchronise() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.join(joining(1, "a"));
    scene.join(joining(2, "b"));
    scene.joined();
    scene.sync(2, "b", &[]);
    scene.join(unknown(3, "c"));
    let told = scene.told();
    assert_eq!(told[&2], Answer::Sync(Err(ErrorCode::REBALANCE_IN_PROGRESS)));
    scene.sync(1, "a", &[]);
    assert_eq!(scene.told()[&1], Answer::Sync(Err(ErrorCode::REBALANCE_IN_PROGRESS)));
}

#[test]
fn what_does_not_change_the_group_needs_no_rebalance() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.join(joining(2, "b"));
    let again = &scene.joined()[&2];
    assert_eq!((again.generation, again.members.len()), (1, 0));
    scene.join(Joining { protocols: protocols(&["roundrobin"]), ..joining(2, "b") });
    assert!(scene.told().is_empty());
    assert_eq!(scene.heartbeat("a"), Err(ErrorCode::REBALANCE_IN_PROGRESS));
    scene.join(joining(1, "a"));
    assert_eq!(scene.joined()[&1].protocol.as_deref(), Some("roundrobin"), "what both support");
}

#[test]
fn who_supports_nothing_that_all_support_is_refused() {
    let mut scene = Scene::of(&["a"]);
    let wrong = [
        Joining { protocols: protocols(&["sticky"]), ..unknown(2, "b") },
        Joining { protocols: Vec::new(), ..unknown(2, "b") },
        Joining { protocol_type: "connect".to_owned(), ..unknown(2, "b") },
    ];
    for joining in wrong {
        scene.join(joining);
        let told = scene.told();
        assert_eq!(told[&2], join_error("", ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    }
    assert_eq!(scene.group.state(), State::Stable);
}

#[test]
fn most_votes_decide_and_then_the_leader() {
    let mut scene = Scene::new();
    scene.join(Joining { protocols: protocols(&["x", "y", "z"]), ..unknown(1, "a") });
    scene.join(Joining { protocols: protocols(&["z", "y"]), ..unknown(2, "b") });
    assert_eq!(scene.group.selected_protocol().as_deref(), Some("y"));
    scene.join(Joining { protocols: protocols(&["z", "y", "x"]), ..unknown(3, "c") });
    assert_eq!(scene.group.selected_protocol().as_deref(), Some("z"));
}

#[test]
fn who_is_silent_for_its_session_is_out_although_nobody_else_asks() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.pass(SESSION / 2);
    assert_eq!(scene.heartbeat("a"), Ok(()));
    scene.join(joining(1, "a"));
    // a waits for b, and carries the end of b's session.
    assert_eq!(scene.group.unarmed(), Some(1));
    let deadline = scene.group.arm(1).expect("b's session");
    assert_eq!(scene.group.unarmed(), None);
    assert_eq!(deadline - scene.now, SESSION / 2);
    scene.pass(SESSION / 2);
    let joined = &scene.joined()[&1];
    assert_eq!((joined.generation, joined.members.len()), (2, 1));
    assert_eq!(scene.heartbeat("b"), Err(ErrorCode::UNKNOWN_MEMBER_ID));
}

#[test]
fn an_earlier_time_out_is_handed_to_a_request_that_waits() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.join(joining(1, "a"));
    scene.group.arm(1);
    // An id is pending for a shorter time than b's session lasts.
    let pending = Joining { member_id: String::new(), ..joining(3, "c") };
    scene.join(Joining { session_timeout: SESSION / 5, ..pending });
    assert_eq!(scene.group.unarmed(), Some(1));
    assert_eq!(scene.group.arm(1), Some(scene.now + SESSION / 5));
}

#[test]
fn a_request_that_waits_keeps_the_session_alive() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.join(joining(1, "a"));
    for _ in 0..3 {
        scene.pass(SESSION / 2);
        scene.heartbeat("b").expect_err("told to join");
    }
    scene.join(joining(2, "b"));
    assert_eq!(scene.joined().len(), 2);
}

#[test]
fn who_does_not_join_again_in_time_is_out_but_for_instances() {
    let mut scene = Scene::new();
    scene.join(instance(1, "a", "i"));
    scene.join(unknown(2, "b"));
    scene.join(unknown(3, "c"));
    scene.settle();
    scene.join(joining(3, "c"));
    scene.join(Joining { protocols: protocols(&["range"]), ..joining(3, "c") });
    assert!(matches!(scene.told()[&3], Answer::Join(Ok(_))), "nothing had changed");
    for _ in 0..12 {
        scene.pass(REBALANCE / 12);
        for alive in ["a", "b"] {
            let _ = scene.heartbeat(alive);
        }
    }
    let joined = &scene.joined()[&3];
    assert_eq!(joined.leader, "c", "the leader did not join");
    let members: Vec<&str> = joined.members.iter().map(|member| &*member.member_id).collect();
    assert_eq!(members, ["a", "c"]);
}

#[test]
fn who_does_not_synchronise_in_time_is_out() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.join(joining(1, "a"));
    scene.join(joining(2, "b"));
    scene.joined();
    scene.sync(1, "a", &[]);
    scene.synced();
    for _ in 0..12 {
        scene.pass(REBALANCE / 12);
        let _ = scene.heartbeat("a");
        let _ = scene.heartbeat("b");
    }
    assert_eq!(scene.heartbeat("b"), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(scene.heartbeat("a"), Err(ErrorCode::REBALANCE_IN_PROGRESS));
}

#[test]
fn who_leaves_is_out_at_once_and_the_last_leaves_an_empty_group() {
    let mut scene = Scene::of(&["a", "b"]);
    let leave = |scene: &mut Scene, member_id, instance| {
        scene.group.leave(scene.now, scene.limits, &[Leaving { member_id, instance }])
    };
    assert_eq!(leave(&mut scene, "x", None), [Err(ErrorCode::UNKNOWN_MEMBER_ID)]);
    assert_eq!(leave(&mut scene, "", Some("x")), [Err(ErrorCode::UNKNOWN_MEMBER_ID)]);
    assert_eq!(scene.group.state(), State::Stable);
    assert_eq!(leave(&mut scene, "b", None), [Ok(())]);
    scene.join(joining(1, "a"));
    assert_eq!(scene.joined()[&1].members.len(), 1);
    assert_eq!(leave(&mut scene, "a", None), [Ok(())]);
    assert_eq!((scene.group.state(), scene.group.generation()), (State::Empty, 3));
    assert!(scene.group.take_unstored() && scene.group.next_deadline().is_none());
}

#[test]
fn an_instance_that_is_back_goes_on_without_a_rebalance() {
    let mut scene = Scene::new();
    scene.join(instance(1, "a", "i"));
    scene.join(instance(2, "b", "j"));
    scene.settle();
    scene.join(instance(3, "c", "j"));
    let joined = &scene.joined()[&3];
    assert_eq!((joined.generation, joined.leader.as_str()), (1, "a"));
    assert!(scene.group.take_unstored());
    scene.sync(3, "c", &[]);
    assert_eq!(scene.synced()[&3], "b", "what the one before had");
    let fenced = scene.group.heartbeat(scene.now, "b", Some("j"), 1);
    assert_eq!(fenced, Err(ErrorCode::FENCED_INSTANCE_ID));
    // A leader that is back must not assign anew; an older client cannot be told, and thinks that
    // another one leads.
    scene.join(instance(4, "d", "i"));
    let joined = &scene.joined()[&4];
    assert!(joined.skip_assignment && joined.leader == "d" && joined.members.len() == 2);
    scene.join(Joining { can_skip_assignment: false, ..instance(5, "e", "i") });
    let joined = &scene.joined()[&5];
    assert!(!joined.skip_assignment && joined.leader == "d" && joined.members.is_empty());
}

#[test]
fn an_instance_that_waits_is_fenced_by_the_next_one() {
    let mut scene = Scene::of(&["a"]);
    scene.join(instance(2, "b", "i"));
    scene.join(instance(3, "c", "i"));
    assert_eq!(scene.told()[&2], join_error("b", ErrorCode::FENCED_INSTANCE_ID));
    scene.join(joining(1, "a"));
    let joined = scene.joined();
    assert_eq!(joined.keys().collect::<Vec<_>>(), [&1, &3]);
    scene.sync(3, "c", &[]);
    scene.join(instance(4, "d", "i"));
    let told = scene.told();
    assert_eq!(told[&3], Answer::Sync(Err(ErrorCode::FENCED_INSTANCE_ID)));
    assert_eq!(scene.group.state(), State::PreparingRebalance, "c may be in the assignments");
}

#[test]
fn an_admin_removes_an_instance_by_its_name() {
    let mut scene = Scene::new();
    scene.join(instance(1, "a", "i"));
    scene.settle();
    let leaving = [Leaving { member_id: "", instance: Some("i") }];
    assert_eq!(scene.group.leave(scene.now, scene.limits, &leaving), [Ok(())]);
    assert!(scene.group.is_empty());
}

#[test]
fn whose_connection_is_gone_has_a_session_to_come_back() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.join(joining(1, "a"));
    scene.group.abandon(scene.now, scene.limits, 1);
    scene.join(joining(2, "b"));
    assert!(scene.told().is_empty(), "a may be back");
    scene.join(joining(3, "a"));
    assert_eq!(scene.joined().keys().collect::<Vec<_>>(), [&2, &3]);
    scene.sync(2, "b", &[]);
    scene.group.abandon(scene.now, scene.limits, 2);
    scene.sync(3, "a", &[("b", "1")]);
    scene.synced();
    scene.pass(SESSION / 2);
    scene.sync(4, "b", &[]);
    assert_eq!(scene.synced()[&4], "1");
}

#[test]
fn a_new_member_that_cannot_know_its_id_is_gone_with_its_connection() {
    let mut scene = Scene::of(&["a"]);
    scene.join(unknown(2, "b"));
    scene.group.abandon(scene.now, scene.limits, 2);
    scene.join(joining(1, "a"));
    assert_eq!(scene.joined()[&1].members.len(), 1);
}

#[test]
fn a_request_that_is_sent_again_elsewhere_answers_the_first() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.join(joining(1, "a"));
    scene.join(joining(3, "a"));
    assert_eq!(scene.told()[&1], join_error("a", ErrorCode::REBALANCE_IN_PROGRESS));
    scene.join(joining(2, "b"));
    assert_eq!(scene.joined().keys().collect::<Vec<_>>(), [&2, &3]);
}

#[test]
fn commits_are_of_the_generation() {
    let mut scene = Scene::of(&["a"]);
    let commit = |scene: &mut Scene, member, generation| {
        scene.group.validate_commit(scene.now, member, None, generation)
    };
    assert_eq!(commit(&mut scene, "a", 1), Ok(()));
    assert_eq!(commit(&mut scene, "a", 0), Err(ErrorCode::ILLEGAL_GENERATION));
    assert_eq!(commit(&mut scene, "b", 1), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(commit(&mut scene, "", -1), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    scene.join(joining(1, "a"));
    assert_eq!(commit(&mut scene, "a", 2), Err(ErrorCode::REBALANCE_IN_PROGRESS));
    scene.group.leave(scene.now, LIMITS, &[Leaving { member_id: "a", instance: None }]);
    assert_eq!(commit(&mut scene, "", -1), Ok(()));
}

#[test]
fn there_is_a_limit_to_members_and_to_what_they_say() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.limits.max_members = 2;
    scene.join(unknown(3, "c"));
    assert_eq!(scene.told()[&3], join_error("", ErrorCode::GROUP_MAX_SIZE_REACHED));
    scene.limits.max_members = 3;
    let long = Bytes::from(vec![0; join::MAX_MEMBER_WEIGHT]);
    let long = Protocol { name: "range".to_owned(), metadata: long };
    let many = vec![protocols(&["range"]).remove(0); join::MAX_PROTOCOLS + 1];
    for protocols in [vec![long], many] {
        scene.join(Joining { protocols, ..unknown(3, "c") });
        assert_eq!(scene.told()[&3], join_error("", ErrorCode::INVALID_REQUEST));
    }
}

#[test]
fn pending_ids_are_bounded() {
    let mut scene = Scene::new();
    for id in 0..2_000 {
        scene.join(Joining { member_id: String::new(), ..joining(1, &id.to_string()) });
    }
    assert_eq!(scene.group.pending.len(), crate::MAX_GROUP_SIZE);
    let last = scene.group.take_answers().pop().expect("answered").1;
    assert_eq!(last, join_error("", ErrorCode::GROUP_MAX_SIZE_REACHED));
}

#[test]
fn time_outs_of_no_length_end() {
    let mut scene = Scene::new();
    scene.limits.initial_delay = Duration::ZERO;
    let zero = |joining| Joining { rebalance_timeout: Duration::ZERO, ..joining };
    scene.join(zero(instance(1, "a", "i")));
    scene.pass(Duration::ZERO);
    // Nobody had the time to synchronise: the only one is out.
    assert_eq!(scene.joined()[&1].generation, 1);
    assert!(scene.group.is_empty());
}

#[test]
fn a_group_that_is_read_back_goes_on() {
    let mut scene = Scene::new();
    scene.join(instance(1, "a", "i"));
    scene.join(unknown(2, "b"));
    scene.settle();
    let stored = scene.group.stored();
    scene.now += SESSION * 2;
    let restore = |now, epoch| ClassicGroup::restored(now, epoch, &stored).expect("readable");
    scene.group = restore(scene.now, 1);
    assert_eq!(scene.group.stored(), stored);
    assert_eq!((scene.heartbeat("a"), scene.heartbeat("b")), (Ok(()), Ok(())));
    scene.sync(1, "b", &[]);
    assert_eq!(scene.synced()[&1], "b");
    scene.join(instance(3, "c", "i"));
    assert_eq!(scene.joined()[&3].generation, 1);
    scene.pass(SESSION);
    assert!(scene.group.is_empty());
    // A later generation was reached, whose members are not known.
    scene.group = restore(scene.now, 2);
    assert_eq!((scene.group.state(), scene.group.generation()), (State::Empty, 2));
    assert_eq!(scene.group.protocol_type(), CONSUMER);
}

#[test]
fn an_assignment_that_cannot_be_stored_is_told_to_nobody() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.join(joining(1, "a"));
    scene.join(joining(2, "b"));
    scene.joined();
    scene.sync(2, "b", &[]);
    scene.sync(1, "a", &[("b", "1")]);
    assert!(scene.group.take_unstored());
    scene.group.not_stored(scene.now, scene.limits);
    let error = Answer::Sync(Err(ErrorCode::COORDINATOR_NOT_AVAILABLE));
    assert_eq!(scene.told(), BTreeMap::from([(1, error.clone()), (2, error)]));
    assert_eq!(scene.group.state(), State::PreparingRebalance);
}

#[test]
fn the_topics_of_consumers_are_read_from_their_subscriptions() {
    let mut metadata = vec![0, 3, 0, 0, 0, 2, 0, 1, b'x', 0, 2, b'y', b'z'];
    metadata.extend_from_slice(b"what later versions add");
    let topics = BTreeSet::from(["x".to_owned(), "yz".to_owned()]);
    assert_eq!(subscription(&metadata), Some(topics));
    for length in 0..13 {
        assert_eq!(subscription(&metadata[..length]), None, "cut at {length}");
    }
    assert_eq!(subscription(&[0, 0, 0, 0, 0, 1, 0xff, 0xff]), None);
}

#[test]
fn members_that_vanish_while_the_others_are_waited_for_are_counted() {
    let mut scene = Scene::new();
    for connection in 0..2 * crate::MAX_GROUP_SIZE as u64 {
        let name = format!("m{connection}");
        scene.join(instance(connection, &name, &name));
        scene.group.abandon(scene.now, scene.limits, connection);
    }
    assert_eq!(scene.group.members.len(), crate::MAX_GROUP_SIZE);
}

#[test]
fn who_vanishes_does_not_end_the_wait_of_a_new_group() {
    let mut scene = Scene::new();
    scene.join(unknown(1, "a"));
    scene.join(unknown(2, "b"));
    scene.pass(Duration::from_secs(1));
    scene.group.abandon(scene.now, scene.limits, 2);
    assert!(scene.told().is_empty(), "more members may be about to start");
    scene.pass(LIMITS.initial_delay);
    scene.pass(LIMITS.initial_delay);
    assert_eq!(scene.joined()[&1].members.len(), 1);
}

#[test]
fn an_id_that_nobody_comes_back_with_does_not_end_the_wait_of_a_new_group() {
    let mut scene = Scene::new();
    scene.limits.initial_delay = 2 * SESSION;
    scene.join(Joining { member_id: String::new(), ..joining(2, "b") });
    assert_eq!(scene.told()[&2], join_error("b", ErrorCode::MEMBER_ID_REQUIRED));
    scene.join(unknown(1, "a"));
    scene.pass(SESSION);
    assert!(scene.told().is_empty(), "more members may be about to start");
    scene.pass(SESSION);
    assert_eq!(scene.joined()[&1].members.len(), 1);
}
