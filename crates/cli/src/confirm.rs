//! Whether a change that was shown is to be made: `--yes`, `--dry-run`, or a question on the terminal.

use std::io::{BufRead, IsTerminal};

use clap::Args;
use onrush_runtime::Fault;

use crate::failure::{Exit, Failure};
use crate::stderr;

/// The arguments of every command that takes something away or changes it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Confirmation {
    /// Do it without asking.
    #[arg(long, short = 'y')]
    yes: bool,
    /// Only show what would change.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

/// What becomes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Make,
    OnlyShow,
}

impl Confirmation {
    pub(crate) const fn only_shows(&self) -> bool {
        self.dry_run
    }

    /// Whether somebody will be asked.
    pub(crate) fn asks(&self) -> bool {
        !self.yes && !self.dry_run && is_attended()
    }

    /// Asks where it was not said before. Without a terminal nobody can answer, which is not a yes.
    pub(crate) fn decide(&self, question: &str) -> Result<Decision, Failure> {
        if self.dry_run {
            return Ok(Decision::OnlyShow);
        }
        if self.yes {
            return Ok(Decision::Make);
        }
        if !is_attended() {
            return Err(Failure::usage(
                "nothing was changed: there is no terminal to ask on. Add --yes to make the change, or --dry-run to only \
                 see it.",
            )
            .code(Fault::NotConfirmed));
        }
        stderr::print(format_args!("{question} [y/N] "));
        let mut answer = String::new();
        // An input that cannot be read has no yes in it.
        let _ = std::io::stdin().lock().read_line(&mut answer);
        if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            Ok(Decision::Make)
        } else {
            Err(Failure::new(Exit::Interrupted, "nothing was changed").code(Fault::NotConfirmed))
        }
    }
}

fn is_attended() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
