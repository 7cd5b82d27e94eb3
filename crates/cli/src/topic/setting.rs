//! Settings of topics as they are typed and shown.

use onrush_kafka::ConfigSource;

/// Reads `NAME=VALUE`; the value may be empty.
pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, with Kafka's name of a setting".to_owned()),
    }
}

/// Where a value comes from, in words.
pub(super) const fn source(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::Topic => "topic",
        ConfigSource::Group => "group",
        ConfigSource::Broker => "broker",
        ConfigSource::AllBrokers => "all brokers",
        ConfigSource::BrokerFile => "broker's file",
        ConfigSource::Default => "default",
        ConfigSource::Other => "unknown",
    }
}
