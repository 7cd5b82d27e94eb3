//! How long the group waits for a member that is silent.

use onrush_kafka::{ConfigChange, ConfigOperation, ConfigResource, Effect};

use super::super::run::Target;
use crate::stderr;

/// What the embedded broker is told; it has members report several times within a session.
pub(in super::super) const BROKER_SETTINGS: [&str; 2] =
    ["--config", "group.consumer.session.timeout.ms=3000"];

/// The same for a group of a cluster that is not ours.
const GROUP_SETTINGS: [(&str, &str); 2] =
    [("consumer.heartbeat.interval.ms", "500"), ("consumer.session.timeout.ms", "3000")];

/// Asks a cluster for sessions of the same length. One that refuses keeps its own, and the run takes longer: partitions of a
/// victim lie idle for as long as its session lasts.
pub(super) async fn shorten_sessions(target: &Target) {
    let change = |(name, value): (&str, &str)| ConfigChange {
        name: name.to_owned(),
        operation: ConfigOperation::Set(value.to_owned()),
    };
    let group = ConfigResource::Group(target.name.clone());
    let changes = GROUP_SETTINGS.map(change);
    if let Err(error) = target.client.alter_configs(&group, &changes, Effect::Apply).await {
        stderr::note(format_args!(
            "members that die are missed only when the cluster's own session time-out has passed: {error}"
        ));
    }
}
