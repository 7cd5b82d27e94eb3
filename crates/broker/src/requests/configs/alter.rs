//! AlterConfigs and IncrementalAlterConfigs: one replaces all that is set on a resource, the other
//! changes single names.

use std::collections::BTreeSet;

use onrush_wire::message::{alter_configs, incremental_alter_configs};
use onrush_wire::{ErrorCode, KafkaString};

use super::{GROUP_KIND, MAX_CONFIGURED_GROUPS, Refusal, refusal, too_many_groups};
use crate::core::{Core, string};
use crate::settings::{self, BROKER, GROUP, GroupSettings, Kind, Overrides, TOPIC, TopicSettings};
use crate::topics::{Resource, TopicRef};

/// What is to be done with a name.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Set,
    Delete,
    /// To and from a list.
    Append,
    Subtract,
}

impl Operation {
    fn of(code: i8) -> Result<Self, Refusal> {
        match code {
            0 => Ok(Self::Set),
            1 => Ok(Self::Delete),
            2 => Ok(Self::Append),
            3 => Ok(Self::Subtract),
            _ => Err((ErrorCode::INVALID_REQUEST, format!("there is no operation {code}"))),
        }
    }
}

/// Where changes begin.
#[derive(Clone, Copy, Debug)]
enum Base {
    /// At what is set.
    Present,
    /// At nothing.
    Empty,
}

impl Core {
    pub(crate) fn incremental_alter_configs(
        &mut self,
        request: incremental_alter_configs::Request,
    ) -> incremental_alter_configs::Response {
        let named = request.resources.iter();
        let twice = twice(named.map(|asked| (asked.resource_type, asked.resource_name.as_str())));
        let mut responses = Vec::with_capacity(request.resources.len());
        for asked in &request.resources {
            let (kind, name) = (asked.resource_type, asked.resource_name.as_str());
            let changes = asked.configs.iter().map(|config| {
                let operation = Operation::of(config.config_operation);
                (config.name.as_str(), operation, config.value.as_ref())
            });
            let altered = match twice.contains(&(kind, name)) {
                true => Err(named_twice()),
                false => self.alter(kind, name, Base::Present, changes, request.validate_only),
            };
            let (error, message) = outcome(altered);
            responses.push(incremental_alter_configs::response::AlterConfigsResourceResponse {
                error_code: error.0,
                error_message: message,
                resource_type: kind,
                resource_name: asked.resource_name.clone(),
                ..Default::default()
            });
        }
        incremental_alter_configs::Response { responses, ..Default::default() }
    }

    pub(crate) fn alter_configs(
        &mut self,
        request: alter_configs::Request,
    ) -> alter_configs::Response {
        let named = request.resources.iter();
        let twice = twice(named.map(|asked| (asked.resource_type, asked.resource_name.as_str())));
        let mut responses = Vec::with_capacity(request.resources.len());
        for asked in &request.resources {
            let (kind, name) = (asked.resource_type, asked.resource_name.as_str());
            let changes = asked.configs.iter();
            let changes = changes
                .map(|config| (config.name.as_str(), Ok(Operation::Set), config.value.as_ref()));
            let altered = match twice.contains(&(kind, name)) {
                true => Err(named_twice()),
                false => self.alter(kind, name, Base::Empty, changes, request.validate_only),
            };
            let (error, message) = outcome(altered);
            responses.push(alter_configs::response::AlterConfigsResourceResponse {
                error_code: error.0,
                error_message: message,
                resource_type: kind,
                resource_name: asked.resource_name.clone(),
                ..Default::default()
            });
        }
        alter_configs::Response { responses, ..Default::default() }
    }

