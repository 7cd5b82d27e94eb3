//! `--http ADDR`: what a command shows to those who operate it; the paths are those of [`onrush::http`].

use std::sync::Arc;

use onrush::http::{Listener, Status};
use onrush_runtime::{Executor, Fault};

use crate::failure::Failure;

/// Serves `status` on `address` until the executor ends; returns the address with its port.
pub(crate) async fn serve<S: Status>(
    address: &str,
    executor: &Executor,
    status: Arc<S>,
) -> Result<String, Failure> {
    let listener = Listener::bind(address).await.map_err(|error| {
        Failure::unavailable(format!(
            "cannot serve HTTP: {error}. Choose another address with --http (port 0 takes a free one)."
        ))
        .code(Fault::Listen)
    })?;
    let local = listener.address();
    listener.serve(executor, status);
    Ok(local)
}
