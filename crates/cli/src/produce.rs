//! `onrush produce`: records from stdin or files into a topic.
//!
//! A thread reads ([`input`]), the command's own decodes and appends ([`sending`]), the client's sends. Memory is bounded by
//! the pieces of input that are on their way, the record that is not whole yet, and the producer's batches. Whatever ends the
//! input (its end, a fault in it, Ctrl-C, a batch that fails), what was appended is flushed and counted.

mod acks;
mod input;
mod pacer;
mod sending;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use onrush_kafka::produce::{BATCH_BYTES, MAX_BATCH_BYTES, MAX_REQUEST_BYTES};
use onrush_kafka::{Compression, Header, Producer, ProducerConfig};
use onrush_runtime::{Fault, Instant};

pub(crate) use self::acks::Acks;
use self::input::Input;
pub(crate) use self::pacer::Pacer;
use self::sending::{Placement, Rules, Sending};
use crate::cluster::{Cluster, Session};
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::records::decoder::InputFormat;
use crate::records::raw::{Delimiter, Delimiters};
use crate::stderr::note;

/// Send records to a topic, from stdin or files.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  echo hello | onrush produce greetings                            # each line is a value
  onrush produce greetings -K : <<< 'en:hello'                     # key before a delimiter
  onrush produce flights --format csv --key tail flights.csv       # rows become JSON objects
  onrush consume flights --json --offset :end | onrush produce copy --json
  echo | onrush produce greetings --key en -Z                      # a tombstone

docs/records.md describes the formats.")]
pub(crate) struct Arguments {
    /// Topic to send to; it must exist.
    topic: String,
    /// Files to read, one after the other; - is stdin, which is read if there are none.
    files: Vec<PathBuf>,
    /// What the input consists of.
    #[arg(long, short, value_enum, default_value = "raw")]
    format: Format,
    /// Short for --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Key of every record; with --format csv, the column that has it.
    #[arg(long, short = 'k', value_name = "KEY")]
    key: Option<String>,
    /// Header of every record, NAME=VALUE, NAME:VALUE, or NAME for one without a value (repeatable).
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, Option<String>)>,
    /// Partition of every record; auto goes by the key, also where a JSON line says otherwise.
    #[arg(long, short, value_name = "N|auto", value_parser = placement)]
    partition: Option<Placement>,
    /// Raw: what ends a record, a line end if it is left out (escapes: \n \r \t \0 \\ \xNN)
    #[arg(long, short = 'D', value_name = "TEXT")]
    delimiter: Option<Delimiter>,
    /// Raw: what ends the key at the start of a record; a record without it has no key.
    #[arg(long, short = 'K', value_name = "TEXT", conflicts_with = "key")]
    key_delimiter: Option<Delimiter>,
    /// Raw: a key or value that is exactly TEXT (nothing, if it is left out) is null; a null value is a tombstone.
    #[arg(long, short = 'Z', value_name = "TEXT", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    null: Option<String>,
    /// CSV: what separates fields, a comma if it is left out
    #[arg(long, value_name = "CHAR", value_parser = separator)]
    separator: Option<u8>,
    /// What batches are compressed with.
    #[arg(long, short = 'z', value_name = "CODEC", default_value = "none", value_parser = codecs())]
    compression: Compression,
    /// Who must have a record before it counts as sent.
    #[arg(long, value_enum, default_value = "all")]
    acks: Acknowledged,
    /// Send at most N records per second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    rate: Option<u64>,
    /// Give records the time of sending, also where a JSON line says otherwise.
    #[arg(long)]
    now: bool,
    /// Largest record and batch: what the topic takes (max.message.bytes)
    #[arg(long, value_name = "BYTES", default_value_t = MAX_BATCH_BYTES as u64, value_parser = clap::value_parser!(u64).range(1_024..=MAX_REQUEST_BYTES as u64))]
    max_message_bytes: u64,
    /// Say nothing when all went well.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Each line is a value.
    Raw,
    /// Each line is a JSON object with key, value, headers and more, as onrush consume --json writes it.
    Json,
    /// Each row is a value, a JSON object with the names of the header row.
    Csv,
    /// Key and value, each after its length: 32 bits, big-endian, -1 for null.
    Length,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Acknowledged {
    /// All replicas in sync.
    All,
    /// The leader.
    Leader,
}

fn codecs() -> impl TypedValueParser<Value = Compression> {
    let names = Compression::ALL.map(|compression| compression.codec().name());
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Compression>())
}

fn header(text: &str) -> Result<(String, Option<String>), String> {
    Ok(match text.split_once(['=', ':']) {
        None => (text.to_owned(), None),
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
    })
}

fn placement(text: &str) -> Result<Placement, String> {
    match text.parse() {
        Ok(partition @ 0..) => Ok(Placement::Fixed(partition)),
        _ if text == "auto" => Ok(Placement::Key),
        _ => Err("expected the number of a partition, or auto".to_owned()),
    }
}

