//! `onrush explain`: the pages of `docs/errors`, which the binary carries with it.

use clap::Args;
use onrush_runtime::Fault;

use crate::failure::Failure;
use crate::stdout;

/// Print cause and cure of an error by its code.
///
/// Without a code it lists all of them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  onrush explain ONR0012
  onrush explain | grep -i topic")]
pub(crate) struct Arguments {
    /// The code, as an error, a log line or the header of a dead letter has it.
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let text = match &arguments.code {
        None => Fault::ALL.map(|fault| format!("{}\n", title(fault))).concat(),
        Some(code) => match code.parse() {
            Ok(fault) => page(fault).to_owned(),
            Err(_) => {
                let what = format!("`{code}` is no code; `onrush explain` lists all");
                return Err(Failure::usage(what));
            }
        },
    };
    stdout::print(&text)
}

/// The first line of its page, which repeats the code.
fn title(fault: Fault) -> &'static str {
    page(fault).lines().next().unwrap_or_default().trim_start_matches("# ")
}

/// A code without a page does not compile; a page without a code fails the test below.
fn page(fault: Fault) -> &'static str {
    match fault {
        Fault::Usage => include_str!("../../../docs/errors/ONR0001.md"),
        Fault::Configuration => include_str!("../../../docs/errors/ONR0002.md"),
        Fault::UnknownCluster => include_str!("../../../docs/errors/ONR0003.md"),
        Fault::File => include_str!("../../../docs/errors/ONR0004.md"),
        Fault::Input => include_str!("../../../docs/errors/ONR0005.md"),
        Fault::NotConfirmed => include_str!("../../../docs/errors/ONR0006.md"),
        Fault::Thread => include_str!("../../../docs/errors/ONR0007.md"),
        Fault::Stalled => include_str!("../../../docs/errors/ONR0008.md"),
        Fault::Interrupted => include_str!("../../../docs/errors/ONR0009.md"),
        Fault::Wrong => include_str!("../../../docs/errors/ONR0010.md"),
        Fault::Unavailable => include_str!("../../../docs/errors/ONR0011.md"),
        Fault::Unreachable => include_str!("../../../docs/errors/ONR0012.md"),
        Fault::ConnectionLost => include_str!("../../../docs/errors/ONR0013.md"),
        Fault::NoAnswer => include_str!("../../../docs/errors/ONR0014.md"),
        Fault::Protocol => include_str!("../../../docs/errors/ONR0015.md"),
        Fault::BrokerTooOld => include_str!("../../../docs/errors/ONR0016.md"),
        Fault::Refused => include_str!("../../../docs/errors/ONR0017.md"),
        Fault::UnknownTopic => include_str!("../../../docs/errors/ONR0018.md"),
        Fault::TopicExists => include_str!("../../../docs/errors/ONR0019.md"),
        Fault::NoLeader => include_str!("../../../docs/errors/ONR0020.md"),
        Fault::NotAuthorized => include_str!("../../../docs/errors/ONR0021.md"),
        Fault::UnknownGroup => include_str!("../../../docs/errors/ONR0022.md"),
        Fault::GroupInUse => include_str!("../../../docs/errors/ONR0023.md"),
        Fault::Expired => include_str!("../../../docs/errors/ONR0024.md"),
        Fault::LogCut => include_str!("../../../docs/errors/ONR0025.md"),
        Fault::TooLarge => include_str!("../../../docs/errors/ONR0026.md"),
        Fault::CorruptBatch => include_str!("../../../docs/errors/ONR0027.md"),
        Fault::BrokerStorage => include_str!("../../../docs/errors/ONR0028.md"),
        Fault::MayHaveBeenWritten => include_str!("../../../docs/errors/ONR0029.md"),
        Fault::NotDelivered => include_str!("../../../docs/errors/ONR0030.md"),
        Fault::Overloaded => include_str!("../../../docs/errors/ONR0031.md"),
        Fault::Closed => include_str!("../../../docs/errors/ONR0032.md"),
        Fault::CommitFailed => include_str!("../../../docs/errors/ONR0033.md"),
        Fault::ForeignMetadata => include_str!("../../../docs/errors/ONR0034.md"),
        Fault::Listen => include_str!("../../../docs/errors/ONR0040.md"),
        Fault::DataInUse => include_str!("../../../docs/errors/ONR0041.md"),
        Fault::DataDirectory => include_str!("../../../docs/errors/ONR0042.md"),
        Fault::NewerFormat => include_str!("../../../docs/errors/ONR0043.md"),
        Fault::Damaged => include_str!("../../../docs/errors/ONR0044.md"),
        Fault::BrokerSetting => include_str!("../../../docs/errors/ONR0045.md"),
        Fault::ConsumerSetting => include_str!("../../../docs/errors/ONR0050.md"),
        Fault::HandlerFailed => include_str!("../../../docs/errors/ONR0051.md"),
        Fault::DeadLetterRefused => include_str!("../../../docs/errors/ONR0052.md"),
        Fault::EmitRefused => include_str!("../../../docs/errors/ONR0053.md"),
        Fault::DrainDeadline => include_str!("../../../docs/errors/ONR0054.md"),
        Fault::KeyPaused => include_str!("../../../docs/errors/ONR0055.md"),
        Fault::PartitionPaused => include_str!("../../../docs/errors/ONR0056.md"),
        Fault::HandlerStopped => include_str!("../../../docs/errors/ONR0057.md"),
        Fault::Bug => include_str!("../../../docs/errors/ONR0060.md"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn each_code_has_its_page_with_cause_and_cure() {
        for fault in Fault::ALL {
            let page = page(fault);
            assert!(page.starts_with(&format!("# {fault}: ")), "{fault}: {}", title(fault));
            for part in ["\n## Cause\n", "\n## Cure\n"] {
                assert!(page.contains(part), "{fault} lacks {part:?}");
            }
        }
    }

    /// Commands in backticks, with the placeholders of help as values.
    fn commands(page: &str) -> impl Iterator<Item = &str> {
        let quoted = page.split('`').skip(1).step_by(2);
        quoted.filter(|text| text.starts_with("onrush "))
    }

    #[test]
    fn what_a_page_advises_is_a_command() {
        let mut count = 0;
        for fault in Fault::ALL {
            for command in commands(page(fault)) {
                count += 1;
                let parsed = crate::Arguments::try_parse_from(command.split_whitespace());
                let kind = parsed.err().map(|error| error.kind());
                // A page may name a command without all that it needs.
                let fine = [
                    None,
                    Some(ErrorKind::DisplayHelp),
                    Some(ErrorKind::DisplayVersion),
                    Some(ErrorKind::MissingRequiredArgument),
                    Some(ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
                ];
                assert!(fine.contains(&kind), "{fault}: {command}: {kind:?}");
            }
        }
        assert!(count > 20, "{count} commands");
    }

    #[test]
    fn each_page_has_its_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        let entries = std::fs::read_dir(folder).expect("the pages are there");
        let found: BTreeSet<_> = entries
            .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
            .collect();
        let expected: BTreeSet<_> = Fault::ALL.iter().map(|fault| format!("{fault}.md")).collect();
        assert_eq!(found, expected);
    }
}
