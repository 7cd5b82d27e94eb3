//! DescribeConfigs: which value is in force, and where it comes from.

use onrush_wire::KafkaString;
use onrush_wire::message::describe_configs::request::DescribeConfigsResource;
use onrush_wire::message::describe_configs::response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use onrush_wire::message::describe_configs::{Request, Response};

use super::{GROUP_KIND, MAX_CONFIGURED_GROUPS, Refusal, too_many_groups};
use crate::BrokerConfig;
use crate::core::{Core, string};
use crate::requests::keep_first;
use crate::settings::{self, BROKER, GROUP, GroupSettings, Overrides, Setting, TopicSettings};
use crate::topics::{Resource, TopicRef};

/// The first version that tells types and documentation.
const TYPES: i16 = 3;

/// Where a value comes from, as Kafka numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Topic = 1,
    Broker = 2,
    Cluster = 3,
    Started = 4,
    Default = 5,
    Group = 8,
}

/// A setting of a resource.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) name: &'static str,
    pub(super) value: Option<String>,
    pub(super) source: Source,
    read_only: bool,
    kind: i8,
    text: &'static str,
    /// Every place that has a value, the one in force first.
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    name: &'static str,
    value: String,
    source: Source,
}

impl Core {
    pub(crate) fn describe_configs(&self, version: i16, mut request: Request) -> Response {
        keep_first(&mut request.resources, |asked| {
            (asked.resource_type, asked.resource_name.to_string())
        });
        let options = Options {
            synonyms: request.include_synonyms,
            types: version >= TYPES,
            documentation: version >= TYPES && request.include_documentation,
        };
        // Every name is that of a group: there are as many as can be told.
        let mut groups = 0;
        let mut too_many = |asked: &DescribeConfigsResource| {
            groups += usize::from(asked.resource_type == GROUP_KIND);
            asked.resource_type == GROUP_KIND && groups > MAX_CONFIGURED_GROUPS
        };
        let results = request
            .resources
            .into_iter()
            .map(|asked| match too_many(&asked) {
                true => refused(asked, too_many_groups()),
                false => self.described_resource(&options, asked),
            })
            .collect();
        Response { results, ..Response::default() }
    }

    fn described_resource(
        &self,
        options: &Options,
        asked: DescribeConfigsResource,
    ) -> DescribeConfigsResult {
        let resource = self.resource(asked.resource_type, asked.resource_name.as_str());
        let described = match resource.and_then(|resource| self.described_settings(&resource)) {
            Ok(described) => described,
            Err(refusal) => return refused(asked, refusal),
        };
        let wanted = |described: &Described| {
            let keys = asked.configuration_keys.as_ref();
            keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == described.name))
        };
        DescribeConfigsResult {
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.clone(),
            configs: described
                .into_iter()
                .filter(wanted)
                .map(|described| options.told(described))
                .collect(),
            ..DescribeConfigsResult::default()
        }
    }

    fn described_settings(&self, resource: &Resource) -> Result<Vec<Described>, Refusal> {
        let none = Overrides::new();
        let overrides = self.topics.overrides(resource).unwrap_or(&none);
        Ok(match resource {
            Resource::Topic(id) => {
                let found = self.topics.find(TopicRef::Id(*id));
                let topic = found.map_err(|error| (error, error.to_string()))?;
                self::topic(self, &topic.settings, overrides)
            }
            Resource::Cluster => BROKER
                .iter()
                .filter(|setting| overrides.contains_key(setting.name))
                .map(|setting| {
                    described(setting, &self.config, overrides, Source::Cluster, Vec::new())
                })
                .collect(),
            Resource::Broker(_) => BROKER
                .iter()
                .map(|setting| {
                    let places = broker_places(self, setting);
                    described(setting, &self.config, &none, Source::Broker, places)
                })
                .collect(),
            Resource::Group(_) => {
                let settings = GroupSettings::with(&self.config, overrides);
                own(self, GROUP, &settings, overrides, Source::Group)
            }
        })
    }
}

fn refused(asked: DescribeConfigsResource, (error, reason): Refusal) -> DescribeConfigsResult {
    DescribeConfigsResult {
        error_code: error.0,
        error_message: Some(string(&reason)),
        resource_type: asked.resource_type,
        resource_name: asked.resource_name,
        ..DescribeConfigsResult::default()
    }
}

