//! `onrush dlq list`.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use onrush_engine::dead_letter::TOPIC_SUFFIX;
use onrush_kafka::{Client, TopicDescription};
use serde::Serialize;

use super::letter::{Letter, shown};
use super::selection::Selection;
use crate::cluster::{Cluster, Session};
use crate::failure::Failure;
use crate::outcome::failure;
use crate::stderr;
use crate::table::{self, Column, Table};
use crate::topic::extents;

/// Characters of a cell that a stranger chose.
const CELL: usize = 60;

/// List dead-letter topics, or the letters of one.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// A dead-letter topic; without it, all whose names end with .dead-letter.
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// Count the letters that have the same, in place of listing each.
    #[arg(long, value_enum, value_name = "WHAT", requires = "topic")]
    by: Option<By>,
    /// At most so many letters of each partition, the latest ones.
    #[arg(
        long = "count",
        short = 'n',
        value_name = "N",
        default_value_t = 1_000,
        requires = "topic"
    )]
    count: usize,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Error,
    Code,
    Key,
    /// Topic and partition that the events came from.
    Origin,
}

impl By {
    fn of(self, letter: &Letter) -> String {
        match self {
            Self::Error => letter.error(),
            Self::Code => letter.code(),
            Self::Key => shown(letter.key.as_deref()),
            Self::Origin => letter
                .origin
                .as_ref()
                .map(|origin| format!("{}:{}", origin.topic, origin.partition))
                .unwrap_or_default(),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |session| match &arguments.topic {
        None => topics(&session.client, arguments.json).await,
        Some(topic) => letters(session, arguments, topic).await,
    })
}

#[derive(Serialize)]
struct TopicRow<'a> {
    topic: &'a str,
    partitions: usize,
    letters: i64,
}

async fn topics(client: &Client, json: bool) -> Result<(), Failure> {
    let mut topics = client.list_topics().await.map_err(failure)?;
    topics.retain(|topic| topic.name.ends_with(TOPIC_SUFFIX));
    let extents = extents(client, &topics).await?;
    let row = |topic: &TopicDescription| {
        let letters = topic.partition_names().filter_map(|name| extents.get(&name));
        (topic.partitions.len(), letters.map(|extent| extent.count()).sum::<i64>())
    };
    if json {
        return table::print_json(topics.iter().map(|topic| {
            let (partitions, letters) = row(topic);
            TopicRow { topic: &topic.name, partitions, letters }
        }));
    }
    if topics.is_empty() {
        stderr::note("no topic's name ends with .dead-letter; name the topic if yours is another");
        return Ok(());
    }
    let mut table =
        Table::new([Column::Left("TOPIC"), Column::Right("PARTITIONS"), Column::Right("LETTERS")]);
    for topic in &topics {
        let (partitions, letters) = row(topic);
        table.row([topic.name.to_string(), partitions.to_string(), letters.to_string()]);
    }
    table::print(&table.text())
}

async fn letters(session: &Session, arguments: &Arguments, topic: &str) -> Result<(), Failure> {
    let client = &session.client;
    let now = session.runtime.clock.wall_millis();
    let parts = arguments.selection.parts(client, topic, now).await?;
    if let Some(by) = arguments.by {
        let mut counts: BTreeMap<String, Count> = BTreeMap::new();
        let count = |letter: Letter| {
            counts.entry(by.of(&letter)).or_insert_with(|| Count::new(&letter)).add(&letter);
            Ok(())
        };
        arguments.selection.each(client, parts, count).await?;
        return show_counts(counts, arguments.json);
    }
    // By partition, so that what is left of each are its latest.
    let mut kept: BTreeMap<i32, std::collections::VecDeque<Letter>> = BTreeMap::new();
    let mut left_out = 0_u64;
    let keep = |letter: Letter| {
        let of_partition = kept.entry(letter.partition.partition).or_default();
        if of_partition.len() == arguments.count {
            of_partition.pop_front();
            left_out += 1;
        }
        of_partition.push_back(letter);
        Ok(())
    };
    arguments.selection.each(client, parts, keep).await?;
    if left_out > 0 {
        stderr::note(format_args!(
            "{left_out} earlier letters are not shown; --count shows more of them"
        ));
    }
    let letters = kept.into_values().flatten();
    if arguments.json {
        return table::print_json(letters);
    }
    table::print(&text(letters))
}

fn text(letters: impl Iterator<Item = Letter>) -> String {
    let mut table = Table::new([
        Column::Right("AT"),
        Column::Left("ORIGIN"),
        Column::Left("KEY"),
        Column::Right("ATTEMPTS"),
        Column::Left("CODE"),
        Column::Left("ERROR"),
    ]);
    for letter in letters {
        table.row([
            letter.place(),
            letter.origin.as_ref().map(ToString::to_string).unwrap_or_default(),
            short(&shown(letter.key.as_deref())),
            letter.attempts(),
            letter.code(),
            short(&letter.error()),
        ]);
    }
    table.text()
}

/// As much of it as a cell has room for.
fn short(text: &str) -> String {
    match text.char_indices().nth(CELL) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Letters that have the same, with the first of them as an example.
struct Count {
    letters: u64,
    example: String,
}

impl Count {
    fn new(letter: &Letter) -> Self {
        Self { letters: 0, example: letter.place() }
    }

    fn add(&mut self, _: &Letter) {
        self.letters += 1;
    }
}

#[derive(Serialize)]
struct CountRow<'a> {
    value: &'a str,
    letters: u64,
    example: &'a str,
}

fn show_counts(counts: BTreeMap<String, Count>, json: bool) -> Result<(), Failure> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(count.letters));
    if json {
        return table::print_json(counts.iter().map(|(value, count)| CountRow {
            value,
            letters: count.letters,
            example: &count.example,
        }));
    }
    let mut table =
        Table::new([Column::Right("LETTERS"), Column::Right("EXAMPLE"), Column::Left("VALUE")]);
    for (value, count) in &counts {
        table.row([count.letters.to_string(), count.example.clone(), short(value)]);
    }
    table::print(&table.text())
}
