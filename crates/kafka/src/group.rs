//! Membership of a consumer group (KIP-848): the coordinator assigns, members heartbeat, revoked
//! partitions are released when they are drained.
//!
//! [`Member::join`] starts a driver on the control executor, which feeds a state machine
//! (`membership`) with heartbeats' answers and time. What it decides comes out as [`GroupEvent`]s,
//! in order. Code of the user never runs there, so a slow handler costs no heartbeat.
//!
//! Shutdown: 1. the engine drains and commits, 2. [`Member::leave`] sends the goodbye and waits for
//! its answer (once: a coordinator that cannot be reached notices by itself), 3. the driver ends
//! and the events' channel closes.

mod driver;
mod membership;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onrush_runtime::{Executor, Task};
use onrush_wire::{ErrorCode, uuid};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use crate::client::Client;
use crate::error::{ClientError, Remedy, remedy_of};
use crate::lock::lock;
use crate::offsets::{Commit, Committer};
use crate::partition::TopicPartition;
use membership::Membership;

/// How long a member may take to release what was revoked, before the coordinator takes it.
pub const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Events that wait for the engine; the driver heartbeats on while they do.
const EVENTS: usize = 64;
/// Commits that met a new epoch wait this long for the heartbeat that brings it.
const EPOCH_PATIENCE: Duration = Duration::from_secs(5);

/// Which group to join, and how.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// The group's name.
    pub group: String,
    /// The topics to share.
    pub topics: Vec<String>,
    /// See [`REBALANCE_TIMEOUT`].
    pub rebalance_timeout: Duration,
    /// A name that outlives the process (static membership).
    pub instance_id: Option<String>,
    /// Where the member is.
    pub rack: Option<String>,
}

impl GroupConfig {
    /// A member of `group` for these topics, all else by default.
    pub fn new<S: Into<String>>(
        group: impl Into<String>,
        topics: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            group: group.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            rebalance_timeout: REBALANCE_TIMEOUT,
            instance_id: None,
            rack: None,
        }
    }
}

/// What the group decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupEvent {
    /// These are ours from now on, under this assignment, until they are released or lost.
    Assigned(Vec<TopicPartition>, Tenure),
    /// These are to be given back: drain, commit, then [`Member::released`].
    Revoked(Vec<TopicPartition>),
    /// These are ours no more, someone else may have them: drop them, do not commit.
    Lost(Vec<TopicPartition>),
    /// The group does not take us; the member has ended.
    Fatal(ClientError),
}

/// One assignment of partitions to a member, by its number; the coordinator's epoch may stay the
/// same when a partition goes and comes back. What was processed under one must not be committed
/// under a later one, which may have other records at the same offsets, or an owner in between that
/// has committed more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Tenure(u64);

/// Who the member is at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    epoch: i32,
    owned: Arc<BTreeMap<TopicPartition, Tenure>>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    config: GroupConfig,
    member_id: String,
    orders: Mutex<Orders>,
    ordered: Notify,
    identity: watch::Sender<Identity>,
}

/// What the owner of the member wants of the driver.
#[derive(Debug, Default)]
struct Orders {
    /// Bounded by what is assigned.
    released: BTreeSet<TopicPartition>,
    heartbeat: bool,
    leave: bool,
}

/// A member of a group. Dropping it leaves the group, without waiting for the answer.
#[derive(Debug)]
pub struct Member {
    shared: Arc<Shared>,
    driver: Mutex<Option<Task>>,
}

impl Member {
    /// Starts to join on the `control` executor. The first assignment comes as an event.
    ///
    /// # Errors
    /// A topic of the subscription does not exist, or the cluster cannot be reached.
    pub async fn join(
        client: &Client,
        control: Executor,
        config: GroupConfig,
    ) -> Result<(Self, mpsc::Receiver<GroupEvent>), ClientError> {
        let topics: Vec<&str> = config.topics.iter().map(String::as_str).collect();
        client.metadata(&topics).await?;
        let member_id = uuid::from_random(client.random().uuid()).to_string();
        let (events, receiver) = mpsc::channel(EVENTS);
        let machine = Membership::new(
            config.clone(),
            member_id.clone(),
            client.backoff(),
            client.random().clone(),
        );
        let shared = Arc::new(Shared {
            client: client.clone(),
            config,
            member_id,
            orders: Mutex::default(),
            ordered: Notify::new(),
            identity: watch::Sender::new(Identity { epoch: 0, owned: Arc::default() }),
        });
        let driver = control.spawn(driver::run(Arc::clone(&shared), machine, events));
        Ok((Self { shared, driver: Mutex::new(Some(driver)) }, receiver))
    }

    /// The epoch under which the coordinator knows the member; 0 before it joined.
    #[must_use]
    pub fn epoch(&self) -> i32 {
        self.shared.identity.borrow().epoch
    }

    /// The member's id, made by itself.
    #[must_use]
    pub fn member_id(&self) -> &str {
        &self.shared.member_id
    }