/// The settings of a topic on which `overrides` are set.
pub(super) fn topic(
    core: &Core,
    settings: &TopicSettings,
    overrides: &Overrides,
) -> Vec<Described> {
    own(core, settings::TOPIC, settings, overrides, Source::Topic)
}

/// The settings of a resource that falls back to the broker's.
fn own<T>(
    core: &Core,
    table: &'static [Setting<T>],
    settings: &T,
    overrides: &Overrides,
    source: Source,
) -> Vec<Described> {
    let one = |setting| {
        let synonyms = stand_ins(setting);
        let places = synonyms.flat_map(|synonym| broker_places(core, synonym)).collect();
        described(setting, settings, overrides, source, places)
    };
    table.iter().map(one).collect()
}

fn stand_ins<T>(setting: &Setting<T>) -> impl Iterator<Item = &'static Setting<BrokerConfig>> {
    setting.synonyms.iter().filter_map(|name| settings::find(BROKER, name))
}

fn described<T>(
    setting: &'static Setting<T>,
    settings: &T,
    overrides: &Overrides,
    own: Source,
    mut places: Vec<Place>,
) -> Described {
    if let Some(value) = overrides.get(setting.name) {
        places.insert(0, Place { name: setting.name, value: value.clone(), source: own });
    }
    let set = places.first().filter(|place| place.name == setting.name);
    let value = set.map(|place| place.value.clone());
    Described {
        name: setting.name,
        value: value.or_else(|| (setting.read)(settings)),
        source: places.first().map_or(Source::Default, |place| place.source),
        read_only: !setting.alterable,
        kind: setting.kind.code(),
        text: setting.text,
        places,
    }
}

/// The places that have a value for a setting of the broker, the one in force first.
fn broker_places(core: &Core, setting: &'static Setting<BrokerConfig>) -> Vec<Place> {
    let own = [
        (Resource::Broker(core.config.node_id), Source::Broker),
        (Resource::Cluster, Source::Cluster),
    ];
    let altered = own.iter().filter_map(|(resource, source)| {
        let value = core.topics.overrides(resource)?.get(setting.name)?;
        Some(Place { name: setting.name, value: value.clone(), source: *source })
    });
    let (started, default) =
        ((setting.read)(&core.started), (setting.read)(&BrokerConfig::default()));
    let given = started.filter(|value| default.as_ref() != Some(value));
    let given = given.map(|value| Place { name: setting.name, value, source: Source::Started });
    let default = default.map(|value| Place { name: setting.name, value, source: Source::Default });
    altered.chain(given).chain(default).collect()
}

/// What the client wants to be told.
struct Options {
    synonyms: bool,
    types: bool,
    documentation: bool,
}

impl Options {
    fn told(&self, described: Described) -> DescribeConfigsResourceResult {
        let synonym = |place: Place| DescribeConfigsSynonym {
            name: string(place.name),
            value: Some(string(&place.value)),
            source: place.source as i8,
            ..DescribeConfigsSynonym::default()
        };
        let places = described.places.into_iter().filter(|_| self.synonyms);
        DescribeConfigsResourceResult {
            name: string(described.name),
            value: described.value.map(KafkaString::from),
            read_only: described.read_only,
            config_source: described.source as i8,
            is_sensitive: false,
            synonyms: places.map(synonym).collect(),
            config_type: if self.types { described.kind } else { 0 },
            documentation: self.documentation.then(|| string(described.text)),
            ..DescribeConfigsResourceResult::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_runtime::{Disk, Runtime};

    use super::*;

    #[test]
    fn a_resource_that_is_named_often_is_described_once() {
        const BROKER_RESOURCE: i8 = 4;
        let runtime = Runtime::production(Disk::memory());
        let core = Core::open(BrokerConfig::default(), &runtime).expect("opens");
        let broker = DescribeConfigsResource {
            resource_type: BROKER_RESOURCE,
            resource_name: string(&core.config.node_id.to_string()),
            ..DescribeConfigsResource::default()
        };
        let request = Request { resources: vec![broker; 3], ..Request::default() };
        let results = core.describe_configs(4, request).results;
        assert_eq!((results.len(), results[0].error_code), (1, 0));
    }
}
