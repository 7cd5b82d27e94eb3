//! A group by the name that was typed, and the refusal to touch one that has members.

use onrush_kafka::{Client, ClientError, ErrorCode, GroupDescription, GroupKind};
use onrush_runtime::Fault;

use crate::failure::Failure;
use crate::outcome::failure;
use crate::table::visible;

/// Members named in an error.
const MOST_NAMED: usize = 20;

/// The description of a group, or `None` if there is no group of this name.
pub(crate) async fn find(
    client: &Client,
    group: &str,
) -> Result<Option<GroupDescription>, Failure> {
    match client.describe_group(group).await {
        Ok(description) => Ok(Some(description)),
        Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => {
            let groups = client.list_groups().await.map_err(failure)?;
            match groups.iter().find(|listed| listed.group == group) {
                Some(other) if matches!(other.kind, GroupKind::Share | GroupKind::Streams) => {
                    Err(Failure::usage(format!(
                        "group {group} is a {} group; this command knows consumer groups (classic and KIP-848) only",
                        other.kind
                    )))
                }
                _ => Ok(None),
            }
        }
        Err(error) => Err(failure(error)),
    }
}

/// A group that is not there.
pub(crate) fn unknown(group: &str) -> Failure {
    Failure::unavailable(format!(
        "there is no group {group}; `onrush group list` shows the groups that there are"
    ))
    .code(Fault::UnknownGroup)
}

/// Refuses to touch a group that has members, and names them.
pub(super) fn in_use(group: &GroupDescription, wish: &str) -> Result<(), Failure> {
    if group.members.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = group
        .members
        .iter()
        .take(MOST_NAMED)
        .map(|member| {
            let (client, host) = (visible(&member.client_id), visible(&member.host));
            format!("  {} (client {client}, {host})", visible(&member.id))
        })
        .collect();
    let more = group.members.len().saturating_sub(MOST_NAMED);
    let more = if more == 0 { String::new() } else { format!("\n  and {more} more") };
    Err(Failure::unavailable(format!(
        "group {} has members, which would not hear of it; stop them before you {wish}:\n{}{more}",
        group.group,
        names.join("\n")
    ))
    .code(Fault::GroupInUse))
}

/// A change that was refused because members joined since they were looked for.
pub(crate) fn joined_meanwhile(group: &str, error: ClientError) -> Failure {
    match error.code() {
        Some(
            ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::STALE_MEMBER_EPOCH
            | ErrorCode::NON_EMPTY_GROUP,
        ) => Failure::unavailable(format!(
            "members joined group {group} in the meantime ({error}); stop them and try again"
        ))
        .code(Fault::GroupInUse),
        _ => failure(error),
    }
}
