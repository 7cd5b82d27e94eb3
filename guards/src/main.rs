//! The driver of the guards: the seeded loop over fuzz targets, their corpus, and the workloads that
//! are counted. `cargo xtask fuzz` and `cargo xtask counts` run it.
#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    reason = "a driver outside the simulation: it keeps findings in files"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use onrush_guards::seeded::{self, Finding, Tally};
use onrush_guards::{CANARIES, Corpus, TARGETS, Target, Verdict, counts, window};

#[derive(Parser)]
#[command(name = "onrush-guards", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run targets with changed inputs for a while.
    Fuzz(FuzzArguments),
    /// Say which targets there are.
    Targets,
    /// Run the targets with a planted bug, which must all be found.
    Canaries {
        /// Most seconds for each.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// What is drawn depends on it alone.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Make the corpus of targets anew.
    Corpus {
        /// These, instead of all.
        #[arg(long = "target", value_name = "TARGET")]
        targets: Vec<String>,
    },
    /// Write a target's corpus as one file per input, as cargo-fuzz wants it.
    Unpack {
        /// Which.
        target: String,
        /// Into which folder.
        folder: PathBuf,
    },
    /// Write a drawing that is computed.
    Plot {
        /// Which; there is `window`.
        name: String,
        /// Into which file.
        file: PathBuf,
    },
    /// Do one workload, for a count of its instructions.
    Count {
        /// Which.
        workload: String,
        /// How often.
        #[arg(long, default_value_t = 1)]
        rounds: u32,
    },
}

#[derive(clap::Args)]
struct FuzzArguments {
    /// These targets, instead of all.
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<String>,
    /// Milliseconds for each target.
    #[arg(long, default_value_t = 6_000)]
    millis: u64,
    /// What is drawn depends on it alone.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where an input goes for which a property does not hold.
    #[arg(long, value_name = "FOLDER", default_value = "target/fuzz")]
    findings: PathBuf,
    /// Write every input to a file before it is parsed, for when the process does not survive one.
    #[arg(long)]
    record: bool,
    /// Parse this one input instead.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// What a person is told.
type Told = String;

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Fuzz(arguments) => fuzz(&arguments),
        Task::Targets => {
            TARGETS.iter().for_each(|target| println!("{:<16} {}", target.name, target.about));
            Ok(())
        }
        Task::Canaries { seconds, seed } => canaries(seconds, seed),
        Task::Corpus { targets } => corpus(&targets),
        Task::Unpack { target, folder } => unpack(&target, &folder),
        Task::Plot { name, file } => plot(&name, &file),
        Task::Count { workload, rounds } => count(&workload, rounds),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(told) => {
            eprintln!("error: {told}");
            ExitCode::FAILURE
        }
    }
}

fn plot(name: &str, file: &Path) -> Result<(), Told> {
    if name != "window" {
        return Err(format!("no drawing is called `{name}`, only `window`"));
    }
    std::fs::write(file, window::svg()).map_err(|error| format!("{}: {error}", file.display()))
}

fn select(names: &[String]) -> Result<Vec<&'static Target>, Told> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let find = |name: &String| {
        Target::named(name).ok_or_else(|| {
            let known = TARGETS.map(|target| target.name).join(", ");
            format!("no target is called `{name}`: there are {known}")
        })
    };
    names.iter().map(find).collect()
}

fn fuzz(arguments: &FuzzArguments) -> Result<(), Told> {
    let targets = select(&arguments.targets)?;
    if let Some(file) = &arguments.replay {
        return replay(&targets, file);
    }
    watch(arguments.findings.join("too-slow.bin"));
    let mut failed = Vec::new();
    for target in targets {
        match fuzz_one(target, arguments) {
            Ok(Tally { accepted, refused }) => {
                println!("{}: {accepted} inputs accepted, {refused} refused", target.name);
                if accepted == 0 || refused == 0 {
                    failed.push(format!(
                        "{}: a loop that sees one side only proves nothing",
                        target.name
                    ));
                }
            }
            Err(told) => {
                println!("{}: FAILED", target.name);
                failed.push(told);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// What is being parsed, and since when.
static PARSED: Mutex<Option<(Instant, Vec<u8>)>> = Mutex::new(None);

/// Longest that an input may take: a loop that hangs would tell nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the process when an input takes too long, and keeps that input.
fn watch(file: PathBuf) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(PATIENCE / 10);
            let parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((since, input)) = &*parsed
                && since.elapsed() > PATIENCE
            {
                let kept = keep(&file, input).err().unwrap_or_else(|| file.display().to_string());
                eprintln!("error: an input takes longer than {PATIENCE:?}: {kept}");
                std::process::exit(1);
            }
        }
    });
}

