//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources: Kafka's settings of
//! topics, brokers and groups. What there is to set stands in [`settings`](crate::settings).

mod alter;
mod describe;

use onrush_wire::ErrorCode;
use onrush_wire::message::list_config_resources;

use crate::core::{Core, string};
use crate::settings::{self, GroupSettings, Overrides, SettingError, TOPIC, TopicSettings};
use crate::topics::{Resource, TopicRef};

/// How requests number the kinds of resources.
const TOPIC_KIND: i8 = 2;
const BROKER_KIND: i8 = 4;
const BROKER_LOGGER_KIND: i8 = 8;
const CLIENT_METRICS_KIND: i8 = 16;
const GROUP_KIND: i8 = 32;

/// Most groups on which something is set, or that one request may ask for.
const MAX_CONFIGURED_GROUPS: usize = 10_000;

/// Longest id of a group: what the older encoding of strings can carry.
const MAX_GROUP_ID: usize = i16::MAX as usize;

/// Why a resource is not described or altered.
type Refusal = (ErrorCode, String);

fn too_many_groups() -> Refusal {
    let reason = format!("the limit is {MAX_CONFIGURED_GROUPS} groups with settings");
    (ErrorCode::POLICY_VIOLATION, reason)
}

impl Core {
    /// What a request means by a kind and a name.
    fn resource(&self, kind: i8, name: &str) -> Result<Resource, Refusal> {
        match kind {
            TOPIC_KIND => match self.topics.find(TopicRef::Name(name)) {
                Ok(topic) => Ok(Resource::Topic(topic.id)),
                Err(error) => Err((error, format!("there is no topic {name}"))),
            },
            BROKER_KIND if name.is_empty() => Ok(Resource::Cluster),
            BROKER_KIND if name.parse() == Ok(self.config.node_id) => {
                Ok(Resource::Broker(self.config.node_id))
            }
            BROKER_KIND => {
                let own = self.config.node_id;
                let reason = format!("the broker is {own} (or empty, for all of the cluster)");
                Err((ErrorCode::INVALID_REQUEST, reason))
            }
            GROUP_KIND if name.is_empty() || name.len() > MAX_GROUP_ID => Err((
                ErrorCode::INVALID_GROUP_ID,
                format!("the id of a group has 1 to {MAX_GROUP_ID} bytes"),
            )),
            GROUP_KIND => Ok(Resource::Group(name.to_owned())),
            _ => Err((
                ErrorCode::INVALID_REQUEST,
                "only topics (2), brokers (4) and groups (32) have settings here".to_owned(),
            )),
        }
    }

    pub(crate) fn list_config_resources(
        &self,
        version: i16,
        request: list_config_resources::Request,
    ) -> list_config_resources::Response {
        let known = [TOPIC_KIND, BROKER_KIND, BROKER_LOGGER_KIND, CLIENT_METRICS_KIND, GROUP_KIND];
        let asked = match version {
            // The first version was for the metrics of clients, of which there are none here.
            0 => &[CLIENT_METRICS_KIND][..],
            _ if request.resource_types.is_empty() => &known[..],
            _ => &request.resource_types[..],
        };
        if asked.iter().any(|kind| !known.contains(kind)) {
            return list_config_resources::Response {
                error_code: ErrorCode::UNSUPPORTED_VERSION.0,
                ..list_config_resources::Response::default()
            };
        }
        let of_kind = |kind: i8, names: Vec<String>| {
            let wanted = asked.contains(&kind);
            names.into_iter().filter(move |_| wanted).map(move |name| {
                list_config_resources::response::ConfigResource {
                    resource_name: name.into(),
                    resource_type: kind,
                    ..Default::default()
                }
            })
        };
        let topics = self.topics.iter().map(|topic| topic.name.to_string()).collect();
        let groups = self.topics.configured_groups().map(str::to_owned).collect();
        list_config_resources::Response {
            config_resources: of_kind(TOPIC_KIND, topics)
                .chain(of_kind(BROKER_KIND, vec![self.config.node_id.to_string()]))
                .chain(of_kind(GROUP_KIND, groups))
                .collect(),
            ..list_config_resources::Response::default()
        }
    }

    /// The settings in force for a consumer group.
    pub(crate) fn group_settings(&self, group: &str) -> GroupSettings {
        match self.topics.overrides(&Resource::Group(group.to_owned())) {
            Some(overrides) => GroupSettings::with(&self.config, overrides),
            None => GroupSettings::of(&self.config),
        }
    }

    /// Checks what is to be set on a topic that is created.
    pub(super) fn new_topic_settings<'a>(
        &self,
        configs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<Overrides, Refusal> {
        let mut overrides = Overrides::new();
        let mut settings = TopicSettings::of(&self.config);
        for (name, value) in configs {
            let Some(value) = value else {
                let reason = format!("{name} has no value");
                return Err((ErrorCode::INVALID_CONFIG, reason));
            };
            settings::set(TOPIC, &mut settings, name, value).map_err(refusal)?;
            overrides.insert(name.to_owned(), value.trim().to_owned());
        }
        Ok(overrides)
    }

    /// The settings in force for a topic that is (or would be) created with these, for the answer.
    pub(super) fn described_new_topic(
        &self,
        overrides: &Overrides,
    ) -> Vec<onrush_wire::message::create_topics::response::CreatableTopicConfigs> {
        let settings = TopicSettings::with(&self.config, overrides);
        let described = describe::topic(self, &settings, overrides);
        described
            .into_iter()
            .map(|described| onrush_wire::message::create_topics::response::CreatableTopicConfigs {
                name: string(described.name),
                value: described.value.as_deref().map(string),
                read_only: false,
                config_source: described.source as i8,
                is_sensitive: false,
                ..Default::default()
            })
            .collect()
    }
}

fn refusal(error: SettingError) -> Refusal {
    (ErrorCode::INVALID_CONFIG, error.to_string())
}
