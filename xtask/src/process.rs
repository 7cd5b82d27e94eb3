//! Child processes: run them, read what they print, and name the command in every failure.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use crate::failure::{Context, Failure};

/// How a process ended and what it wrote to stdout.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
}

impl Ended {
    /// The last line that is not blank.
    pub(crate) fn last_line(&self) -> &str {
        self.stdout.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default()
    }
}

/// Runs to the end with our own stdout and stderr.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus, Failure> {
    command.stdin(Stdio::null());
    command.status().context(|| format!("run {}", line(command)))
}

/// Like [`status`], and anything but success is a failure.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = status(command)?;
    success(command, status)
}

/// Runs to the end and returns its stdout; its stderr is part of the failure.
pub(crate) fn capture(command: &mut Command) -> Result<String, Failure> {
    command.stdin(Stdio::null());
    let output = command.output().context(|| format!("run {}", line(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!(
            "{}: {}\n{}",
            line(command),
            output.status,
            stderr.trim_end()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs to the end, passing stdout on line by line while keeping it. Any exit status is an answer.
pub(crate) fn tee(command: &mut Command) -> Result<Ended, Failure> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context(|| format!("run {}", line(command)))?;
    let mut stdout = String::new();
    if let Some(pipe) = child.stdout.take() {
        let mut ours = std::io::stdout();
        for text in BufReader::new(pipe).split(b'\n') {
            let text = text.context(|| format!("read from {}", line(command)))?;
            let text = String::from_utf8_lossy(&text);
            // A reader of ours that has gone away must not end the child's run.
            let _ = writeln!(ours, "{text}");
            stdout.push_str(&text);
            stdout.push('\n');
        }
    }
    let status = child.wait().context(|| format!("wait for {}", line(command)))?;
    Ok(Ended { status, stdout })
}

/// A failure that names the command unless it succeeded.
pub(crate) fn success(command: &Command, status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("{}: {status}", line(command))))
}

/// Whether a program of this name can be started at all.
pub(crate) fn exists(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// Our exit code for a child's: the same where it has one.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => ExitCode::from(code),
        None => ExitCode::FAILURE,
    }
}

/// The command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    std::iter::once(name)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
