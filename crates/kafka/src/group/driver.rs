//! Drives a membership: heartbeats to the coordinator, events to the owner, orders from it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use onrush_runtime::Instant;
use onrush_wire::Uuid;
use onrush_wire::message::consumer_group_heartbeat::{Request, Response};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::membership::{Action, Input, Membership};
use super::{GroupEvent, Identity, Orders, Shared};
use crate::client::Client;
use crate::error::ClientError;
use crate::lock::lock;

type Pending<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

struct Driver {
    shared: Arc<Shared>,
    machine: Membership,
    /// Events that the owner has no room for yet. Few: the coordinator changes nothing before
    /// revoked partitions are released, and that takes an owner who reads.
    untold: VecDeque<GroupEvent>,
    heartbeat: Pending<Result<Response, ClientError>>,
    topics: Pending<Vec<(Uuid, Arc<str>)>>,
    ended: bool,
}

pub(super) async fn run(
    shared: Arc<Shared>,
    machine: Membership,
    events: mpsc::Sender<GroupEvent>,
) {
    let mut driver = Driver {
        shared,
        machine,
        untold: VecDeque::new(),
        heartbeat: None,
        topics: None,
        ended: false,
    };
    let known = driver.known_topics();
    driver.step(Input::Topics(known));
    while !(driver.ended && driver.untold.is_empty()) {
        let deadline = driver.machine.deadline();
        let shared = Arc::clone(&driver.shared);
        tokio::select! {
            biased;
            permit = events.reserve(), if !driver.untold.is_empty() => match permit {
                Ok(permit) => if let Some(event) = driver.untold.pop_front() {
                    permit.send(event);
                },
                // The owner is gone; the group goes on without hearing of it, until it is told to
                // leave.
                Err(_) => driver.untold.clear(),
            },
            () = shared.ordered.notified() => driver.take_orders(),
            answer = ready(&mut driver.heartbeat) => driver.step(Input::Answer(answer)),
            topics = ready(&mut driver.topics) => driver.step(Input::Topics(topics)),
            () = async { sleep_until(deadline.unwrap_or_else(Instant::now)).await }, if deadline.is_some() => driver.step(Input::Tick),
        }
    }
}

/// The result of a future that may be under way, which then is no more.
async fn ready<T>(pending: &mut Pending<T>) -> T {
    match pending {
        Some(future) => {
            let result = future.await;
            *pending = None;
            result
        }
        None => std::future::pending().await,
    }
}

impl Driver {
    fn take_orders(&mut self) {
        let Orders { released, heartbeat, leave } = std::mem::take(&mut *lock(&self.shared.orders));
        if !released.is_empty() {
            self.step(Input::Released(released));
        }
        if heartbeat {
            self.step(Input::Hurry);
        }
        if leave {
            self.step(Input::Leave);
        }
    }

    fn step(&mut self, input: Input) {
        tracing::trace!(?input, "membership");
        let actions = self.machine.step(Instant::now(), input);
        self.publish();
        for action in actions {
            tracing::trace!(?action, "membership");
            match action {
                Action::Heartbeat(request) => {
                    self.heartbeat = Some(Box::pin(heartbeat(
                        self.shared.client.clone(),
                        self.shared.config.group.clone(),
                        *request,
                    )));
                }
                Action::FindCoordinator => {
                    self.shared.client.forget_coordinator(&self.shared.config.group)
                }
                Action::Resolve => {
                    let shared = Arc::clone(&self.shared);
                    self.topics.get_or_insert_with(|| Box::pin(resolve(shared)));
                }
                Action::Tell(event) => self.untold.push_back(event),
                Action::End => self.ended = true,
            }
        }
    }

    /// The epoch is out before the events that go with it.
    fn publish(&self) {
        let identity =
            Identity { epoch: self.machine.epoch(), owned: Arc::new(self.machine.owned()) };
        self.shared.identity.send_if_modified(|current| {
            let changed = *current != identity;
            if changed {
                *current = identity;
            }
            changed
        });
    }

    fn known_topics(&self) -> Vec<(Uuid, Arc<str>)> {
        known_topics(&self.shared)
    }
}

fn known_topics(shared: &Shared) -> Vec<(Uuid, Arc<str>)> {
    let topics = shared.config.topics.iter().filter_map(|name| shared.client.topic(name));
    topics.map(|topic| (topic.id, Arc::clone(&topic.name))).collect()
}

async fn heartbeat(
    client: Client,
    group: String,
    request: Request,
) -> Result<Response, ClientError> {
    let coordinator = client.coordinator(&group).await?;
    client.call(&coordinator, |_| request).await
}

/// The subscribed topics after a refresh; what is still unknown is asked for again at the next
/// heartbeat's answer.
async fn resolve(shared: Arc<Shared>) -> Vec<(Uuid, Arc<str>)> {
    let names: Vec<Arc<str>> =
        shared.config.topics.iter().map(|name| Arc::from(name.as_str())).collect();
    if let Err(error) = shared.client.refresh(&names).await {
        tracing::warn!(code = %error.fault(), %error, "cannot look up the topics that were assigned");
    }
    known_topics(&shared)
}
