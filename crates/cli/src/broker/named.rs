//! `--config` and `--config-file`: settings by Kafka's names. All that is wrong is told at once, each
//! with the place it comes from.

use std::path::Path;

use onrush_broker::{BrokerConfig, SettingError};
use onrush_runtime::Fault;

use super::properties;
use crate::failure::Failure;

/// A setting and where it was given.
#[derive(Debug)]
struct Named {
    origin: String,
    name: String,
    value: String,
}

/// Sets in `config` what the file and then what the arguments say.
pub(super) fn apply(
    config: &mut BrokerConfig,
    file: Option<&Path>,
    arguments: &[String],
) -> Result<(), Failure> {
    let mut named = match file {
        Some(file) => in_file(file)?,
        None => Vec::new(),
    };
    let mut wrong = Vec::new();
    for argument in arguments {
        match argument.split_once('=') {
            Some((name, value)) => named.push(Named {
                origin: "--config".to_owned(),
                name: name.trim().to_owned(),
                value: value.to_owned(),
            }),
            None => wrong.push(format!("--config {argument}: must be NAME=VALUE")),
        }
    }
    let mut known = None;
    for Named { origin, name, value } in &named {
        let single = config.clone().set([(name.as_str(), value.as_str())]);
        for error in single.err().into_iter().flatten() {
            wrong.push(format!("{origin}: {}", told(error, &mut known)));
        }
    }
    if let Some(known) = known {
        wrong.push(format!("known are: {}", known.join(", ")));
    }
    if !wrong.is_empty() {
        return Err(Failure::usage(wrong.join("\n")).code(Fault::BrokerSetting));
    }
    let all = named.iter().map(|named| (named.name.as_str(), named.value.as_str()));
    config.set(all).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::usage(errors.join("\n")).code(Fault::BrokerSetting)
    })
}

/// One line; the long list of all names is left for the end.
fn told(error: SettingError, known: &mut Option<Vec<&'static str>>) -> String {
    match error {
        SettingError::Unknown { name, closest, all } => {
            *known = Some(all);
            format!("{name} is not a setting of this broker; closest are {}", closest.join(", "))
        }
        other => other.to_string(),
    }
}

fn in_file(path: &Path) -> Result<Vec<Named>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        Failure::usage(format!("--config-file {path}: {error}. Name a file of NAME=VALUE lines."))
            .code(Fault::File)
    })?;
    let properties = properties::parse(&text).into_iter();
    Ok(properties
        .map(|property| Named {
            origin: format!("{} line {}", path.display(), property.line),
            name: property.name,
            value: property.value,
        })
        .collect())
}
