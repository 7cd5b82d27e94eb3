//! Child processes: run them, read what they print, and name the command in every failure.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::failure::{Context, Failure};

mod descendants;

/// No part of the test run takes this long on two cores: what does, hangs.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

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

/// Runs to the end, however long, with our own stdout and stderr.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus, Failure> {
    command.stdin(Stdio::null());
    command.status().context(|| format!("run {}", line(command)))
}

/// Runs to the end within [`PATIENCE`] with our own stdout and stderr. Anything but success is a failure.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    command.stdin(Stdio::null());
    let mut child = command.spawn().context(|| format!("run {}", line(command)))?;
    let status = within(PATIENCE, &mut child, Child::wait)
        .and_then(|status| status.context(|| "wait".into()))
        .context(|| line(command))?;
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

/// Runs to the end within [`PATIENCE`], passing stdout on line by line while keeping it. Any exit status is an answer.
pub(crate) fn tee(command: &mut Command) -> Result<Ended, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context(|| format!("run {}", line(command)))?;
    within(PATIENCE, &mut child, copy_stdout)
        .and_then(|ended| ended.context(|| "read its stdout".into()))
        .context(|| line(command))
}

fn copy_stdout(child: &mut Child) -> std::io::Result<Ended> {
    let mut stdout = String::new();
    let mut ours = std::io::stdout();
    let lines = child.stdout.take().map(|pipe| BufReader::new(pipe).split(b'\n'));
    for text in lines.into_iter().flatten() {
        let text = text?;
        let text = String::from_utf8_lossy(&text);
        // A reader of ours that has gone away must not end the child's run.
        let _ = writeln!(ours, "{text}");
        stdout.push_str(&text);
        stdout.push('\n');
    }
    Ok(Ended { status: child.wait()?, stdout })
}

/// Does the waiting, and ends the child with all that it started when it takes too long.
fn within<T>(
    limit: Duration,
    child: &mut Child,
    wait: impl FnOnce(&mut Child) -> T,
) -> Result<T, Failure> {
    let id = child.id();
    let (done, waiting) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let late = waiting.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if late {
                descendants::kill(id);
            }
            late
        });
        let waited = wait(child);
        drop(done);
        match watch.join() {
            Ok(false) => Ok(waited),
            _ => Err(Failure::new(format!("no end after {limit:?}"))),
        }
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn what_hangs_is_ended_with_what_it_started() {
        // The grandchild holds the pipe: reading ends only when it is gone too.
        let mut child =
            shell("echo started; sleep 600 & sleep 600").stdout(Stdio::piped()).spawn().unwrap();
        let failure = within(Duration::from_millis(200), &mut child, copy_stdout).err().unwrap();
        assert!(failure.to_string().contains("no end"), "{failure}");
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn stdout_is_kept_and_every_status_is_an_answer() {
        let ended = tee(&mut shell("echo a; echo b; echo; exit 3")).ok().unwrap();
        assert_eq!(ended.last_line(), "b");
        assert_eq!(ended.status.code(), Some(3));
        let failure = run(&mut shell("exit 3")).unwrap_err();
        assert!(failure.to_string().starts_with("sh -c exit 3"), "{failure}");
    }
}
