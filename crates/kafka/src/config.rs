//! Settings of a client.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long a broker may take to answer, on top of what the request itself asks it to wait.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a TCP connection and the negotiation of versions may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest response that is read; a longer one breaks the connection.
pub const MAX_RESPONSE: usize = 100 * 1024 * 1024;
/// Bound of the first pause before a retry.
pub const RETRY_BACKOFF: Duration = Duration::from_millis(100);
/// Bound of every pause before a retry.
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How long an admin call, a commit or the search of a coordinator is retried before it gives up.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A topic that is still unknown after this long does not exist: a new one shows up within moments.
pub const NEW_TOPIC_PATIENCE: Duration = Duration::from_secs(5);

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Brokers (`host:port`) to ask for the rest of the cluster; one that answers is enough.
    pub bootstrap: Vec<String>,
    /// Where to connect instead of an address that brokers advertise: the other end of a tunnel or
    /// a forwarded port.
    pub reroute: BTreeMap<String, String>,
    /// Name in the broker's logs and quotas.
    pub client_id: String,
    /// See [`REQUEST_TIMEOUT`].
    pub request_timeout: Duration,
    /// See [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// See [`MAX_RESPONSE`].
    pub max_response: usize,
    /// See [`RETRY_BACKOFF`].
    pub retry_backoff: Duration,
    /// See [`RETRY_BACKOFF_MAX`].
    pub retry_backoff_max: Duration,
    /// See [`CALL_TIMEOUT`].
    pub call_timeout: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            reroute: BTreeMap::new(),
            client_id: "onrush".to_owned(),
            request_timeout: REQUEST_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            max_response: MAX_RESPONSE,
            retry_backoff: RETRY_BACKOFF,
            retry_backoff_max: RETRY_BACKOFF_MAX,
            call_timeout: CALL_TIMEOUT,
        }
    }
}

impl ClientConfig {
    /// A client of these brokers, all else by default.
    pub fn new<S: Into<String>>(bootstrap: impl IntoIterator<Item = S>) -> Self {
        Self { bootstrap: bootstrap.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}
