//! `onrush dlq show`.

use clap::Args;
use onrush_engine::dead_letter::ORIGIN_TIMESTAMP;

use super::letter::{Letter, OWN_HEADERS, shown};
use super::selection::{Place, Selection};
use crate::cluster::{Cluster, Session};
use crate::failure::Failure;
use crate::table;

/// Show one dead letter with all it has.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// The dead-letter topic.
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Which letters, as `onrush dlq list` shows them.
    #[arg(required = true, value_name = "PARTITION:OFFSET")]
    places: Vec<Place>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |session| show(session, arguments).await)
}

async fn show(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let selection = Selection::of(arguments.places.clone());
    let now = session.runtime.clock.wall_millis();
    let parts = selection.parts(&session.client, &arguments.topic, now).await?;
    let mut letters = Vec::new();
    let keep = |letter| {
        letters.push(letter);
        Ok(())
    };
    selection.each(&session.client, parts, keep).await?;
    let is_there = |place: &&Place| {
        letters.iter().any(|letter: &Letter| {
            (letter.partition.partition, letter.offset) == (place.partition, place.offset)
        })
    };
    if let Some(missing) = arguments.places.iter().find(|place| !is_there(place)) {
        let Place { partition, offset } = missing;
        return Err(Failure::usage(format!(
            "{} has no record at {partition}:{offset}; `onrush dlq list {}` shows what there is",
            arguments.topic, arguments.topic
        )));
    }
    letters.sort_by_key(|letter| (letter.partition.partition, letter.offset));
    if arguments.json {
        return table::print_json(letters);
    }
    let texts: Vec<String> = letters.iter().map(text).collect();
    table::print(&texts.join("\n"))
}

fn text(letter: &Letter) -> String {
    let facts = table::facts([
        ("letter", format!("{} {}", letter.partition.topic, letter.place())),
        (
            "origin",
            letter
                .origin
                .as_ref()
                .map_or_else(|| "not a dead letter of onrush".to_owned(), ToString::to_string),
        ),
        (
            "timestamp",
            letter.text(ORIGIN_TIMESTAMP).unwrap_or_else(|| letter.timestamp.to_string()),
        ),
        ("code", letter.code()),
        ("error", letter.error()),
        ("attempts", letter.attempts()),
        ("key", shown(letter.key.as_deref())),
        ("value", shown(letter.value.as_deref())),
    ]);
    let own = letter.headers.iter().filter(|(name, _)| !name.starts_with(OWN_HEADERS));
    let headers = own.map(|(name, value)| {
        format!("header {}: {}\n", table::visible(name), table::visible(&shown(value.as_deref())))
    });
    facts + &headers.collect::<String>()
}
