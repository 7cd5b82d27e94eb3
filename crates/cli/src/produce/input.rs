//! What is sent: files and stdin, read by a thread of its own.
//!
//! The thread may block in a read for as long as it likes; the command goes on, lets batches linger out, and answers Ctrl-C.
//! At most [`PIECES`] pieces are on their way, and their buffers come back to be used again.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;

use onrush_runtime::{Fault, Instant, Runtime, Step, Wake, Work};
use tokio::sync::mpsc;

use crate::failure::Failure;

/// Bytes of a read.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait to be decoded.
const PIECES: usize = 4;
/// How stdin is named among files.
const STDIN: &str = "-";

/// A part of the input, in the order of the files.
pub(super) enum Piece {
    /// A file of this name begins.
    Begin(String),
    /// Its next bytes.
    Bytes(Buffer),
    /// It ends.
    End,
    /// It could not be read on.
    Failed(String, io::Error),
}

/// The front of a buffer that is used again.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

impl Buffer {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

/// The receiving end.
pub(super) struct Input {
    pieces: mpsc::Receiver<Piece>,
    spare: mpsc::Sender<Vec<u8>>,
}

impl Input {
    /// Starts to read these files, or stdin if there are none.
    pub(super) fn start(runtime: &Runtime, files: &[PathBuf]) -> Result<Self, Failure> {
        for file in files.iter().filter(|file| file.as_os_str() != STDIN) {
            // All of them before the first is sent: a misspelt name is found while nothing has happened yet.
            std::fs::metadata(file).map_err(|error| unreadable(&file.display(), &error))?;
        }
        let stdin = [PathBuf::from(STDIN)];
        let files = if files.is_empty() { &stdin } else { files };
        let (sender, pieces) = mpsc::channel(PIECES);
        let (spare, spares) = mpsc::channel(PIECES + 1);
        let reader = Reader { files: files.iter().cloned().collect(), open: None, sender, spares };
        runtime
            .spawn
            .work("input".to_owned(), Wake::new(), Box::new(reader))
            .map_err(Failure::threads)?;
        Ok(Self { pieces, spare })
    }

    /// The next piece; none after the last file. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }

    /// Gives a buffer back.
    pub(super) fn done(&self, buffer: Buffer) {
        // The reader makes a new one if this one is not there.
        let _ = self.spare.try_send(buffer.bytes);
    }
}

pub(super) fn unreadable(name: &dyn Display, error: &io::Error) -> Failure {
    Failure::unavailable(format!("cannot read {name}: {error}")).code(Fault::File)
}

/// Reads on its thread; it blocks there, which holds up nobody else.
struct Reader {
    files: VecDeque<PathBuf>,
    open: Option<(String, Box<dyn Read + Send>)>,
    sender: mpsc::Sender<Piece>,
    spares: mpsc::Receiver<Vec<u8>>,
}

impl Work for Reader {
    fn run_once(&mut self, _now: Instant) -> Step {
        let Some(piece) = self.read() else { return Step::Done };
        match self.sender.blocking_send(piece) {
            Ok(()) => Step::Worked,
            // The command has ended.
            Err(_) => Step::Done,
        }
    }
}

impl Reader {
    fn read(&mut self) -> Option<Piece> {
        let Some((name, file)) = &mut self.open else { return self.begin() };
        let mut bytes = self.spares.try_recv().unwrap_or_else(|_| vec![0; PIECE_BYTES]);
        let read = loop {
            match file.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        Some(match read {
            Ok(0) => {
                self.open = None;
                Piece::End
            }
            Ok(used) => Piece::Bytes(Buffer { bytes, used }),
            Err(error) => {
                self.files.clear();
                let failed = Piece::Failed(std::mem::take(name), error);
                self.open = None;
                failed
            }
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a file that the user names is not of the data directory"
    )]
    fn begin(&mut self) -> Option<Piece> {
        let path = self.files.pop_front()?;
        if path.as_os_str() == STDIN {
            self.open = Some(("stdin".to_owned(), Box::new(io::stdin())));
            return Some(Piece::Begin("stdin".to_owned()));
        }
        let name = path.display().to_string();
        Some(match std::fs::File::open(&path) {
            Ok(file) => {
                self.open = Some((name.clone(), Box::new(file)));
                Piece::Begin(name)
            }
            Err(error) => {
                self.files.clear();
                Piece::Failed(name, error)
            }
        })
    }
}
