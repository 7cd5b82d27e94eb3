//! What a client asks about a cluster beside its data: topics, settings, offsets and groups.
//!
//! A call about several things has an outcome for each of them ([`Outcomes`]): one topic that
//! cannot be made does not hide that the others were. What is asked again is only what a retry may
//! cure. Who is asked depends on the call: any broker (it forwards to the controller what only that
//! one may do), the leader of a partition, the coordinator of a group, or all brokers.

mod configs;
mod consumer_protocol;
mod groups;
mod logs;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use onrush_wire::{ApiKey, ErrorCode, KafkaString};

use crate::client::Client;
use crate::error::{ClientError, Remedy};

pub use configs::{ConfigChange, ConfigEntry, ConfigOperation, ConfigResource, ConfigSource};
pub use groups::{GroupDescription, GroupKind, GroupListing, GroupMember};
pub use logs::{At, ListedOffset};
pub use topics::{NewTopic, PartitionDescription, TopicDescription};

/// What came of each thing that was asked for.
pub type Outcomes<K, T> = BTreeMap<K, Result<T, ClientError>>;

/// Whether a change is made, or only looked at by the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is made.
    Apply,
    /// The cluster says whether it would make it.
    Validate,
}

impl Effect {
    const fn validate_only(self) -> bool {
        matches!(self, Self::Validate)
    }
}

impl Client {
    /// Asks about `items`, and again about those whose error a retry may cure.
    async fn for_each<K: Ord + Clone + Display, T>(
        &self,
        api: ApiKey,
        items: impl IntoIterator<Item = K>,
        ask: impl AsyncFn(&[K]) -> Result<Outcomes<K, T>, ClientError>,
    ) -> Outcomes<K, T> {
        let mut done = Outcomes::new();
        let mut tries = self.tries();
        let mut open: Vec<K> = items.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        while !open.is_empty() {
            let failed = match ask(&open).await {
                Ok(mut outcomes) => {
                    let mut failed = None;
                    open.retain(|item| {
                        let outcome = outcomes.remove(item).unwrap_or_else(|| {
                            Err(answered(api, item, ErrorCode::UNKNOWN_SERVER_ERROR, SAYS_NOTHING))
                        });
                        match outcome {
                            Err(error) if may_pass(&error) => failed = Some(error),
                            settled => drop(done.insert(item.clone(), settled)),
                        }
                        !done.contains_key(item)
                    });
                    failed
                }
                Err(error) => Some(error),
            };
            if let Some(error) = failed
                && let Err(error) = tries.failed(error).await
            {
                done.extend(open.drain(..).map(|item| (item, Err(error.clone()))));
            }
        }
        done
    }

    /// Sends a request to a broker by its id.
    async fn call_node<R: onrush_wire::message::Request>(
        &self,
        node: i32,
        request: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let address = self.address(node).ok_or_else(|| ClientError::Connect {
            broker: format!("broker {node}"),
            reason: "the metadata does not list it".to_owned(),
        })?;
        self.call(&address, request).await
    }

    /// How long a broker may take to carry a change out before it answers.
    fn change_timeout_ms(&self) -> i32 {
        i32::try_from(self.config().request_timeout.as_millis() / 2).unwrap_or(i32::MAX)
    }
}

const SAYS_NOTHING: &str = "the answer says nothing of it";

/// A topic that is unknown may be on its way; whoever changes or looks at one wants to hear that it
/// is not there.
fn may_pass(error: &ClientError) -> bool {
    !matches!(
        error.code(),
        Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID)
    ) && error.remedy() != Remedy::Fatal
}

fn answered(api: ApiKey, target: impl Display, code: ErrorCode, message: &str) -> ClientError {
    ClientError::Answered {
        api,
        target: target.to_string(),
        code,
        message: Some(message.to_owned()).filter(|message| !message.is_empty()),
    }
}

/// `Ok` or the error with what the broker added.
fn checked(
    api: ApiKey,
    target: impl Display,
    code: i16,
    message: Option<&KafkaString>,
) -> Result<(), ClientError> {
    match ErrorCode(code) {
        ErrorCode::NONE => Ok(()),
        code => Err(answered(api, target, code, message.map_or("", |message| message.as_str()))),
    }
}
