//! Ctrl-C and SIGTERM ask for a stop in good order.

use tokio::signal::unix::{SignalKind, signal};

/// Returns when the user (or a supervisor) asks the process to stop.
pub(crate) async fn requested() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the process, as they do by default.
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
