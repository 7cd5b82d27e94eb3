//! Settings that the cluster keeps: of topics, of brokers, of groups.

use std::collections::BTreeMap;
use std::fmt;

use onrush_wire::ApiKey;
use onrush_wire::message::{describe_configs, incremental_alter_configs};

use crate::admin::{Effect, Outcomes, checked};
use crate::client::Client;
use crate::error::ClientError;
use crate::string::kafka_string;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

/// What has settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// A broker, by id.
    Broker(i32),
    /// A consumer group, by id.
    Group(String),
}

impl ConfigResource {
    fn on_wire(&self) -> (i8, String) {
        match self {
            Self::Topic(name) => (TOPIC, name.clone()),
            Self::Broker(node) => (BROKER, node.to_string()),
            Self::Group(name) => (GROUP, name.clone()),
        }
    }

    fn from_wire(kind: i8, name: &str) -> Option<Self> {
        match kind {
            TOPIC => Some(Self::Topic(name.to_owned())),
            BROKER => name.parse().ok().map(Self::Broker),
            GROUP => Some(Self::Group(name.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Broker(node) => write!(f, "broker {node}"),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// Where a setting's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// It was set on the topic.
    Topic,
    /// It was set on the group.
    Group,
    /// It was set on the broker while it ran.
    Broker,
    /// It was set on all brokers while they ran.
    AllBrokers,
    /// It stands in the broker's configuration file.
    BrokerFile,
    /// Nobody set it.
    Default,
    /// A source that this client does not know.
    Other,
}

impl ConfigSource {
    const fn from_wire(source: i8) -> Self {
        match source {
            1 => Self::Topic,
            2 => Self::Broker,
            3 => Self::AllBrokers,
            4 => Self::BrokerFile,
            5 => Self::Default,
            8 => Self::Group,
            _ => Self::Other,
        }
    }
}

/// A setting and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name of it.
    pub name: String,
    /// Its value; `None` if there is none, or if it is a secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it can not be changed.
    pub read_only: bool,
    /// Whether its value is a secret, which brokers do not tell.
    pub sensitive: bool,
    /// The value it has where it is not set on the resource itself; `None` if the broker does not
    /// say.
    pub inherited: Option<String>,
}

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// Kafka's name of the setting.
    pub name: String,
    /// What becomes of it.
    pub operation: ConfigOperation,
}

/// What becomes of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigOperation {
    /// It gets this value.
    Set(String),
    /// It is not set any longer: what is inherited holds.
    Unset,
    /// These elements are added to its list.
    Append(String),
    /// These elements are removed from its list.
    Subtract(String),
}

impl ConfigOperation {
    fn on_wire(&self) -> (i8, Option<&str>) {
        match self {
            Self::Set(value) => (0, Some(value)),
            Self::Unset => (1, None),
            Self::Append(value) => (2, Some(value)),
            Self::Subtract(value) => (3, Some(value)),
        }
    }
}

impl Client {
    /// All settings of these resources, by name.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
    ) -> Outcomes<ConfigResource, Vec<ConfigEntry>> {
        self.for_each(ApiKey::DESCRIBE_CONFIGS, resources.to_vec(), async |open| {
            let mut outcomes = Outcomes::new();
            for (node, resources) in by_node(open) {
                let wanted: Vec<_> = resources.iter().map(|resource| asked(resource)).collect();
                let request = |_| describe_configs::Request {
                    resources: wanted.clone(),
                    include_synonyms: true,
                    ..describe_configs::Request::default()
                };
                let response = match node {
                    Some(node) => self.call_node(node, request).await?,
                    None => self.call_any(request).await?,
                };
                outcomes.extend(response.results.iter().filter_map(described));
            }
            Ok(outcomes)
        })
        .await
    }

