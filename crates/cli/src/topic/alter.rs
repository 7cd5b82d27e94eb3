//! `onrush topic alter`.

use clap::Args;
use onrush_kafka::{
    Client, ConfigChange, ConfigEntry, ConfigOperation, ConfigResource, ConfigSource, Effect,
    TopicDescription,
};
use serde::Serialize;

use super::named::described;
use super::setting;
use crate::cluster::Cluster;
use crate::confirm::{Confirmation, Decision};
use crate::failure::Failure;
use crate::outcome::{failure, failures};
use crate::stderr;
use crate::table::{self, Column, Table};

/// Give topics more partitions, or other settings.
///
/// What would change is shown first, and the cluster is asked whether it would do it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush topic alter flights --config retention.ms=86400000
  onrush topic alter flights orders --unset retention.ms --yes
  onrush topic alter flights --partitions 24 --dry-run")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Their names.
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// How many partitions each is to have in all. There is no way back.
    #[arg(long, short = 'p', required_unless_present_any = ["configs", "unset"],
        value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Settings by Kafka's names (repeatable).
    #[arg(long = "config", short = 'c', visible_alias = "set", value_name = "NAME=VALUE", value_parser = setting::assignment)]
    configs: Vec<(String, String)>,
    /// Settings that go back to what the cluster has for them (repeatable).
    #[arg(long, visible_alias = "delete-config", value_name = "NAME")]
    unset: Vec<String>,
    #[command(flatten)]
    confirmation: Confirmation,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// What changes of one topic.
#[derive(Debug)]
struct Plan {
    topic: String,
    changes: Vec<Difference>,
}

/// A change with what was before it.
#[derive(Debug)]
struct Difference {
    what: Change,
    now: Option<String>,
    new: Option<String>,
}

#[derive(Debug)]
enum Change {
    Partitions(i32),
    Config(ConfigChange),
}

#[derive(Serialize)]
struct PlanRow<'a> {
    topic: &'a str,
    applied: bool,
    changes: Vec<ChangeRow<'a>>,
}

#[derive(Serialize)]
struct ChangeRow<'a> {
    setting: &'a str,
    now: Option<&'a str>,
    new: Option<&'a str>,
    unset: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(name) =
        arguments.configs.iter().map(|(name, _)| name).find(|name| arguments.unset.contains(name))
    {
        return Err(Failure::usage(format!("{name} is both set and unset; leave one of them out")));
    }
    arguments.cluster.run(async |session| alter(&session.client, arguments).await)
}

async fn alter(client: &Client, arguments: &Arguments) -> Result<(), Failure> {
    let plans = plans(client, arguments).await?;
    try_out(client, &plans).await?;
    if plans.iter().all(|plan| plan.changes.is_empty()) {
        stderr::note("nothing to change");
        return show(&plans, arguments, Decision::OnlyShow);
    }
    if !arguments.json {
        table::print(&text(&plans))?;
    } else if arguments.confirmation.asks() {
        stderr::print(text(&plans));
    }
    if plans.iter().flat_map(|plan| &plan.changes).any(|change| change.partitions().is_some()) {
        stderr::note(
            "note: with more partitions, new events of a key may go to another partition than its older ones",
        );
    }
    let decision = arguments.confirmation.decide("Change that?");
    if arguments.json && decision.is_err() {
        show(&plans, arguments, Decision::OnlyShow)?;
    }
    let decision = decision?;
    if decision == Decision::Make {
        apply(client, &plans).await?;
        stderr::note("done");
    }
    show(&plans, arguments, decision)
}

async fn plans(client: &Client, arguments: &Arguments) -> Result<Vec<Plan>, Failure> {
    let topics = described(client, &arguments.names).await?;
    let resources: Vec<_> =
        topics.iter().map(|topic| ConfigResource::Topic(topic.name.clone())).collect();
    let mut configs = client.describe_configs(&resources).await;
    let mut plans = Vec::new();
    for (topic, resource) in topics.iter().zip(&resources) {
        let entries = configs.remove(resource).unwrap_or(Ok(Vec::new())).map_err(failure)?;
        let mut changes = Vec::new();
        if let Some(count) = arguments.partitions {
            changes.extend(growth(topic, count)?);
        }
        changes.extend(arguments.configs.iter().filter_map(|(name, value)| {
            let operation = ConfigOperation::Set(value.clone());
            difference(&entries, name, operation, Some(value.clone()))
        }));
        if let Some(unknown) = arguments.unset.iter().find(|name| find(&entries, name).is_none()) {
            return Err(no_setting(&topic.name, unknown));
        }
        changes.extend(arguments.unset.iter().filter_map(|name| {
            let inherited = find(&entries, name).and_then(|entry| entry.inherited.clone());
            difference(&entries, name, ConfigOperation::Unset, inherited)
        }));
        plans.push(Plan { topic: topic.name.clone(), changes });
    }
    Ok(plans)
}

