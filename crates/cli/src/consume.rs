//! `onrush consume`: records of topics to stdout.
//!
//! The client fetches, this command's thread walks the records in place and writes them into one buffer ([`printer`]), which
//! goes to stdout when it is full or when there is nothing more to read for the moment. Memory is bounded by the fetcher's
//! budget, that buffer, and one decompressed batch.

mod member;
mod position;
mod printer;
mod reader;

use clap::{Args, ValueEnum};
use onrush_kafka::{Client, TopicPartition};
use onrush_runtime::Clock;

use self::member::GroupReader;
use self::printer::Printer;
use self::reader::Reader;
use crate::cluster::{Cluster, Session};
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::records::encoder::Encoder;
use crate::records::envelope::EnvelopeWriter;
use crate::records::filter::{Filter, HeaderMatcher, Matcher};
use crate::records::range::{self, Range};
use crate::records::raw::{Delimiter, Delimiters};

/// Print the records of topics, to stdout.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Offsets:
  start, end             from the first record, or from what is yet to come
  N, +N, -N              from offset N, N after the first record, the last N records of each partition
  A:B                    from A up to before B; :B from the start, A:end up to what is there now
  @T, @T:U               by time: 2025-08-01, 2025-08-01T10:00:00Z, 1754006400 (seconds), 1754006400000
                         (milliseconds), now, or a duration: @-15m, @-2h:-1h, @2025-08-01:30m

Examples:
  onrush consume flights                                   # values, one a line, and on and on
  onrush consume flights --json --offset :end              # everything there is now
  onrush consume flights -o -3:end -p 0,2                  # the last three of two partitions
  onrush consume flights --json -o @-15m                   # the last quarter of an hour and what follows
  onrush consume flights --json -o start --key N14228 -n 5 # the first five of a key
  onrush consume flights -o :end --header 'source=~^bts'   # by a header and an expression
  onrush consume flights --group audit                     # go on where the group was, and commit

docs/records.md describes the formats.")]
pub(crate) struct Arguments {
    /// Topics to read.
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Which part of each partition: start, end, N, +N, -N, A:B, @T, @T:U (see --help); with --group, where it begins if the
    /// group has no offset
    #[arg(long, short, value_name = "OFFSET", default_value = "start", allow_hyphen_values = true)]
    offset: Range,
    /// Only these partitions (several with commas).
    #[arg(long, short, visible_alias = "partition", value_name = "N", value_delimiter = ',', conflicts_with = "group", value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    /// Read as a member of this group, and commit what was written.
    #[arg(long, short, value_name = "GROUP")]
    group: Option<String>,
    /// How records are written.
    #[arg(long, short, value_enum, default_value = "raw")]
    format: Format,
    /// Short for --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// End after so many records.
    #[arg(long = "count", short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End where the partitions end now; a range as in --offset :end does so too.
    #[arg(long, short = 'e')]
    exit_at_end: bool,
    /// Only records with this key, VALUE or ~REGEX (repeatable: any of them).
    #[arg(long = "key", short = 'k', value_name = "VALUE|~REGEX")]
    keys: Vec<Matcher>,
    /// Only records with this header, NAME, NAME=VALUE or NAME=~REGEX (repeatable: all of them).
    #[arg(long = "header", short = 'H', value_name = "NAME[=VALUE|=~REGEX]")]
    headers: Vec<HeaderMatcher>,
    /// Raw: what to write after a record, a line end if it is left out (escapes: \n \r \t \0 \\ \xNN)
    #[arg(long, short = 'D', value_name = "TEXT")]
    delimiter: Option<Delimiter>,
    /// Raw: write the key and this before the value.
    #[arg(long, short = 'K', value_name = "TEXT")]
    key_delimiter: Option<Delimiter>,
    /// Raw: write TEXT (NULL, if it is left out) for a key or value that is null, in place of nothing.
    #[arg(long, short = 'Z', value_name = "TEXT", num_args = 0..=1, require_equals = true, default_missing_value = "NULL")]
    null: Option<String>,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Each value, and a line end.
    Raw,
    /// Each record with all it has as a line of JSON; onrush produce --json takes it back.
    Json,
    /// Key and value, each after its length: 32 bits, big-endian, -1 for null.
    Length,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.check()?;
    arguments.cluster.run(async |session| consume(arguments, session).await)
}

