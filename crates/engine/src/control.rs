//! The control driver: the group's decisions, commits and topics, on an executor of its own where
//! no user code runs.
//!
//! It is one loop over three sources: events of the group, mail of lanes and workers, and the
//! commit interval. It waits for nothing else: what takes a round trip (offsets, commits, topics)
//! runs as a task that reports by mail.
//!
//! ```text
//! Assigned -> starting (committed offsets are fetched) -> running
//! Revoked  -> draining (lane: nothing is started, until the deadline) -> committing -> leaving (hooks) -> released
//! Lost     -> gone at once, nothing is committed
//! ```
//!
//! What user code holds up is given up: a lane that does not answer a drain within its deadline and
//! [`HOOK_DEADLINE`], or a hook that takes longer than that, no longer keeps the partition from its
//! next owner. Threads that do not end are left behind in the same way.
//!
//! A lane that is in user code when an interval ends does not say what is to be committed; see
//! [`gathering`](crate::gathering).
//!
//! One commit is under way at a time, so that an older one never lands after a newer one. A final
//! commit takes the place of what an interval commit has gathered of the same partition.
//!
//! Shutdown: 1. every partition goes the way of a revoked one, 2. the member leaves, 3. fetcher,
//! lanes and workers end, 4. the producer closes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use onrush_kafka::{
    At, Client, ClientError, ErrorCode, FetchSink, Fetcher, GroupEvent, ListedOffset, Member,
    Producer, Remedy, Tenure, TopicPartition,
};
use onrush_runtime::{Clock, Executor, Fault, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout_at};

use crate::assignment::{Assignment, Holding, Placement, TOKEN_STRIDE};
use crate::budget::Budget;
use crate::client::LaneSink;
use crate::commit::{Proposal, Verdict};
use crate::completed::CompletedSet;
use crate::config::{EngineConfig, HOOK_DEADLINE, Sabotage, Start};
use crate::error::{EngineError, PartitionStopped};
use crate::gathering::Gathering;
use crate::inbox::Inbox;
use crate::message::{Asker, Assign, ControlInput, LaneInput, Purpose, StartAt, WorkerInput};
use crate::metadata::Metadata;
use crate::metrics::Metrics;
use crate::retry_topic::Ladder;

/// Partitions of a dead-letter topic that is created; its replication is the cluster's default.
const DEAD_LETTER_PARTITIONS: i32 = 1;
const DEFAULT_REPLICATION: i16 = -1;

/// A partition that the group gave us.
#[derive(Debug)]
struct Held {
    lane: usize,
    token: u64,
    /// The token of its ledger, under which proposals are made.
    ledger: u64,
    tenure: Tenure,
    phase: Phase,
    /// The group waits for it to be released.
    wanted: bool,
    /// When user code has had its time, while it is waited for.
    give_up: Option<Instant>,
}

impl Held {
    fn new(lane: usize, token: u64, tenure: Tenure) -> Self {
        let phase = Phase::Starting;
        Self { lane, token, ledger: token, tenure, phase, wanted: false, give_up: None }
    }

    /// Whether `token` is that of this assignment, or of a reading or ledger of it.
    fn is_under(&self, token: u64) -> bool {
        self.token / TOKEN_STRIDE == token / TOKEN_STRIDE
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Draining,
    /// Its last commit, of this version of the ledger, is queued or under way.
    Committing(u64),
    Leaving,
}

/// Threads, as the control driver sees them.
pub(crate) struct Crew {
    pub(crate) inbox: Arc<Inbox<ControlInput>>,
    pub(crate) lanes: Vec<Arc<Inbox<LaneInput>>>,
    pub(crate) workers: Vec<Arc<Inbox<WorkerInput>>>,
}

/// Parts of the client.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) fetcher: Fetcher,
    pub(crate) producer: Producer,
    pub(crate) member: Arc<Member>,
    pub(crate) events: mpsc::Receiver<GroupEvent>,
}

