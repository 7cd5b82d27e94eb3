//! The seeded loop: the corpus as it is, and then changed, until time is over.
//!
//! The draws of a round depend on the seed and its number alone, so a round can be done again
//! without those before it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use onrush_runtime::{Instant, Random};

use crate::corpus::{Corpus, Entry};
use crate::mutation::mutate;
use crate::{Target, Verdict};

/// Longer than any parser may take for an input of some kilobytes, on a machine that is busy.
const SLOWEST: Duration = Duration::from_secs(10);
/// Rounds between two looks at the clock.
const STRIDE: u64 = 64;

/// Inputs by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Valid ones.
    pub accepted: u64,
    /// The others.
    pub refused: u64,
}

/// An input for which a property does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The round; `None` for an entry of the corpus as it is.
    pub round: Option<u64>,
    /// The entry that the input was made of.
    pub entry: String,
    /// What a replay is given.
    pub input: Vec<u8>,
    /// What went wrong.
    pub message: String,
}

/// Runs `target` until `time` is over. `before` sees every input before it is parsed.
///
/// # Errors
/// A property does not hold, or an entry of the corpus is refused.
pub fn run(
    target: &Target,
    corpus: &Corpus,
    seed: u64,
    time: Duration,
    mut before: impl FnMut(&[u8]),
) -> Result<Tally, Box<Finding>> {
    let mut tally = Tally::default();
    for Entry { name, bytes } in &corpus.entries {
        before(bytes);
        let finding = |message| {
            let (entry, input) = (name.clone(), bytes.clone());
            Box::new(Finding { round: None, entry, input, message })
        };
        match parse(target, bytes).map_err(finding)? {
            Verdict::Accepted => tally.accepted += 1,
            Verdict::Refused => return Err(finding("a valid input is refused".to_owned())),
        }
    }
    let end = Instant::now() + time;
    for round in 0.. {
        if round % STRIDE == 0 && Instant::now() >= end {
            break;
        }
        let (entry, input) = input_of(target, corpus, seed, round);
        before(&input);
        match parse(target, &input) {
            Ok(Verdict::Accepted) => tally.accepted += 1,
            Ok(Verdict::Refused) => tally.refused += 1,
            Err(message) => {
                let entry = entry.to_owned();
                return Err(Box::new(Finding { round: Some(round), entry, input, message }));
            }
        }
    }
    Ok(tally)
}

/// What a round parses, and the name of the entry that it was made of.
fn input_of<'a>(target: &Target, corpus: &'a Corpus, seed: u64, round: u64) -> (&'a str, Vec<u8>) {
    let random = Random::seeded(seed ^ round.wrapping_mul(0xA24B_AED4_963E_E407)).fork();
    let count = corpus.entries.len() as u64;
    let draw = || corpus.entries.get(random.below(count) as usize);
    let (Some(entry), Some(other)) = (draw(), draw()) else { return ("", Vec::new()) };
    (&entry.name, mutate(&entry.bytes, &other.bytes, target.in_parts, &random))
}

/// Parses one input.
///
/// # Errors
/// What a property that does not hold has to say.
pub fn parse(target: &Target, input: &[u8]) -> Result<Verdict, String> {
    let start = Instant::now();
    let parsed = catch_unwind(AssertUnwindSafe(|| (target.parse)(input)));
    let verdict = parsed.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        format!("panicked: {}", text.unwrap_or("without a word"))
    })?;
    match start.elapsed() {
        took if took > SLOWEST => Err(format!("took {took:?}, the limit is {SLOWEST:?}")),
        _ => Ok(verdict),
    }
}
