//! `onrush lag`: how far groups are behind, where that goes, and what to do about it.
//!
//! Two looks at a group ([`look`]), some seconds apart, give rates ([`trend`]); from both come the level with its action
//! ([`level`]) and findings with a name and a command each ([`finding`]). Everything is read from the cluster: committed
//! offsets with the metadata that members of Onrush put there, the ends of logs, and the first unfinished record of each
//! partition. No member is asked, so that a group without members is seen as well.

mod finding;
mod level;
mod look;
mod report;
mod trend;

use std::time::Duration;

use clap::Args;
use onrush_kafka::{Client, GroupKind};
use tokio::time::sleep;

use self::level::{Level, Thresholds};
use self::look::Look;
use self::report::Report;
use crate::cluster::{Cluster, Session};
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::group::unknown;
use crate::interrupt::Interrupt;
use crate::outcome::failure;
use crate::stderr;
use crate::table;

/// Show how far groups are behind, where that goes, and what to do about it.
#[derive(Debug, Args)]
#[command(after_help = "\
LAG is events that are in the log and not finished; what a group of Onrush has finished above the committed offset is told
apart (DONE ABOVE), so that one event that is stuck does not look like a group that is behind.
BEHIND is the age of the first unfinished event, SLOPE the change of the lag per second, LEVEL IN the time until it is zero,
EXPIRES the time until the topic's retention takes the first unfinished event.

Levels: normal, warning (from 10,000), critical (from 100,000), emergency (from 1,000,000 events).

Examples:
  onrush lag billing
  onrush lag --watch
  onrush lag billing --json | jq '.findings[].finding'
  onrush lag billing --fail-at critical > /dev/null || page-somebody")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Groups; all that have committed something, if none is named.
    #[arg(value_name = "GROUP")]
    groups: Vec<String>,
    /// Only these topics.
    #[arg(long = "topic", short = 't', value_name = "TOPIC")]
    topics: Vec<String>,
    /// Time between the two looks that rates are made of.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    over: Duration,
    /// Show it again and again.
    #[arg(long, short = 'w')]
    watch: bool,
    /// Where the levels warning, critical and emergency begin, in events.
    #[arg(long, value_name = "N,N,N", default_value = "10000,100000,1000000")]
    levels: Thresholds,
    /// In how long a group that is behind should be level again: what the advice to scale counts with.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    level_within: Duration,
    /// Fail (exit code 1) if a group has this level or a worse one.
    #[arg(long, value_enum, value_name = "LEVEL", conflicts_with = "watch")]
    fail_at: Option<Level>,
    /// One JSON object per group.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |session| {
        let mut interrupt = Interrupt::listen();
        tokio::select! {
            biased;
            () = interrupt.requested() => match arguments.watch {
                true => Ok(()),
                false => Err(Failure::new(Exit::Interrupted, "interrupted")),
            },
            outcome = lag(session, arguments) => outcome,
        }
    })
}

async fn lag(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let client = &session.client;
    let mut groups = names(client, &arguments.groups).await?;
    let mut before = looks(session, arguments, &groups).await?;
    loop {
        sleep(arguments.over).await;
        if arguments.watch {
            groups = names(client, &arguments.groups).await?;
        }
        let after = looks(session, arguments, &groups).await?;
        let mut reports = Vec::new();
        for look in &after {
            let earlier = before.iter().find(|earlier| earlier.group == look.group);
            let (levels, within) = (arguments.levels, arguments.level_within);
            reports.push(Report::of(client, earlier, look, levels, within).await?);
        }
        show(arguments, &reports)?;
        if !arguments.watch {
            return verdict(arguments.fail_at, &reports);
        }
        before = after;
    }
}

/// The groups that were named, or all that there are.
async fn names(client: &Client, named: &[String]) -> Result<Vec<String>, Failure> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let listed = client.list_groups().await.map_err(failure)?;
    let consumes = |kind: &GroupKind| !matches!(kind, GroupKind::Share | GroupKind::Streams);
    let groups = listed.into_iter().filter(|group| consumes(&group.kind));
    Ok(groups.map(|group| group.group).collect())
}

async fn looks(
    session: &Session,
    arguments: &Arguments,
    groups: &[String],
) -> Result<Vec<Look>, Failure> {
    let mut looks = Vec::new();
    for group in groups {
        let look = Look::at(session, group, &arguments.topics).await?;
        match look.partitions.is_empty() {
            false => looks.push(look),
            // Redrives and tools leave groups behind that have nothing to do any more; one that was named is shown.
            true if arguments.groups.is_empty() => {}
            true if look.members.is_none() => return Err(unknown(group)),
            true => looks.push(look),
        }
    }
    Ok(looks)
}

fn show(arguments: &Arguments, reports: &[Report<'_>]) -> Result<(), Failure> {
    if arguments.json {
        return table::print_json(reports.iter().map(Report::row));
    }
    if reports.is_empty() {
        stderr::note("no group has committed anything");
    }
    let texts: Vec<String> = reports.iter().map(Report::text).collect();
    let clear = if arguments.watch && crate::stdout::is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    table::print(&format!("{clear}{}", texts.join("\n")))
}

fn verdict(fail_at: Option<Level>, reports: &[Report<'_>]) -> Result<(), Failure> {
    let Some(limit) = fail_at else { return Ok(()) };
    let reached = reports.iter().filter(|report| report.level >= limit);
    let named: Vec<String> =
        reached.map(|report| format!("{} is at {}", report.look.group, report.level)).collect();
    match named.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Exit::Wrong, named.join(", "))),
    }
}
