//! What a process shows over HTTP to those who operate it.
//!
//! | path | what it is |
//! |---|---|
//! | `GET /metrics` | Prometheus' text format ([`crate::metrics`]) |
//! | `GET /livez` | 200 while it runs, however far it is behind |
//! | `GET /readyz` | 200 when it is ready, else 503 with the reason ([`crate::health`]) |
//! | `GET /snapshot` | how it stands, as JSON: what `onrush top` reads |
//! | `POST /settle?topic=T&partition=N&offset=M` | the event is in the dead letters, by hand: what `onrush dlq send` calls |
//!
//! There is no authentication: serve it where only those who operate the process can reach it.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use onrush_engine::{Counts, Handle};
use onrush_kafka::TopicPartition;
use onrush_runtime::{Clock, Executor, Net, Stream};

use crate::health::{Health, live};
use crate::metrics::prometheus;
use crate::view::View;

/// Out of descriptors, most likely: others get time to close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// An event, by where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// What a process shows. Called per request, on the server's task: it must not block.
pub trait Status: Send + Sync + 'static {
    /// Prometheus' text format.
    fn metrics(&self) -> String;

    /// Nothing when ready, else why not.
    fn not_ready(&self) -> Option<String>;

    /// Nothing while it runs, else why not.
    fn not_live(&self) -> Option<String> {
        None
    }

    /// How it stands, as JSON.
    fn snapshot(&self) -> Option<String> {
        None
    }

    /// Counts an event as dead-lettered, which somebody did by hand.
    fn settle(&self, _event: Place) -> impl Future<Output = Result<(), String>> + Send
    where
        Self: Sized,
    {
        std::future::ready(Err("this process has no consumer".to_owned()))
    }
}

/// An address that is listened on.
pub struct Listener(onrush_runtime::Listener);

impl Listener {
    /// Listens on `host:port`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind(address: &str) -> io::Result<Self> {
        Net::Tcp.listen(address).await.map(Self)
    }

    /// The address with its port.
    #[must_use]
    pub fn address(&self) -> String {
        self.0.local_address()
    }

    /// Serves `status` until the executor ends.
    pub fn serve<S: Status>(self, executor: &Executor, status: Arc<S>) {
        let (listener, connections) = (self.0, executor.clone());
        executor.spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(connections.spawn(connection(stream, status.clone()))),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        });
    }
}

/// A consumer, as it is shown.
pub struct Watched {
    handle: Handle,
    health: Health,
}

impl Watched {
    /// Shows the consumer of this handle.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self { handle, health: Health::default() }
    }
}

impl Status for Watched {
    fn metrics(&self) -> String {
        prometheus(&[self.handle.snapshot()], &Counts::default())
    }

    fn not_ready(&self) -> Option<String> {
        self.health.ready(&[self.handle.snapshot()], Clock::System.now()).err()
    }

    fn not_live(&self) -> Option<String> {
        live(&[self.handle.snapshot()], Clock::System.wall_millis()).err()
    }

    fn snapshot(&self) -> Option<String> {
        let now = Clock::System.wall_millis();
        let view = View::of(now, &[self.handle.snapshot()], &Counts::default());
        serde_json::to_string(&view).ok()
    }

    async fn settle(&self, event: Place) -> Result<(), String> {
        let partition = TopicPartition::new(event.topic, event.partition);
        self.handle.settle(&partition, event.offset).await
    }
}

async fn connection<S: Status>(stream: Stream, status: Arc<S>) {
    let service = service_fn(move |request| {
        let status = Arc::clone(&status);
        async move { Ok::<_, Infallible>(respond(&request, &*status).await) }
    });
    // The peer's trouble is not ours: the connection ends, the server goes on.
    let served =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = served.await;
}

async fn respond<S: Status>(request: &Request<Incoming>, status: &S) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    match (request.method(), path) {
        (&Method::GET, "/metrics") => answer(StatusCode::OK, TEXT, status.metrics()),
        (&Method::GET, "/livez") => probe("live", status.not_live()),
        (&Method::GET, "/readyz") => probe("ready", status.not_ready()),
        (&Method::GET, "/snapshot") => match status.snapshot() {
            Some(json) => answer(StatusCode::OK, JSON, json),
            None => answer(StatusCode::NOT_FOUND, TEXT, "this process has no consumer\n"),
        },
        (&Method::POST, "/settle") => match place(request.uri().query().unwrap_or_default()) {
            None => {
                let usage = "expected ?topic=T&partition=N&offset=M\n";
                answer(StatusCode::BAD_REQUEST, TEXT, usage)
            }
            Some(event) => match status.settle(event).await {
                Ok(()) => answer(StatusCode::OK, TEXT, "settled\n"),
                Err(why) => answer(StatusCode::CONFLICT, TEXT, format!("{why}\n")),
            },
        },
        (_, "/metrics" | "/livez" | "/readyz" | "/snapshot") => {
            answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n")
        }
        (_, "/settle") => answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only POST\n"),
        _ => {
            let known = "try /metrics, /livez, /readyz or /snapshot\n";
            answer(StatusCode::NOT_FOUND, TEXT, known)
        }
    }
}

fn probe(name: &str, not: Option<String>) -> Response<Full<Bytes>> {
    match not {
        None => answer(StatusCode::OK, TEXT, format!("{name}\n")),
        Some(why) => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not {name}: {why}\n")),
    }
}

fn answer(
    status: StatusCode,
    content: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

/// Names of topics need no escapes in a query.
fn place(query: &str) -> Option<Place> {
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    Some(Place {
        topic: value("topic").filter(|topic| !topic.is_empty())?.to_owned(),
        partition: value("partition")?.parse().ok()?,
        offset: value("offset")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_by_a_query() {
        let event = Place { topic: "a.b-c".to_owned(), partition: 3, offset: 17 };
        assert_eq!(place("topic=a.b-c&partition=3&offset=17"), Some(event.clone()));
        assert_eq!(place("offset=17&partition=3&topic=a.b-c&x=y"), Some(event));
        for wrong in ["", "topic=a", "topic=&partition=1&offset=2", "topic=a&partition=x&offset=2"]
        {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }
}