    fn alter<'a>(
        &mut self,
        kind: i8,
        name: &str,
        base: Base,
        changes: impl Iterator<Item = (&'a str, Result<Operation, Refusal>, Option<&'a KafkaString>)>,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let resource = self.resource(kind, name)?;
        let mut overrides = match base {
            Base::Present => self.topics.overrides(&resource).cloned().unwrap_or_default(),
            Base::Empty => Overrides::new(),
        };
        let mut named = BTreeSet::new();
        for (name, operation, value) in changes {
            if !named.insert(name) {
                let reason = format!("{name} is named more than once");
                return Err((ErrorCode::INVALID_REQUEST, reason));
            }
            self.change(&resource, &mut overrides, name, operation?, value)?;
        }
        self.check(&resource, &overrides)?;
        if kind == GROUP_KIND
            && self.topics.overrides(&resource).is_none()
            && self.topics.configured_groups().count() >= MAX_CONFIGURED_GROUPS
        {
            return Err(too_many_groups());
        }
        if validate_only {
            return Ok(());
        }
        tracing::info!(?resource, ?overrides, "altered settings");
        self.topics.set_overrides(&self.started, resource, overrides).map_err(|error| {
            (ErrorCode::KAFKA_STORAGE_ERROR, format!("the broker cannot store it: {error}"))
        })?;
        self.config = self.topics.effective(&self.started);
        Ok(())
    }

    fn change(
        &self,
        resource: &Resource,
        overrides: &mut Overrides,
        name: &str,
        operation: Operation,
        value: Option<&KafkaString>,
    ) -> Result<(), Refusal> {
        if let Operation::Delete = operation {
            overrides.remove(name);
            return Ok(());
        }
        let Some(value) = value else {
            return Err((ErrorCode::INVALID_REQUEST, format!("{name} has no value")));
        };
        let mut value = value.as_str().trim().to_owned();
        if matches!(operation, Operation::Append | Operation::Subtract) {
            let in_force = self.list_in_force(resource, overrides, name)?;
            value = changed_list(&in_force, operation, &value);
        }
        overrides.insert(name.to_owned(), value);
        Ok(())
    }

    /// The value of a list that is to be changed.
    fn list_in_force(
        &self,
        resource: &Resource,
        overrides: &Overrides,
        name: &str,
    ) -> Result<String, Refusal> {
        let (kind, default) = match resource {
            Resource::Topic(_) => {
                let settings = TopicSettings::of(&self.config);
                let setting = settings::find(TOPIC, name);
                setting.map(|setting| (setting.kind, (setting.read)(&settings)))
            }
            Resource::Cluster | Resource::Broker(_) => {
                let setting = settings::find(BROKER, name);
                setting.map(|setting| (setting.kind, (setting.read)(&self.config)))
            }
            Resource::Group(_) => None,
        }
        .unwrap_or((Kind::String, None));
        if kind != Kind::List {
            let reason = format!("{name} is not a list, which can be appended to");
            return Err((ErrorCode::INVALID_CONFIG, reason));
        }
        Ok(overrides.get(name).cloned().or(default).unwrap_or_default())
    }

    /// Checks all that is to stand on a resource.
    fn check(&self, resource: &Resource, overrides: &Overrides) -> Result<(), Refusal> {
        match resource {
            Resource::Topic(id) => {
                self.topics.find(TopicRef::Id(*id)).map_err(|error| (error, error.to_string()))?;
                let mut settings = TopicSettings::of(&self.config);
                for (name, value) in overrides {
                    settings::set(TOPIC, &mut settings, name, value).map_err(refusal)?;
                }
            }
            Resource::Group(_) => {
                let mut settings = GroupSettings::of(&self.config);
                for (name, value) in overrides {
                    settings::set(GROUP, &mut settings, name, value).map_err(refusal)?;
                }
                settings.check(&self.config).map_err(refusal)?;
            }
            Resource::Cluster | Resource::Broker(_) => {
                let mut config = self.started.clone();
                for (name, value) in overrides {
                    settings::set(BROKER, &mut config, name, value).map_err(refusal)?;
                    if settings::find(BROKER, name).is_some_and(|setting| !setting.alterable) {
                        let reason =
                            format!("{name} cannot be altered while the broker runs: start it so");
                        return Err((ErrorCode::INVALID_REQUEST, reason));
                    }
                }
            }
        }
        Ok(())
    }
}

fn changed_list(in_force: &str, operation: Operation, value: &str) -> String {
    let mut list: Vec<&str> = in_force.split(',').filter(|item| !item.is_empty()).collect();
    let named = value.split(',').map(str::trim).filter(|item| !item.is_empty());
    for item in named {
        list.retain(|other| *other != item);
        if let Operation::Append = operation {
            list.push(item);
        }
    }
    list.join(",")
}

/// What is named more than once.
fn twice<'a>(named: impl Iterator<Item = (i8, &'a str)>) -> BTreeSet<(i8, &'a str)> {
    let mut seen = BTreeSet::new();
    named.filter(|resource| !seen.insert(*resource)).collect()
}

fn named_twice() -> Refusal {
    (ErrorCode::INVALID_REQUEST, "the request names the resource more than once".to_owned())
}

fn outcome(altered: Result<(), Refusal>) -> (ErrorCode, Option<KafkaString>) {
    match altered {
        Ok(()) => (ErrorCode::NONE, None),
        Err((error, reason)) => (error, Some(string(&reason))),
    }
}