/// Notes what is parsed next.
fn note(input: &[u8]) {
    let mut parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bytes = parsed.take().map(|(_, bytes)| bytes).unwrap_or_default();
    bytes.clear();
    bytes.extend_from_slice(input);
    *parsed = Some((Instant::now(), bytes));
}

fn fuzz_one(target: &Target, arguments: &FuzzArguments) -> Result<Tally, Told> {
    let corpus = loaded(target)?;
    let time = Duration::from_millis(arguments.millis);
    let last = arguments.findings.join(format!("{}-last.bin", target.name));
    let before = |input: &[u8]| {
        note(input);
        if arguments.record {
            keep(&last, input).unwrap_or_else(|told| eprintln!("{told}"));
        }
    };
    seeded::run(target, &corpus, arguments.seed, time, before).map_err(|finding| {
        let Finding { round, entry, input, message } = *finding;
        let round = round.map_or("corpus".to_owned(), |round| round.to_string());
        let name = format!("{}-{}-{round}.bin", target.name, arguments.seed);
        let file = arguments.findings.join(name);
        let kept = match keep(&file, &input) {
            Ok(()) => format!(
                "again: cargo xtask fuzz --target {} --replay {}",
                target.name,
                file.display()
            ),
            Err(told) => told,
        };
        format!(
            "{}, seed {}, round {round}, made of `{entry}`: {message}\n{kept}",
            target.name, arguments.seed
        )
    })
}

fn loaded(target: &Target) -> Result<Corpus, Told> {
    Corpus::load(target).map_err(|error| format!("{error}; `cargo xtask fuzz --corpus` makes it"))
}

fn keep(file: &Path, input: &[u8]) -> Result<(), Told> {
    let kept = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    kept.and_then(|()| std::fs::write(file, input))
        .map_err(|error| format!("cannot keep the input in {}: {error}", file.display()))
}

fn replay(targets: &[&'static Target], file: &Path) -> Result<(), Told> {
    let [target] = targets else { return Err("a replay needs its --target".to_owned()) };
    let input = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let verdict = match seeded::parse(target, &input)? {
        Verdict::Accepted => "accepted",
        Verdict::Refused => "refused",
    };
    println!("{}: {} bytes {verdict}", target.name, input.len());
    Ok(())
}

/// A canary that is found panics, as is meant: no traces on stderr.
fn canaries(seconds: u64, seed: u64) -> Result<(), Told> {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for target in &CANARIES {
        let corpus = Corpus::make(target);
        let time = Duration::from_secs(seconds);
        match seeded::run(target, &corpus, seed, time, |_| {}) {
            Ok(_) => missed.push(format!("{} was not found in {seconds} s", target.name)),
            Err(finding) => match finding.round {
                Some(round) => println!("{}: found in round {round}", target.name),
                None => missed.push(format!("{}: {}", target.name, finding.message)),
            },
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(missed.join("\n")) }
}

fn corpus(names: &[String]) -> Result<(), Told> {
    for target in select(names)? {
        let corpus = Corpus::make(target);
        let bytes = corpus.store(target).map_err(|error| format!("{}: {error}", target.name))?;
        println!("{}: {} inputs in {bytes} bytes", target.name, corpus.entries.len());
    }
    Ok(())
}

fn unpack(name: &str, folder: &Path) -> Result<(), Told> {
    let targets = select(&[name.to_owned()])?;
    for (number, entry) in loaded(targets[0])?.entries.iter().enumerate() {
        keep(&folder.join(format!("{name}-{number:04}")), &entry.bytes)?;
    }
    Ok(())
}

fn count(name: &str, rounds: u32) -> Result<(), Told> {
    let workload = counts::WORKLOADS.iter().find(|workload| workload.name == name);
    let workload = workload.ok_or_else(|| {
        let known = counts::WORKLOADS.map(|workload| workload.name).join(", ");
        format!("no workload is called `{name}`: there are {known}")
    })?;
    (workload.run)(rounds);
    println!("events {}", u64::from(rounds) * counts::EVENTS as u64);
    println!("crc {}", counts::crc_path());
    Ok(())
}
