//! A process that shows itself over HTTP ([`onrush::http`]), asked by a command: how it stands, and to count an event as
//! dead-lettered.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use onrush::http::Place;
use onrush::view::View;
use onrush_runtime::Net;
use tokio::time::timeout;

/// How long an answer may take. A lane whose handler does not return hears of nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer: some thousand partitions.
const ANSWER_LIMIT: usize = 16 << 20;

/// Where a process shows itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Peer(String);

/// Why a peer could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    #[error("it does not speak HTTP as it should: {0}")]
    Http(String),
    #[error("{status}: {said}")]
    Refused { status: StatusCode, said: String },
    #[error("what it answers is not the state of a consumer: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        match port.map(|(_, port)| port.parse::<u16>()) {
            Some(Ok(_)) if !address.contains(['/', '?', ' ']) => Ok(Self(address.to_owned())),
            _ => Err("expected HOST:PORT, where the process shows itself over HTTP".to_owned()),
        }
    }
}

impl Peer {
    /// How it stands.
    pub(crate) async fn snapshot(&self) -> Result<View, PeerError> {
        let answer = self.ask(Method::GET, "/snapshot").await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Has an event counted as dead-lettered.
    pub(crate) async fn settle(&self, event: &Place) -> Result<(), PeerError> {
        let Place { topic, partition, offset } = event;
        let path = format!("/settle?topic={topic}&partition={partition}&offset={offset}");
        self.ask(Method::POST, &path).await.map(drop)
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Bytes, PeerError> {
        let asked = timeout(PATIENCE, self.exchange(method, path)).await;
        let (status, answer) = asked.map_err(|_| PeerError::Silent)??;
        if status.is_success() {
            return Ok(answer);
        }
        let said = String::from_utf8_lossy(&answer).trim().to_owned();
        Err(PeerError::Refused { status, said })
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), PeerError> {
        let wrong = |error: &dyn fmt::Display| PeerError::Http(error.to_string());
        let stream = Net::Tcp.connect(&self.0).await?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| wrong(&error))?;
        let request = Request::builder().method(method).uri(path).header(HOST, &self.0);
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| wrong(&error))?;
        // The connection ends when its sender has gone.
        let exchange = async move {
            let response = sender.send_request(request).await.map_err(|error| wrong(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
            Ok((status, body.map_err(|error| wrong(&error))?.to_bytes()))
        };
        let (answer, _) = tokio::join!(exchange, connection);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_type_them() {
        for text in ["localhost:9100", "http://localhost:9100", "http://localhost:9100/"] {
            assert_eq!(text.parse(), Ok(Peer("localhost:9100".to_owned())), "{text}");
        }
        assert!("[::1]:80".parse::<Peer>().is_ok());
        for wrong in ["", "localhost", ":80", "a:b", "a:70000", "a:80/metrics", "https://a"] {
            assert!(wrong.parse::<Peer>().is_err(), "{wrong}");
        }
    }
}