/// See the module.
pub(crate) struct Control {
    config: EngineConfig,
    ladder: Arc<Ladder>,
    cluster: Cluster,
    crew: Crew,
    sinks: Vec<Arc<dyn FetchSink>>,
    metrics: Arc<Metrics>,
    clock: Clock,
    executor: Executor,
    placement: Placement,
    held: BTreeMap<TopicPartition, Held>,
    next_token: u64,
    gathering: Gathering,
    commits: VecDeque<Vec<Proposal>>,
    committing: bool,
    wanted_topics: BTreeMap<Arc<str>, Vec<Asker>>,
    stopped: Vec<PartitionStopped>,
    closing: bool,
    /// Lanes and workers that run.
    running: usize,
    failed: Option<EngineError>,
}

impl Control {
    pub(crate) fn new(
        config: EngineConfig,
        cluster: Cluster,
        crew: Crew,
        metrics: Arc<Metrics>,
        clock: Clock,
        executor: Executor,
    ) -> Self {
        let sinks = crew
            .lanes
            .iter()
            .map(|lane| Arc::new(LaneSink(Arc::clone(lane))) as Arc<dyn FetchSink>)
            .collect();
        let (placement, running) =
            (Placement::new(crew.lanes.len()), crew.lanes.len() + crew.workers.len());
        let ladder = Arc::new(config.ladder().unwrap_or_default());
        Self {
            config,
            ladder,
            cluster,
            crew,
            sinks,
            metrics,
            clock,
            executor,
            placement,
            held: BTreeMap::new(),
            next_token: TOKEN_STRIDE,
            gathering: Gathering::default(),
            commits: VecDeque::new(),
            committing: false,
            wanted_topics: BTreeMap::new(),
            stopped: Vec::new(),
            closing: false,
            running,
            failed: None,
        }
    }

