//! Topics by the names that were typed.

use onrush_kafka::{Client, ClientError, ErrorCode, TopicDescription};
use onrush_runtime::Fault;

use crate::failure::Failure;
use crate::outcome::{failure, failures};

/// The descriptions of these topics, in the order given.
pub(crate) async fn described(
    client: &Client,
    names: &[String],
) -> Result<Vec<TopicDescription>, Failure> {
    let mut outcomes = client.describe_topics(&references(names)).await;
    let (mut topics, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        match outcomes.remove(name) {
            Some(Ok(topic)) => topics.push(topic),
            Some(Err(error)) if is_unknown(&error) => failed.push(unknown(name)),
            Some(Err(error)) => failed.push(failure(error)),
            // It was named twice.
            None => {}
        }
    }
    failures(failed)?;
    Ok(topics)
}

fn is_unknown(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

fn unknown(name: &str) -> Failure {
    Failure::unavailable(format!(
        "there is no topic {name}; `onrush topic list` shows the topics that there are"
    ))
    .code(Fault::UnknownTopic)
}

pub(crate) fn references(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}