fn separator(text: &str) -> Result<u8, String> {
    match text.parse::<Delimiter>()?.bytes() {
        &[byte] if !matches!(byte, b'\n' | b'\r' | b'"') => Ok(byte),
        _ => Err("expected one byte that is no quote and no line end".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.check()?;
    arguments.cluster.run(async |session| produce(arguments, session).await)
}

async fn produce(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let mut interrupt = Interrupt::listen_twice(&session.executor);
    session.client.metadata(&[&arguments.topic]).await?;
    let config = arguments.producer();
    let largest = config.max_batch_bytes;
    let producer = Producer::start(&session.client, config).await?;
    let acks = Arc::new(Acks::default());
    let mut appender = producer.appender(acks.clone());
    let topic = appender.topic(&arguments.topic)?;
    let mut input = Input::start(&session.runtime, &arguments.files)?;
    let mut sending = Sending::new(
        appender,
        topic,
        arguments.rules(),
        arguments.rate,
        arguments.input_format(),
        largest,
    );
    if arguments.files.is_empty() && !arguments.quiet && std::io::stdin().is_terminal() {
        note("reading from the terminal; Ctrl-D at the start of a line ends the input");
    }
    let outcome = tokio::select! {
        biased;
        () = interrupt.requested() => Err(Failure::new(Exit::Interrupted, "interrupted")),
        () = acks.failure() => Ok(()),
        outcome = sending.run(&mut input) => outcome,
    };
    sending.appender.flush(Instant::now());
    producer.flush().await;
    account(arguments, outcome, sending.sent, &acks)
}

/// Tells how many records were sent and acknowledged, with whatever went wrong.
fn account(
    arguments: &Arguments,
    outcome: Result<(), Failure>,
    sent: u64,
    acks: &Acks,
) -> Result<(), Failure> {
    let counts = format!("{sent} records sent, {} acknowledged", acks.acknowledged());
    let failure = match (outcome, acks.failed()) {
        (Ok(()), None) => {
            if !arguments.quiet {
                note(counts);
            }
            return Ok(());
        }
        (Err(failure), None) => failure,
        (Ok(()), Some((count, error))) => {
            let failure =
                Failure::from(error).doing(format!("{count} records were not acknowledged"));
            let message = match failure.fault {
                Fault::TooLarge => format!(
                    "{failure}; a batch holds many records: set --max-message-bytes to what the topic takes"
                ),
                _ => failure.message,
            };
            Failure { message, ..failure }
        }
        (Err(failure), Some((count, error))) => {
            let message = format!("{failure}; {count} records were not acknowledged: {error}");
            Failure { message, ..failure }
        }
    };
    Err(Failure { message: format!("{failure}; {counts}"), ..failure })
}

impl Arguments {
    fn producer(&self) -> ProducerConfig {
        let largest = usize::try_from(self.max_message_bytes).unwrap_or(MAX_BATCH_BYTES);
        ProducerConfig {
            compression: self.compression,
            batch_bytes: BATCH_BYTES.min(largest),
            max_batch_bytes: largest,
            acks: match self.acks {
                Acknowledged::All => onrush_kafka::Acks::All,
                Acknowledged::Leader => onrush_kafka::Acks::Leader,
            },
            ..ProducerConfig::default()
        }
    }

    /// An argument that would do nothing was meant otherwise.
    fn check(&self) -> Result<(), Failure> {
        let raw = self.delimiter.is_some() || self.key_delimiter.is_some() || self.null.is_some();
        if raw && self.format() != Format::Raw {
            return Err(Failure::usage(
                "--delimiter, --key-delimiter and --null are for --format raw",
            ));
        }
        if self.separator.is_some() && self.format() != Format::Csv {
            return Err(Failure::usage("--separator is for --format csv"));
        }
        Ok(())
    }

    fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    fn input_format(&self) -> InputFormat {
        match self.format() {
            Format::Raw => InputFormat::Raw(Delimiters {
                record: self.delimiter.clone().unwrap_or_else(Delimiter::line_end),
                key: self.key_delimiter.clone(),
                null: self.null.clone(),
            }),
            Format::Json => InputFormat::Json,
            Format::Csv => InputFormat::Csv {
                separator: self.separator.unwrap_or(b','),
                key: self.key.clone(),
            },
            Format::Length => InputFormat::Length,
        }
    }

    fn rules(&self) -> Rules<'_> {
        let headers = self.headers.iter().map(|(name, value)| Header {
            key: name.as_str(),
            value: value.as_ref().map(String::as_bytes),
        });
        let by_column = self.format() == Format::Csv;
        Rules {
            key: self.key.as_ref().filter(|_| !by_column).map(String::as_bytes),
            headers: headers.collect(),
            placement: self.partition.unwrap_or(Placement::Input),
            stamp_now: self.now,
        }
    }
}