    /// Runs until it is told to shut down and all is drained, or the engine fails.
    pub(crate) async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Ended {
        let mut tick = interval(self.config.commit_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wake = self.crew.inbox.wake().clone();
        let mut mail = VecDeque::new();
        while self.failed.is_none() && !(self.closing && self.held.is_empty() && !self.committing) {
            let give_up = self.held.values().filter_map(|held| held.give_up).min();
            tokio::select! {
                biased;
                () = until(give_up) => self.give_up(),
                () = wake.notified() => {}
                event = self.cluster.events.recv() => self.group_event(event),
                // A dropped handle does not shut an engine down.
                Ok(_) = shutdown.wait_for(|told| *told), if !self.closing => self.close(),
                _ = tick.tick() => self.gather(),
            }
            self.metrics.beat(self.clock.wall_millis());
            self.crew.inbox.take(&mut mail);
            while let Some(input) = mail.pop_front() {
                self.receive(input);
            }
            self.commit_next();
        }
        self.end().await
    }

    /// Lets partitions go whose user code had its time.
    fn give_up(&mut self) {
        let now = self.clock.now();
        let due = |held: &Held| held.give_up.is_some_and(|at| at <= now);
        let late: Vec<_> =
            self.held.iter().filter(|(_, held)| due(held)).map(|(name, _)| name.clone()).collect();
        // A lane that does not answer is in one event, whosever that is.
        let silent = late.iter().filter_map(|name| self.held.get(name));
        let silent: BTreeSet<_> =
            silent.filter(|held| held.phase == Phase::Draining).map(|held| held.lane).collect();
        silent.into_iter().for_each(|lane| self.metrics.lane(lane).left_running.add(1));
        for partition in late {
            tracing::warn!(%partition, code = %Fault::DrainDeadline, "a handler or its hook does not return: the partition goes to its next owner all the same");
            if let Some(held) = self.held.get(&partition) {
                self.crew.lanes[held.lane].push(LaneInput::Lost(partition.clone()));
            }
            self.gone(&partition);
        }
    }

    fn close(&mut self) {
        self.closing = true;
        let held: Vec<_> = self.held.keys().cloned().collect();
        held.iter().for_each(|partition| self.revoke(partition, false));
    }

    /// Steps 2 to 4 of the shutdown.
    async fn end(mut self) -> Ended {
        let lost: Vec<_> = self.held.keys().cloned().collect();
        lost.iter().for_each(|partition| self.lose(partition));
        let Self { cluster, crew, clock, mut running, mut failed, stopped, .. } = self;
        let Cluster { fetcher, producer, member, .. } = cluster;
        // After a failure a commit may be under way: then the member says goodbye when it is
        // dropped.
        if let Some(member) = Arc::into_inner(member) {
            member.leave().await;
        }
        fetcher.close().await;
        crew.lanes.iter().for_each(|lane| lane.push(LaneInput::Close));
        let (mut mail, mut told) = (VecDeque::new(), false);
        let give_up = clock.now() + HOOK_DEADLINE;
        while running > 0 && !matches!(failed, Some(EngineError::Panicked { .. })) {
            // Lanes first: workers have to tell handlers which partitions have gone.
            if running <= crew.workers.len() && !told {
                told = true;
                crew.workers.iter().for_each(|worker| worker.push(WorkerInput::Close));
            }
            if timeout_at(give_up, crew.inbox.wake().notified()).await.is_err() {
                tracing::warn!(
                    threads = running,
                    code = %Fault::DrainDeadline,
                    "handlers do not return: their threads are left behind"
                );
                crew.workers.iter().for_each(|worker| worker.push(WorkerInput::Close));
                break;
            }
            crew.inbox.take(&mut mail);
            for input in mail.drain(..) {
                if let ControlInput::Ended(thread, well) = input {
                    running -= 1;
                    if !well {
                        failed.get_or_insert(EngineError::Panicked { thread });
                    }
                }
            }
        }
        producer.close().await;
        Ended { stopped, failed }
    }
}

/// Waits for a time, or for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// How a control driver ended.
pub(crate) struct Ended {
    pub(crate) stopped: Vec<PartitionStopped>,
    pub(crate) failed: Option<EngineError>,
}

/// The group.
impl Control {
    fn group_event(&mut self, event: Option<GroupEvent>) {
        match event {
            Some(GroupEvent::Assigned(partitions, tenure)) if !self.closing => {
                self.assign(partitions, tenure)
            }
            Some(GroupEvent::Assigned(..)) => {}
            Some(GroupEvent::Revoked(partitions)) => {
                partitions.iter().for_each(|partition| self.revoke(partition, true))
            }
            Some(GroupEvent::Lost(partitions)) => {
                partitions.iter().for_each(|partition| self.lose(partition))
            }
            Some(GroupEvent::Fatal(source)) => self.fail("membership of the group", source),
            None => self.fail("membership of the group", ClientError::Closed),
        }
    }

    fn fail(&mut self, doing: &'static str, source: ClientError) {
        self.failed.get_or_insert(EngineError::Client { doing, source });
    }

    fn assign(&mut self, partitions: Vec<TopicPartition>, tenure: Tenure) {
        let mut starting = Vec::new();
        for partition in partitions {
            let (lane, token) = (self.placement.place(&partition), self.next_token);
            self.next_token += TOKEN_STRIDE;
            starting.push((partition.clone(), token));
            let replaced = self.held.insert(partition.clone(), Held::new(lane, token, tenure));
            // A topic was made anew under its name while its partition still drained. Nothing of
            // the old one will be heard of under its token again, so the group is told now.
            if replaced.is_some_and(|replaced| replaced.wanted) {
                self.cluster.member.released(&[partition]);
            }
        }
        self.share();
        self.look_up_starts(starting);
    }

    /// The share of each partition changes with their number.
    fn share(&self) {
        let budget = Budget::new(self.config.byte_budget, self.config.failures.parked_bytes);
        let share = budget.share(self.held.len());
        self.cluster.fetcher.set_partition_bytes(share);
        self.crew.lanes.iter().for_each(|lane| lane.push(LaneInput::Share(share)));
    }