async fn consume(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let mut interrupt = Interrupt::listen_twice(&session.executor);
    let range = arguments.offset.at(Clock::System.wall_millis());
    let printer = Printer::new(arguments.encoder(), arguments.filter(), arguments.count)?;
    let reader = Reader::new(&session.client, printer);
    let (reader, outcome) = match &arguments.group {
        None => assigned(arguments, &session.client, range, reader, &mut interrupt).await,
        Some(group) => {
            let (client, control) = (&session.client, session.executor.clone());
            let stop = arguments.exit_at_end;
            let mut member =
                GroupReader::join(client, control, group, &arguments.topics, reader, range, stop)
                    .await?;
            let outcome = tokio::select! {
                biased;
                () = interrupt.requested() => Ok(Ending::Interrupted),
                outcome = member.run() => outcome.map(|()| Ending::Done),
            };
            let (reader, committed) = member.end(outcome.is_err()).await;
            (reader, outcome.and_then(|ending| committed.map(|()| ending)))
        }
    };
    let printed = reader.printer.printed;
    reader.close().await;
    match outcome? {
        Ending::Done => Ok(()),
        Ending::Interrupted => {
            Err(Failure::new(Exit::Interrupted, format!("interrupted after {printed} records")))
        }
    }
}

enum Ending {
    Done,
    Interrupted,
}

/// Reads partitions by the arguments alone.
async fn assigned(
    arguments: &Arguments,
    client: &Client,
    range: Range,
    mut reader: Reader,
    interrupt: &mut Interrupt,
) -> (Reader, Result<Ending, Failure>) {
    let outcome = tokio::select! {
        biased;
        () = interrupt.requested() => Ok(Ending::Interrupted),
        outcome = read(arguments, client, range, &mut reader) => outcome.map(|()| Ending::Done),
    };
    let outcome = outcome.and_then(|ending| reader.printer.flush().map(|()| ending));
    (reader, outcome)
}

async fn read(
    arguments: &Arguments,
    client: &Client,
    range: Range,
    reader: &mut Reader,
) -> Result<(), Failure> {
    let partitions = partitions(client, &arguments.topics, &arguments.partitions).await?;
    let spans = range::resolve(client, &partitions, range, arguments.exit_at_end).await?;
    for (partition, span) in spans {
        reader.add(partition, span);
    }
    while !reader.is_done() {
        let event = reader.next().await?;
        reader.take(event)?;
    }
    Ok(())
}

/// The partitions of the topics: `only` these, or all if that is empty.
async fn partitions(
    client: &Client,
    topics: &[String],
    only: &[i32],
) -> Result<Vec<TopicPartition>, Failure> {
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let mut partitions = Vec::new();
    for topic in client.metadata(&topics).await? {
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        if let Some(missing) = only.iter().find(|wanted| **wanted >= count) {
            let topic = &topic.name;
            return Err(Failure::usage(format!(
                "{topic} has {count} partitions, there is no partition {missing}"
            )));
        }
        let wanted = |index: &i32| only.is_empty() || only.contains(index);
        let name = &topic.name;
        partitions.extend(
            (0..count).filter(wanted).map(|index| TopicPartition::new(name.clone(), index)),
        );
    }
    Ok(partitions)
}

impl Arguments {
    /// An argument that would do nothing was meant otherwise.
    fn check(&self) -> Result<(), Failure> {
        if self.group.is_some() && self.offset.to.is_some() {
            return Err(Failure::usage(
                "--offset says where a group begins, it cannot end there: leave the end away, or the group",
            ));
        }
        let raw = self.delimiter.is_some() || self.key_delimiter.is_some() || self.null.is_some();
        if raw && self.format() != Format::Raw {
            return Err(Failure::usage(
                "--delimiter, --key-delimiter and --null are for --format raw",
            ));
        }
        Ok(())
    }

    fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    fn encoder(&self) -> Encoder {
        match self.format() {
            Format::Json => Encoder::Json(EnvelopeWriter::default()),
            Format::Length => Encoder::Length,
            Format::Raw => Encoder::Raw(Delimiters {
                record: self.delimiter.clone().unwrap_or_else(Delimiter::line_end),
                key: self.key_delimiter.clone(),
                null: self.null.clone(),
            }),
        }
    }

    fn filter(&self) -> Filter {
        Filter { keys: self.keys.clone(), headers: self.headers.clone() }
    }
}
