//! Ctrl-C and SIGTERM: the first asks for a stop in good order, the second ends the process at once.

use std::process::exit;

use onrush_runtime::Executor;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Exit;
use crate::stderr;

/// Listens from its making on: a signal that comes before it is awaited is not lost, and does not end the process.
pub(crate) struct Interrupt {
    signals: Option<(Signal, Signal)>,
}

impl Interrupt {
    /// Takes the signals over. Where that is refused, they end the process, as they do by default.
    pub(crate) fn listen() -> Self {
        let interrupt = signal(SignalKind::interrupt());
        Self { signals: interrupt.ok().zip(signal(SignalKind::terminate()).ok()) }
    }

    /// Returns when the user, or a supervisor, asks the process to stop.
    pub(crate) async fn requested(&mut self) {
        let Some((interrupt, terminate)) = &mut self.signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }

    /// As [`Interrupt::listen`]; from now on the first signal is answered on stderr, and the second ends the process.
    pub(crate) fn listen_twice(executor: &Executor) -> Self {
        let mut second = Self::listen();
        executor.spawn(async move {
            second.requested().await;
            stderr::note("interrupted: draining; once more ends at once");
            second.requested().await;
            exit(Exit::Interrupted as i32);
        });
        Self::listen()
    }
}