    fn look_up_starts(&self, partitions: Vec<(TopicPartition, u64)>) {
        let (client, inbox) = (self.cluster.client.clone(), Arc::clone(&self.crew.inbox));
        let (group, start) = (self.config.group.clone(), self.config.start);
        let forgets = self.config.sabotage == Sabotage::Forget;
        self.executor.spawn(async move {
            let names: Vec<_> = partitions.iter().map(|(partition, _)| partition.clone()).collect();
            let starts = match forgets {
                true => first_starts(&client, start, &names).await,
                false => starts(&client, &group, start, &names).await,
            };
            inbox.push(ControlInput::Starts(partitions, starts));
        });
    }

    fn started(
        &mut self,
        asked: Vec<(TopicPartition, u64)>,
        starts: Result<Vec<StartAt>, ClientError>,
    ) {
        let current: Vec<_> = asked
            .into_iter()
            .filter(|(partition, token)| {
                self.held.get(partition).is_some_and(|held| held.token == *token)
            })
            .collect();
        let starts = match starts {
            Ok(starts) => starts,
            Err(error)
                if error.remedy() == Remedy::Fatal
                    && !matches!(error, ClientError::GaveUp { .. }) =>
            {
                return self.fail("fetching the committed offsets", error);
            }
            Err(error) => {
                tracing::warn!(code = %error.fault(), %error, "the committed offsets are asked for again");
                return self.look_up_starts(current);
            }
        };
        for start in starts {
            if let Some((_, token)) =
                current.iter().find(|(partition, _)| *partition == start.partition)
            {
                self.start(start, *token);
            }
        }
    }

    fn start(&mut self, start: StartAt, token: u64) {
        let Some(held) = self.held.get_mut(&start.partition) else { return };
        held.phase = Phase::Running;
        if let Some(reason) = start.unread {
            let (partition, offset) = (&start.partition, start.offset);
            tracing::warn!(%partition, offset, %reason, code = %Fault::ForeignMetadata, "the metadata of the group's commit is left alone: everything from the committed offset on is processed");
        }
        let is_retry_topic = self.ladder.origin(&start.partition.topic).is_some();
        let assignment = Assignment {
            topic: Arc::clone(&start.partition.topic),
            partition: start.partition.partition,
            epoch: self.cluster.member.epoch(),
            start: start.offset,
            member: self.cluster.member.member_id().into(),
        };
        let assign = Assign {
            holding: Arc::new(Holding::new(assignment, token).in_retry_topic(is_retry_topic)),
            committed: start.committed,
            completed: start.completed,
            notes: start.notes,
            cells: self.metrics.assign(&start.partition, held.lane),
        };
        self.crew.lanes[held.lane].push(LaneInput::Assign(Box::new(assign)));
    }

    /// A partition leaves in order; `wanted` if the group waits for it.
    fn revoke(&mut self, partition: &TopicPartition, wanted: bool) {
        let deadline = self.clock.now() + self.config.drain_deadline;
        let Some(held) = self.held.get_mut(partition) else {
            if wanted {
                self.cluster.member.released(std::slice::from_ref(partition));
            }
            return;
        };
        held.wanted |= wanted;
        match held.phase {
            Phase::Starting => self.gone(partition),
            Phase::Running => {
                held.phase = Phase::Draining;
                held.give_up = Some(deadline + HOOK_DEADLINE);
                self.crew.lanes[held.lane].push(LaneInput::Revoke(partition.clone(), deadline));
                self.cluster.fetcher.unassign(partition);
            }
            Phase::Draining | Phase::Committing(_) | Phase::Leaving => {}
        }
    }

    fn lose(&mut self, partition: &TopicPartition) {
        self.cluster.fetcher.unassign(partition);
        if let Some(held) = self.held.get_mut(partition) {
            held.wanted = false;
            self.crew.lanes[held.lane].push(LaneInput::Lost(partition.clone()));
            self.gone(partition);
        }
    }

