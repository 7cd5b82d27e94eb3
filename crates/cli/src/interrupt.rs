//! Ctrl-C and SIGTERM: the first asks for a stop in good order, the second Ctrl-C ends the process at once.

use std::process::exit;

use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Exit;

/// Returns when the user (or a supervisor) asks the process to stop.
pub(crate) async fn requested() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
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

/// Ends the process on a further Ctrl-C, while it drains.
pub(crate) async fn insisted() {
    requested().await;
    exit(Exit::Interrupted as i32);
}
