//! Errors of calls about topics and groups, as a person wants to read them: what is wrong and what helps.

use onrush_kafka::{ClientError, ErrorCode};

use crate::failure::Failure;

/// A failure with what helps against it, where the command knows more than the client.
pub(crate) fn failure(error: ClientError) -> Failure {
    let hint = error.code().and_then(hint);
    let mut failure = Failure::from(error);
    if let Some(hint) = hint {
        failure.message = format!("{}. {hint}", failure.message.trim_end_matches(['.', ' ']));
    }
    failure
}

fn hint(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            Some("`onrush topic list` shows the topics that there are.")
        }
        ErrorCode::TOPIC_ALREADY_EXISTS => {
            Some("With --if-not-exists that is no error; `onrush topic alter` changes a topic.")
        }
        ErrorCode::GROUP_ID_NOT_FOUND => {
            Some("`onrush group list` shows the groups that there are.")
        }
        ErrorCode::NON_EMPTY_GROUP | ErrorCode::UNKNOWN_MEMBER_ID => {
            Some("Stop its members first; `onrush group describe` names them.")
        }
        ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC => {
            Some("Stop the members that read the topic; `onrush group describe` names them.")
        }
        ErrorCode::TOPIC_DELETION_DISABLED => {
            Some("The cluster's `delete.topic.enable` must be true for that.")
        }
        ErrorCode::INVALID_CONFIG => {
            Some("`onrush topic describe TOPIC --all` shows the settings that there are.")
        }
        ErrorCode::INVALID_REPLICATION_FACTOR => {
            Some("There cannot be more replicas (--replication) than brokers.")
        }
        _ => None,
    }
}

/// One failure of several; those that say the same say it once.
pub(crate) fn failures(errors: Vec<Failure>) -> Result<(), Failure> {
    let mut errors = errors.into_iter();
    let Some(mut first) = errors.next() else { return Ok(()) };
    let mut said = vec![first.message.clone()];
    for error in errors {
        if !said.contains(&error.message) {
            said.push(error.message);
        }
    }
    first.message = said.join("\n");
    Err(first)
}