    /// The partition is nobody's here any more.
    fn gone(&mut self, partition: &TopicPartition) {
        if let Some(held) = self.held.remove(partition)
            && held.wanted
        {
            self.cluster.member.released(std::slice::from_ref(partition));
        }
        self.placement.remove(partition);
        self.metrics.release(partition);
        self.share();
    }
}

/// Mail.
impl Control {
    fn receive(&mut self, input: ControlInput) {
        match input {
            ControlInput::Fetch(partition, token, offset) => {
                if let Some(held) = self.held.get(&partition)
                    && held.is_under(token)
                    && held.phase == Phase::Running
                {
                    self.cluster.fetcher.assign(
                        partition,
                        token,
                        offset,
                        Arc::clone(&self.sinks[held.lane]),
                    );
                }
            }
            ControlInput::Restarted(partition, token) => {
                let held = self.held.get_mut(&partition).filter(|held| held.is_under(token));
                held.into_iter().for_each(|held| held.ledger = token);
            }
            ControlInput::Pause(partition, token, paused) if self.holds(&partition, token) => {
                match paused {
                    true => self.cluster.fetcher.pause(&partition),
                    false => self.cluster.fetcher.resume(&partition),
                }
            }
            ControlInput::Pause(..) => {}
            ControlInput::Proposals(lane, proposals) => {
                self.commits.extend(self.gathering.answered(lane, proposals));
            }
            ControlInput::Drained { partition, token, proposal, running } => {
                self.drained(&partition, token, proposal, running);
            }
            ControlInput::Released(partition, token) => {
                if self.holds(&partition, token) {
                    self.gone(&partition);
                }
            }
            ControlInput::Stopped(token, stopped) if self.holds(&stopped.partition, token) => {
                self.cluster.fetcher.unassign(&stopped.partition);
                self.stopped.push(stopped);
            }
            // It had left already, and goes on where it is now.
            ControlInput::Stopped(..) => {}
            ControlInput::TopicWanted(asker, topic, purpose) => {
                self.want_topic(asker, topic, purpose)
            }
            ControlInput::TopicTried(topic, result) => self.topic_tried(&topic, &result),
            ControlInput::Starts(asked, starts) => self.started(asked, starts),
            ControlInput::Committed(proposals, result) => self.committed(proposals, result),
            ControlInput::Ended(thread, _) => {
                self.running -= 1;
                self.failed.get_or_insert(EngineError::Panicked { thread });
            }
        }
    }

    /// Whether the partition is held under this token, not an earlier one.
    fn holds(&self, partition: &TopicPartition, token: u64) -> bool {
        self.held.get(partition).is_some_and(|held| held.token == token)
    }

    /// Asks the lanes what is to be committed, unless a commit is under way.
    fn gather(&mut self) {
        if !self.committing {
            self.commits.extend(self.gathering.close());
            for lane in self.gathering.open(self.crew.lanes.len()) {
                self.crew.lanes[lane].push(LaneInput::Commit);
            }
        }
    }

    fn drained(
        &mut self,
        partition: &TopicPartition,
        token: u64,
        proposal: Option<Proposal>,
        running: u64,
    ) {
        let Some(held) = self.held.get_mut(partition).filter(|held| held.token == token) else {
            return;
        };
        if running > 0 {
            tracing::warn!(%partition, running, code = %Fault::DrainDeadline, "the drain deadline passed: events still run here, and will run again elsewhere");
        }
        self.gathering.forget(partition);
        match proposal {
            Some(proposal) => {
                held.phase = Phase::Committing(proposal.version);
                held.give_up = None;
                self.commits
                    .iter_mut()
                    .for_each(|queued| queued.retain(|earlier| earlier.partition != *partition));
                self.commits.push_back(vec![proposal]);
            }
            None => {
                held.phase = Phase::Leaving;
                held.give_up = Some(self.clock.now() + HOOK_DEADLINE);
                self.crew.lanes[held.lane].push(LaneInput::Release(partition.clone()));
            }
        }
    }

    /// Starts the next commit, if none is under way.
    fn commit_next(&mut self) {
        while !self.committing
            && let Some(mut proposals) = self.commits.pop_front()
        {
            // What was lost, came back, or began again is under another token: not to be committed.
            let current = |proposal: &Proposal| {
                let held = self.held.get(&proposal.partition)?;
                (held.ledger == proposal.token).then_some(held.tenure)
            };
            proposals.retain(|proposal| current(proposal).is_some());
            let commits: Vec<_> = proposals
                .iter()
                .filter_map(|proposal| Some((current(proposal)?, proposal.commit())))
                .collect();
            if commits.is_empty() {
                continue;
            }
            self.committing = true;
            let member = Arc::clone(&self.cluster.member);
            let inbox = Arc::clone(&self.crew.inbox);
            self.executor.spawn(async move {
                let result = member.commit(commits).await;
                drop(member);
                inbox.push(ControlInput::Committed(proposals, result));
            });
        }
    }