fn growth(topic: &TopicDescription, count: i32) -> Result<Option<Difference>, Failure> {
    let now = topic.partitions.len();
    match usize::try_from(count) {
        Ok(count) if count == now => Ok(None),
        Ok(larger) if larger > now => Ok(Some(Difference {
            what: Change::Partitions(count),
            now: Some(now.to_string()),
            new: Some(count.to_string()),
        })),
        _ => Err(Failure::usage(format!(
            "topic {} has {now} partitions, and Kafka cannot take partitions away: --partitions must be at least {now}",
            topic.name
        ))),
    }
}

/// Clusters take back what nobody has set without a word, also where it is misspelled.
fn no_setting(topic: &str, name: &str) -> Failure {
    Failure::usage(format!(
        "--unset {name}: topic {topic} has no such setting; `onrush topic describe {topic} --all` shows those that it has"
    ))
}

fn find<'a>(entries: &'a [ConfigEntry], name: &str) -> Option<&'a ConfigEntry> {
    entries.iter().find(|entry| entry.name == name)
}

/// What a change makes of a setting; nothing if it makes no difference. One to be set that the cluster does
/// not list is left to the cluster to refuse.
fn difference(
    entries: &[ConfigEntry],
    name: &str,
    operation: ConfigOperation,
    new: Option<String>,
) -> Option<Difference> {
    let entry = find(entries, name);
    let own = entry.is_some_and(|entry| entry.source == ConfigSource::Topic);
    let now = entry.and_then(|entry| entry.value.clone());
    let same = match operation {
        ConfigOperation::Unset => entry.is_some() && !own,
        _ => own && now == new,
    };
    let change = ConfigChange { name: name.to_owned(), operation };
    (!same).then_some(Difference { what: Change::Config(change), now, new })
}

/// Asks the cluster whether it would do all of it, before anybody is asked.
async fn try_out(client: &Client, plans: &[Plan]) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for plan in plans {
        failed.extend(make(client, plan, Effect::Validate).await.err());
    }
    failures(failed)
}

async fn apply(client: &Client, plans: &[Plan]) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for plan in plans {
        match make(client, plan, Effect::Apply).await {
            Ok(()) => settle(client, plan).await,
            Err(error) => failed.push(error),
        }
    }
    failures(failed)
}

/// Settings first: more partitions cannot be taken back.
async fn make(client: &Client, plan: &Plan, effect: Effect) -> Result<(), Failure> {
    let configs: Vec<_> = plan.changes.iter().filter_map(Difference::config).collect();
    if !configs.is_empty() {
        let resource = ConfigResource::Topic(plan.topic.clone());
        client.alter_configs(&resource, &configs, effect).await.map_err(failure)?;
    }
    for count in plan.changes.iter().filter_map(Difference::partitions) {
        let grown = client.create_partitions(&[(&plan.topic, count)], effect).await;
        grown.into_values().collect::<Result<(), _>>().map_err(failure)?;
    }
    Ok(())
}

/// Waits until brokers show the partitions: who asks them next is to see what was done.
async fn settle(client: &Client, plan: &Plan) {
    for count in plan.changes.iter().filter_map(Difference::partitions) {
        let grown = |topic: &TopicDescription| {
            i32::try_from(topic.partitions.len()).is_ok_and(|now| now >= count)
                && topic.partitions.iter().all(|partition| partition.leader.is_some())
        };
        client.topic_settled(&plan.topic, |topic| topic.is_some_and(grown)).await;
    }
}

impl Difference {
    fn config(&self) -> Option<ConfigChange> {
        match &self.what {
            Change::Config(change) => Some(change.clone()),
            Change::Partitions(_) => None,
        }
    }

    /// How many partitions there are to be.
    fn partitions(&self) -> Option<i32> {
        match &self.what {
            Change::Partitions(count) => Some(*count),
            Change::Config(_) => None,
        }
    }

    fn name(&self) -> &str {
        match &self.what {
            Change::Partitions(_) => "partitions",
            Change::Config(change) => &change.name,
        }
    }

    fn row(&self) -> ChangeRow<'_> {
        ChangeRow {
            setting: self.name(),
            now: self.now.as_deref(),
            new: self.new.as_deref(),
            unset: self.unsets(),
        }
    }

    fn unsets(&self) -> bool {
        matches!(&self.what, Change::Config(ConfigChange { operation: ConfigOperation::Unset, .. }))
    }
}

fn text(plans: &[Plan]) -> String {
    let mut table = Table::new([
        Column::Left("TOPIC"),
        Column::Left("SETTING"),
        Column::Left("NOW"),
        Column::Left("NEW"),
        Column::Left("NOTE"),
    ]);
    for plan in plans {
        for change in &plan.changes {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            table.row([
                plan.topic.clone(),
                change.name().to_owned(),
                text(&change.now),
                text(&change.new),
                if change.unsets() { "the cluster's".to_owned() } else { String::new() },
            ]);
        }
    }
    table.text()
}

fn show(plans: &[Plan], arguments: &Arguments, decision: Decision) -> Result<(), Failure> {
    if !arguments.json {
        return Ok(());
    }
    table::print_json(plans.iter().map(|plan| PlanRow {
        topic: &plan.topic,
        applied: decision == Decision::Make,
        changes: plan.changes.iter().map(Difference::row).collect(),
    }))
}