    /// Changes settings of a resource; those that are not named stay as they are.
    ///
    /// # Errors
    /// The cluster refused one of the changes, and so all of them, or nobody answered in time.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[ConfigChange],
        effect: Effect,
    ) -> Result<(), ClientError> {
        let api = ApiKey::INCREMENTAL_ALTER_CONFIGS;
        let mut outcomes = self
            .for_each(api, [resource.clone()], async |_| {
                let request = |_| incremental_alter_configs::Request {
                    resources: vec![altered(resource, changes)],
                    validate_only: effect.validate_only(),
                    ..incremental_alter_configs::Request::default()
                };
                let response = match resource {
                    ConfigResource::Broker(node) => self.call_node(*node, request).await?,
                    _ => self.call_any(request).await?,
                };
                let outcome = response.responses.iter().map(|answer| {
                    let message = answer.error_message.as_ref();
                    (resource.clone(), checked(api, resource, answer.error_code, message))
                });
                Ok(outcome.collect())
            })
            .await;
        outcomes.remove(resource).unwrap_or(Ok(()))
    }
}

/// Any broker knows the settings of topics and groups; a broker's are asked for from itself.
fn by_node(resources: &[ConfigResource]) -> BTreeMap<Option<i32>, Vec<&ConfigResource>> {
    let mut nodes = BTreeMap::<_, Vec<_>>::new();
    for resource in resources {
        let node = match resource {
            ConfigResource::Broker(node) => Some(*node),
            ConfigResource::Topic(_) | ConfigResource::Group(_) => None,
        };
        nodes.entry(node).or_default().push(resource);
    }
    nodes
}

fn asked(resource: &ConfigResource) -> describe_configs::request::DescribeConfigsResource {
    let (resource_type, name) = resource.on_wire();
    describe_configs::request::DescribeConfigsResource {
        resource_type,
        resource_name: kafka_string(&name),
        configuration_keys: None,
        ..describe_configs::request::DescribeConfigsResource::default()
    }
}

fn described(
    result: &describe_configs::response::DescribeConfigsResult,
) -> Option<(ConfigResource, Result<Vec<ConfigEntry>, ClientError>)> {
    let resource = ConfigResource::from_wire(result.resource_type, result.resource_name.as_str())?;
    let message = result.error_message.as_ref();
    let outcome = checked(ApiKey::DESCRIBE_CONFIGS, &resource, result.error_code, message);
    let entries = outcome.map(|()| {
        let mut entries: Vec<_> =
            result.configs.iter().map(|config| entry(&resource, config)).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    });
    Some((resource, entries))
}

fn entry(
    resource: &ConfigResource,
    config: &describe_configs::response::DescribeConfigsResourceResult,
) -> ConfigEntry {
    let own = match resource {
        ConfigResource::Topic(_) => ConfigSource::Topic,
        ConfigResource::Broker(_) => ConfigSource::Broker,
        ConfigResource::Group(_) => ConfigSource::Group,
    };
    let text = |value: &Option<onrush_wire::KafkaString>| {
        value.as_ref().map(|value| value.as_str().to_owned())
    };
    let value = text(&config.value);
    let source = ConfigSource::from_wire(config.config_source);
    // The values that would hold, the strongest first.
    let inherited = config
        .synonyms
        .iter()
        .find(|synonym| ConfigSource::from_wire(synonym.source) != own)
        .and_then(|synonym| text(&synonym.value));
    ConfigEntry {
        name: config.name.as_str().to_owned(),
        inherited: if source == own { inherited } else { inherited.or_else(|| value.clone()) },
        value,
        source,
        read_only: config.read_only,
        sensitive: config.is_sensitive,
    }
}

fn altered(
    resource: &ConfigResource,
    changes: &[ConfigChange],
) -> incremental_alter_configs::request::AlterConfigsResource {
    let (resource_type, name) = resource.on_wire();
    let change = |change: &ConfigChange| {
        let (config_operation, value) = change.operation.on_wire();
        incremental_alter_configs::request::AlterableConfig {
            name: kafka_string(&change.name),
            config_operation,
            value: value.map(kafka_string),
            ..incremental_alter_configs::request::AlterableConfig::default()
        }
    };
    incremental_alter_configs::request::AlterConfigsResource {
        resource_type,
        resource_name: kafka_string(&name),
        configs: changes.iter().map(change).collect(),
        ..incremental_alter_configs::request::AlterConfigsResource::default()
    }
}
