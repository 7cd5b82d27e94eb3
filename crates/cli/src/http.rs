//! `--http ADDR`: `/metrics` in Prometheus' text format, `/livez` and `/readyz`.
//!
//! Live means that the process answers. Ready means what the command says it means: for a broker, that it listens; for
//! members, that they hold partitions and none of these is stopped.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use onrush_runtime::{Executor, Fault, Net, Stream};

use crate::failure::Failure;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a command shows over HTTP. Called per request, on the server's task: it must not block.
pub(crate) trait Status: Send + Sync + 'static {
    /// Prometheus' text format.
    fn metrics(&self) -> String;
    /// Nothing when ready, else why not.
    fn not_ready(&self) -> Option<String>;
}

/// Serves `status` on `address` until the executor ends; returns the address with its port.
pub(crate) async fn serve(
    address: &str,
    executor: &Executor,
    status: Arc<dyn Status>,
) -> Result<String, Failure> {
    let listener = Net::Tcp.listen(address).await.map_err(|error| {
        Failure::unavailable(format!(
            "cannot serve HTTP: {error}. Choose another address with --http (port 0 takes a free one)."
        ))
        .code(Fault::Listen)
    })?;
    let local = listener.local_address();
    let connections = executor.clone();
    executor.spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _peer)) => drop(connections.spawn(connection(stream, status.clone()))),
                // Out of descriptors, most likely: give others time to close some.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    });
    Ok(local)
}

async fn connection(stream: Stream, status: Arc<dyn Status>) {
    let service = service_fn(move |request| {
        let response = respond(&request, &*status);
        async move { Ok::<_, Infallible>(response) }
    });
    // The peer's trouble is not ours: the connection ends, the server goes on.
    let served =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = served.await;
}

fn respond(request: &Request<Incoming>, status: &dyn Status) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match request.uri().path() {
        "/metrics" => text(StatusCode::OK, status.metrics()),
        "/livez" => text(StatusCode::OK, "live\n"),
        "/readyz" => match status.not_ready() {
            None => text(StatusCode::OK, "ready\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "try /metrics, /livez or /readyz\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, plain);
    response
}
