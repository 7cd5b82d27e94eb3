//! The keys of a cluster: their names in the file, as a variable and as a flag, and what they may be.

use std::collections::BTreeMap;
use std::time::Duration;

use onrush_kafka::ClientConfig;

use crate::duration;

/// Brokers that are asked when nobody says which.
pub(crate) const DEFAULT_BROKERS: &str = "127.0.0.1:9092";

/// A setting of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Brokers,
    ClientId,
    Reroute,
    ConnectTimeout,
    RequestTimeout,
    CallTimeout,
}

/// What a key is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Brokers(Vec<String>),
    Text(String),
    Reroute(BTreeMap<String, String>),
    Duration(Duration),
}

impl Key {
    pub(crate) const ALL: [Self; 6] = [
        Self::Brokers,
        Self::ClientId,
        Self::Reroute,
        Self::ConnectTimeout,
        Self::RequestTimeout,
        Self::CallTimeout,
    ];

    /// As it stands in the file; the flag is the same with `--` before it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Brokers => "brokers",
            Self::ClientId => "client-id",
            Self::Reroute => "reroute",
            Self::ConnectTimeout => "connect-timeout",
            Self::RequestTimeout => "request-timeout",
            Self::CallTimeout => "call-timeout",
        }
    }

    pub(crate) const fn variable(self) -> &'static str {
        match self {
            Self::Brokers => "ONRUSH_BROKERS",
            Self::ClientId => "ONRUSH_CLIENT_ID",
            Self::Reroute => "ONRUSH_REROUTE",
            Self::ConnectTimeout => "ONRUSH_CONNECT_TIMEOUT",
            Self::RequestTimeout => "ONRUSH_REQUEST_TIMEOUT",
            Self::CallTimeout => "ONRUSH_CALL_TIMEOUT",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    pub(crate) fn default(self) -> Value {
        let config = ClientConfig::default();
        match self {
            Self::Brokers => Value::Brokers(vec![DEFAULT_BROKERS.to_owned()]),
            Self::ClientId => Value::Text(config.client_id),
            Self::Reroute => Value::Reroute(config.reroute),
            Self::ConnectTimeout => Value::Duration(config.connect_timeout),
            Self::RequestTimeout => Value::Duration(config.request_timeout),
            Self::CallTimeout => Value::Duration(config.call_timeout),
        }
    }

    /// Reads what a flag or a variable says.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Brokers => brokers(text.split(',')),
            Self::Reroute => reroute(text.split(',').map(|pair| {
                pair.split_once('=').ok_or_else(|| format!("`{pair}` is not FROM=TO"))
            })),
            _ => self.scalar(text),
        }
    }

    /// Reads what the file says.
    pub(crate) fn read(self, value: &toml_span::Value<'_>) -> Result<Value, String> {
        match (self, value.as_str(), value.as_array(), value.as_table()) {
            (Self::Brokers, None, Some(array), _) => {
                let texts: Option<Vec<&str>> = array.iter().map(toml_span::Value::as_str).collect();
                brokers(texts.ok_or("each broker is a string, \"host:port\"")?.into_iter())
            }
            (Self::Reroute, None, _, Some(table)) => {
                reroute(table.iter().map(|(from, to)| match to.as_str() {
                    Some(to) => Ok((&*from.name, to)),
                    None => Err(format!("`{from}` leads to a string, \"host:port\"")),
                }))
            }
            (_, Some(text), ..) => self.parse(text),
            _ => Err(self.form().to_owned()),
        }
    }

    /// How it is written in the file.
    const fn form(self) -> &'static str {
        match self {
            Self::Brokers => "brokers are a string or a list of strings, \"host:port\"",
            Self::ClientId => "it is a string",
            Self::Reroute => {
                "it is a table from address to address, { \"b1:9092\" = \"127.0.0.1:19092\" }"
            }
            Self::ConnectTimeout | Self::RequestTimeout | Self::CallTimeout => {
                "a duration is a string such as \"30s\""
            }
        }
    }

    fn scalar(self, text: &str) -> Result<Value, String> {
        match self {
            Self::ClientId if text.is_empty() => Err("it is empty".to_owned()),
            Self::ClientId => Ok(Value::Text(text.to_owned())),
            _ => match duration::parse(text)? {
                Duration::ZERO => Err("it must be longer than nothing".to_owned()),
                duration => Ok(Value::Duration(duration)),
            },
        }
    }
}

impl Value {
    /// As a flag or a variable would say it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Brokers(brokers) => brokers.join(","),
            Self::Text(text) => text.clone(),
            Self::Reroute(map) => {
                let pairs: Vec<_> = map.iter().map(|(from, to)| format!("{from}={to}")).collect();
                pairs.join(",")
            }
            Self::Duration(duration) => duration::text(*duration),
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        match self {
            Self::Brokers(brokers) => brokers.clone().into(),
            Self::Reroute(map) => map
                .iter()
                .map(|(from, to)| (from.clone(), serde_json::Value::from(to.as_str())))
                .collect(),
            Self::Text(_) | Self::Duration(_) => self.text().into(),
        }
    }

    /// As the file says it.
    pub(crate) fn toml(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Brokers(brokers) => {
                let brokers: Vec<_> = brokers.iter().map(|broker| quoted(broker)).collect();
                format!("[{}]", brokers.join(", "))
            }
            Self::Reroute(map) => {
                let pair =
                    |(from, to): (&String, &String)| format!("{} = {}", quoted(from), quoted(to));
                format!("{{ {} }}", map.iter().map(pair).collect::<Vec<_>>().join(", "))
            }
            Self::Text(_) | Self::Duration(_) => quoted(&self.text()),
        }
    }
}

fn brokers<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Value, String> {
    let brokers: Vec<String> = texts.map(address).collect::<Result<_, _>>()?;
    match brokers.is_empty() {
        true => Err("there is no broker in it".to_owned()),
        false => Ok(Value::Brokers(brokers)),
    }
}

fn reroute<'a>(
    pairs: impl Iterator<Item = Result<(&'a str, &'a str), String>>,
) -> Result<Value, String> {
    let pairs = pairs.map(|pair| {
        let (from, to) = pair?;
        Ok((address(from)?, address(to)?))
    });
    Ok(Value::Reroute(pairs.collect::<Result<_, String>>()?))
}

/// `host:port`, with an IPv6 address in brackets.
fn address(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (host, port) = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || host.starts_with('[') && host.ends_with(']'))
        .ok_or_else(|| format!("`{text}` is not host:port"))?;
    match port.parse::<u16>() {
        Ok(1..) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_that_can_be_given() {
        for key in Key::ALL {
            let text = key.default().text();
            if !text.is_empty() {
                assert_eq!(key.parse(&text), Ok(key.default()), "{}", key.name());
            }
        }
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in ["b1:9092", "127.0.0.1:1", "[::1]:9092", " b1:9092 "] {
            assert_eq!(address(good).as_deref(), Ok(good.trim()));
        }
        for bad in ["", "b1", "b1:", ":9092", "b1:0", "b1:70000", "::1:9092", "b1:x"] {
            assert!(address(bad).unwrap_err().contains("host:port"), "{bad}");
        }
    }
}