    fn committed(
        &mut self,
        proposals: Vec<Proposal>,
        result: Result<Vec<(TopicPartition, ErrorCode)>, ClientError>,
    ) {
        self.committing = false;
        let codes: BTreeMap<_, _> = match result {
            Ok(codes) => codes.into_iter().collect(),
            Err(error) => {
                tracing::warn!(code = %Fault::CommitFailed, %error, "a commit failed; what it held is committed again later, or repeated");
                BTreeMap::new()
            }
        };
        for proposal in proposals {
            let code = codes.get(&proposal.partition).copied();
            let verdict = verdict(code);
            if verdict != Verdict::Accepted {
                let (partition, offset) = (&proposal.partition, proposal.offset);
                tracing::warn!(%partition, offset, code = %Fault::CommitFailed, answer = ?code, "a commit was refused");
            }
            let held =
                self.held.get_mut(&proposal.partition).filter(|held| held.ledger == proposal.token);
            let Some(held) = held else { continue };
            let lane = &self.crew.lanes[held.lane];
            if held.phase == Phase::Committing(proposal.version) {
                if verdict == Verdict::MetadataTooLarge && !proposal.metadata.is_empty() {
                    // The offset matters more than the set, which only saves repeats.
                    self.commits.push_back(vec![Proposal { metadata: String::new(), ..proposal }]);
                    continue;
                }
                held.phase = Phase::Leaving;
                held.give_up = Some(self.clock.now() + HOOK_DEADLINE);
                lane.push(LaneInput::Answered(proposal.clone(), verdict));
                lane.push(LaneInput::Release(proposal.partition));
            } else {
                lane.push(LaneInput::Answered(proposal, verdict));
            }
        }
    }
}

fn verdict(code: Option<ErrorCode>) -> Verdict {
    match code {
        Some(ErrorCode::NONE) => Verdict::Accepted,
        Some(ErrorCode::OFFSET_METADATA_TOO_LARGE) => Verdict::MetadataTooLarge,
        _ => Verdict::Refused,
    }
}

/// Topics.
impl Control {
    fn want_topic(&mut self, asker: Asker, topic: Arc<str>, purpose: Purpose) {
        let askers = self.wanted_topics.entry(Arc::clone(&topic)).or_default();
        let asked = !askers.is_empty();
        if !askers.contains(&asker) {
            askers.push(asker);
        }
        if asked {
            return;
        }
        let (client, inbox) = (self.cluster.client.clone(), Arc::clone(&self.crew.inbox));
        let ladder = Arc::clone(&self.ladder);
        self.executor.spawn(async move {
            let had = have_topic(&client, &topic, purpose, &ladder).await;
            let result = had.map_err(|error| error.to_string());
            inbox.push(ControlInput::TopicTried(topic, result));
        });
    }

