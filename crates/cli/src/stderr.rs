//! What goes to stderr beside the log: notes, and how a command failed. A reader that has gone is no reason to fail.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use clap::error::ErrorKind;
use onrush_runtime::Fault;

use crate::failure::{Exit, Failure};

/// Whether stderr is shown in colours: to a person who has not set `NO_COLOR`.
pub(crate) fn colours() -> bool {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    wanted && io::stderr().is_terminal()
}

/// A line for whoever watches.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text as it is, for whoever watches.
pub(crate) fn print(text: impl fmt::Display) {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{text}").and_then(|()| err.flush());
}

/// Says how a command failed, with the code of its page; returns how the process ends.
pub(crate) fn failure(failure: &Failure) -> Exit {
    if failure.exit != Exit::Done {
        let (red, bold, plain) =
            if colours() { ("\x1b[31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        note(format_args!("{bold}{red}error[{}]:{plain} {failure}", failure.fault));
    }
    failure.exit
}

/// Says what is wrong with the arguments, or what was asked for: `--help` and `--version` are no errors, and go to stdout.
pub(crate) fn arguments(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // Who closes stdout does not want the help.
        let _ = error.print();
        return Exit::Done;
    }
    let rendered = error.render();
    let text = if colours() { rendered.ansi().to_string() } else { rendered.to_string() };
    let text = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => text,
        _ => text.replacen("error:", &format!("error[{}]:", Fault::Usage), 1),
    };
    print(text);
    Exit::Usage
}