    /// Revoked partitions are drained and committed: the coordinator may give them to others.
    pub fn released(&self, partitions: &[TopicPartition]) {
        lock(&self.shared.orders).released.extend(partitions.iter().cloned());
        self.shared.ordered.notify_one();
    }

    /// Commits in the member's name. Every try, under whatever epoch, is for the partitions that are
    /// still the member's under the assignment that is said with them; the answer has the last code
    /// of each partition.
    ///
    /// # Errors
    /// The coordinator could not be asked for as long as calls are retried.
    pub async fn commit(
        &self,
        commits: Vec<(Tenure, Commit)>,
    ) -> Result<Vec<(TopicPartition, ErrorCode)>, ClientError> {
        let mut done = Vec::with_capacity(commits.len());
        let tenures: BTreeMap<TopicPartition, Tenure> =
            commits.iter().map(|(tenure, commit)| (commit.partition.clone(), *tenure)).collect();
        let mut pending: Vec<Commit> = commits.into_iter().map(|(_, commit)| commit).collect();
        let mut tries = self.shared.client.tries();
        loop {
            let epoch = self.keep_ours(&tenures, &mut pending, &mut done);
            if pending.is_empty() {
                return Ok(done);
            }
            let committer = Committer {
                member: self.shared.member_id.clone(),
                epoch,
                instance: self.shared.config.instance_id.clone(),
            };
            let codes = match self
                .shared
                .client
                .commit_once(&self.shared.config.group, Some(&committer), &pending)
                .await
            {
                Ok(codes) => codes,
                Err(error) => {
                    self.shared.client.forget_coordinator(&self.shared.config.group);
                    tries.failed(error).await?;
                    continue;
                }
            };
            let mut again = self.sort_out(codes, &mut done);
            if again.is_empty() {
                return Ok(done);
            }
            if again.values().any(|code| *code == ErrorCode::STALE_MEMBER_EPOCH) {
                self.newer_epoch(epoch).await;
            }
            if again.values().any(|code| *code != ErrorCode::STALE_MEMBER_EPOCH) {
                self.shared.client.forget_coordinator(&self.shared.config.group);
            }
            let code = again.values().next().copied().unwrap_or_default();
            let error = ClientError::answered(
                onrush_wire::ApiKey::OFFSET_COMMIT,
                self.shared.config.group.as_str(),
                retriable(code),
            );
            tries.failed(error).await?;
            pending.retain(|commit| again.remove(&commit.partition).is_some());
        }
    }

    /// Tells as fenced what is the member's no more, and returns the epoch of the same look. What
    /// was given back while a commit was retried has another owner, or had one, whose offset must
    /// not be moved back; should it be given back after this look, the epoch is a stale one.
    fn keep_ours(
        &self,
        tenures: &BTreeMap<TopicPartition, Tenure>,
        pending: &mut Vec<Commit>,
        done: &mut Vec<(TopicPartition, ErrorCode)>,
    ) -> i32 {
        let Identity { epoch, owned } = self.shared.identity.borrow().clone();
        let lost = |commit: &mut Commit| {
            let partition = &commit.partition;
            owned.get(partition).is_none_or(|tenure| tenures.get(partition) != Some(tenure))
        };
        let fenced = |commit: Commit| (commit.partition, ErrorCode::FENCED_MEMBER_EPOCH);
        done.extend(pending.extract_if(.., lost).map(fenced));
        epoch
    }

    /// Keeps the codes that are final, and returns what is worth another try.
    fn sort_out(
        &self,
        codes: Vec<(TopicPartition, ErrorCode)>,
        done: &mut Vec<(TopicPartition, ErrorCode)>,
    ) -> BTreeMap<TopicPartition, ErrorCode> {
        let owned = Arc::clone(&self.shared.identity.borrow().owned);
        let mut again = BTreeMap::new();
        for (partition, code) in codes {
            let worth = match code {
                ErrorCode::STALE_MEMBER_EPOCH => owned.contains_key(&partition),
                code => !code.is_ok() && remedy_of(code) != Remedy::Fatal,
            };
            if worth {
                again.insert(partition, code);
            } else {
                done.push((partition, code));
            }
        }
        again
    }

    /// Waits a while for an epoch above `epoch`, which a heartbeat brings.
    async fn newer_epoch(&self, epoch: i32) {
        lock(&self.shared.orders).heartbeat = true;
        self.shared.ordered.notify_one();
        let mut identity = self.shared.identity.subscribe();
        // Without one the next try tells.
        let _ = timeout(EPOCH_PATIENCE, identity.wait_for(|identity| identity.epoch > epoch)).await;
    }

    /// Leaves the group and waits for the answer.
    pub async fn leave(&self) {
        self.order_leave();
        let driver = lock(&self.driver).take();
        if let Some(driver) = driver {
            driver.join().await;
        }
    }

    fn order_leave(&self) {
        lock(&self.shared.orders).leave = true;
        self.shared.ordered.notify_one();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.order_leave();
    }
}

/// A stale epoch is retried here, although the code by itself is final.
fn retriable(code: ErrorCode) -> ErrorCode {
    if code == ErrorCode::STALE_MEMBER_EPOCH {
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
    } else {
        code
    }
}
