//! Ctrl-C and SIGTERM ask for a stop in good order.

use tokio::signal::unix::{Signal, SignalKind, signal};

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
}