    fn topic_tried(&mut self, topic: &Arc<str>, result: &Result<(), String>) {
        for asker in self.wanted_topics.remove(topic).unwrap_or_default() {
            let (topic, result) = (Arc::clone(topic), result.clone());
            match asker {
                Asker::Lane(lane) => self.crew.lanes[lane].push(LaneInput::Topic(topic, result)),
                Asker::Worker(worker) => {
                    self.crew.workers[worker].push(WorkerInput::Topic(topic, result))
                }
            }
        }
    }
}

/// Creates the retry topics of the topics that exist, with as many partitions as those have, and lets
/// those grow whose topic has grown.
///
/// # Errors
/// The cluster cannot be reached, or refused.
pub(crate) async fn have_retry_topics(client: &Client, ladder: &Ladder) -> Result<(), ClientError> {
    for (topic, origin) in ladder.topics() {
        client.refresh(&[topic.as_str().into(), origin.into()]).await?;
        let Some(known) = client.topic(origin) else { continue };
        let partitions = i32::try_from(known.partitions.len()).unwrap_or(i32::MAX);
        match client.topic(&topic) {
            Some(rung) if rung.partitions.len() < known.partitions.len() => {
                grow(client, &topic, partitions).await;
            }
            Some(_) => {}
            None => _ = client.create_topic(&topic, partitions, DEFAULT_REPLICATION).await?,
        }
    }
    Ok(())
}

/// Another member may have been quicker, or the right to do it may be missing: events go by their key
/// to the partitions that there are.
async fn grow(client: &Client, topic: &str, partitions: i32) {
    if let Err(error) = client.grow_topic(topic, partitions).await {
        tracing::warn!(topic, partitions, code = %error.fault(), %error, "a retry topic stays smaller than its topic");
    }
}

async fn have_topic(
    client: &Client,
    topic: &Arc<str>,
    purpose: Purpose,
    ladder: &Ladder,
) -> Result<(), ClientError> {
    match purpose {
        Purpose::Emit => client.metadata(&[topic]).await.map(drop),
        Purpose::Departure => {
            if ladder.origin(topic).is_some() {
                have_retry_topics(client, ladder).await?;
            }
            client.refresh(std::slice::from_ref(topic)).await?;
            match client.topic(topic) {
                Some(_) => client.metadata(&[topic]).await.map(drop),
                None => client
                    .create_topic(topic, DEAD_LETTER_PARTITIONS, DEFAULT_REPLICATION)
                    .await
                    .map(drop),
            }
        }
    }
}

/// Where partitions start: at what the group has committed, or where the configuration says.
async fn starts(
    client: &Client,
    group: &str,
    start: Start,
    partitions: &[TopicPartition],
) -> Result<Vec<StartAt>, ClientError> {
    let mut starts = Vec::new();
    let mut missing = Vec::new();
    for committed in client.fetch_offsets(group, partitions).await? {
        if committed.offset < 0 {
            missing.push(committed.partition);
            continue;
        }
        let read = Metadata::decode(committed.offset, &committed.metadata);
        let unread = read.as_ref().err().copied();
        let Metadata { completed, notes } = read.unwrap_or_default();
        starts.push(StartAt {
            offset: committed.offset,
            committed: Some(committed.offset),
            completed,
            notes,
            unread,
            partition: committed.partition,
        });
    }
    cut_to_the_log(client, &mut starts).await?;
    if !missing.is_empty() {
        starts.extend(first_starts(client, start, &missing).await?);
    }
    Ok(starts)
}

/// Where partitions start of which nothing is committed.
async fn first_starts(
    client: &Client,
    start: Start,
    partitions: &[TopicPartition],
) -> Result<Vec<StartAt>, ClientError> {
    let at = match start {
        Start::Earliest => At::Earliest,
        Start::Latest => At::Latest,
    };
    let listed = client.list_offsets(partitions, at).await?;
    let start = |(partition, listed): (TopicPartition, ListedOffset)| StartAt {
        partition,
        offset: listed.offset,
        committed: None,
        completed: CompletedSet::empty(),
        notes: Vec::new(),
        unread: None,
    };
    Ok(listed.into_iter().map(start).collect())
}

/// Forgets what was done above the end of a log: the cluster lost it, and what comes there next is
/// something else.
async fn cut_to_the_log(client: &Client, starts: &mut [StartAt]) -> Result<(), ClientError> {
    let with_sets =
        starts.iter().filter(|start| !start.completed.is_empty() || !start.notes.is_empty());
    let with_sets: Vec<_> = with_sets.map(|start| start.partition.clone()).collect();
    if with_sets.is_empty() {
        return Ok(());
    }
    let ends = client.list_offsets(&with_sets, At::Latest).await?;
    for start in starts {
        if let Some(end) = ends.get(&start.partition) {
            start.completed = start.completed.below(end.offset);
            start.notes.retain(|note| note.offset < end.offset);
        }
    }
    Ok(())
}
