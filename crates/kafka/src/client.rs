//! The client of one cluster: connections by broker and purpose, the metadata cache, and the retry
//! of calls.
//!
//! A [`Client`] is a cheap handle; fetchers, producers and members share one. Locks are held for
//! look-ups only, never over an await, but for two: a link's while it connects, and the refresh
//! gate, which makes those who want the metadata at once share one request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onrush_runtime::{Executor, Instant, Net, Random, Runtime};
use onrush_wire::message::{Request, find_coordinator, metadata};
use onrush_wire::{ApiKey, ErrorCode};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::cluster::{Cluster, Leader, TopicMetadata};
use crate::config::ClientConfig;
use crate::connection::{Connection, Endpoint};
use crate::error::{ClientError, Remedy};
use crate::link::{Link, Purpose};
use crate::lock::lock;
use crate::string::kafka_string;

/// FindCoordinator's first version that takes several keys.
const COORDINATOR_KEYS: i16 = 4;
/// Metadata's first version that can forbid the creation of what is asked for.
const AUTO_CREATION: i16 = 4;
/// Most group coordinators remembered.
const MAX_COORDINATORS: usize = 1_000;

/// A client of one Kafka cluster.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    net: Net,
    random: Random,
    io: Executor,
    cluster: Mutex<Cluster>,
    /// Counts changes of the metadata.
    changes: watch::Sender<u64>,
    refresh: tokio::sync::Mutex<Option<Instant>>,
    links: Mutex<BTreeMap<(String, Purpose), Arc<Link>>>,
    coordinators: Mutex<BTreeMap<String, String>>,
}

impl Client {
    /// Asks the bootstrap brokers for the cluster. I/O runs on `io`.
    ///
    /// # Errors
    /// None of them could be reached.
    pub async fn connect(
        config: ClientConfig,
        runtime: &Runtime,
        io: Executor,
    ) -> Result<Self, ClientError> {
        let inner = Inner {
            config,
            net: runtime.net.clone(),
            random: runtime.random.clone(),
            io,
            cluster: Mutex::default(),
            changes: watch::Sender::new(0),
            refresh: tokio::sync::Mutex::default(),
            links: Mutex::default(),
            coordinators: Mutex::default(),
        };
        let client = Self { inner: Arc::new(inner) };
        client.ask_metadata(&[]).await?;
        Ok(client)
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    pub(crate) fn io(&self) -> &Executor {
        &self.inner.io
    }

    pub(crate) fn random(&self) -> &Random {
        &self.inner.random
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.inner.config.retry_backoff, self.inner.config.retry_backoff_max)
    }

    /// What the cache knows of a topic; see [`Client::refresh`].
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Arc<TopicMetadata>> {
        lock(&self.inner.cluster).topic(name).cloned()
    }

    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<Leader> {
        lock(&self.inner.cluster).leader(topic, partition)
    }

    /// Notes a leader that a broker named in passing.
    pub(crate) fn leader_moved(&self, topic: &str, partition: i32, node: i32, epoch: i32) {
        if lock(&self.inner.cluster).moved(topic, partition, node, epoch) {
            self.inner.changes.send_modify(|count| *count += 1);
        }
    }

    /// Ready whenever the metadata changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Fetches the metadata of these topics, and of all that were asked for before. Callers at once
    /// share a request, and requests keep the retry back-off apart.
    ///
    /// # Errors
    /// No broker could be reached. A topic that does not exist is no error: [`Client::topic`] just
    /// does not have it.
    pub async fn refresh(&self, topics: &[Arc<str>]) -> Result<(), ClientError> {
        let asked_at = Instant::now();
        let wanted = lock(&self.inner.cluster).want(topics);
        let mut last = self.inner.refresh.lock().await;
        let known = topics.iter().all(|topic| self.topic(topic).is_some());
        if let Some(last) = *last {
            if last >= asked_at && known {
                return Ok(());
            }
            tokio::time::sleep_until(last + self.inner.config.retry_backoff).await;
        }
        // Also after a failure: it is the requests that are kept apart.
        *last = Some(Instant::now());
        self.ask_metadata(&wanted).await?;
        *last = Some(Instant::now());
        Ok(())
    }

    async fn ask_metadata(&self, topics: &[Arc<str>]) -> Result<(), ClientError> {
        let response = self.call_any(|version| metadata_request(topics, version)).await?;
        lock(&self.inner.cluster).apply(&response);
        self.forget_old_links();
        self.inner.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Sends a request to one broker.
    pub(crate) async fn call<R: Request>(
        &self,
        address: &str,
        request: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        self.call_capped(address, i16::MAX, request).await
    }

    /// The same in a version of at most `cap`.
    pub(crate) async fn call_capped<R: Request>(
        &self,
        address: &str,
        cap: i16,
        request: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let link = self.link(address, Purpose::Control);
        let connection = link.connection().await?;
        let response =
            connection.call_capped(self.inner.config.request_timeout, cap, request).await?;
        link.is_well().await;
        Ok(response)
    }

    /// Sends a request to the first broker that answers.
    pub(crate) async fn call_any<R: Request>(
        &self,
        request: impl Fn(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let candidates = self.candidates();
        let mut last = ClientError::Closed;
        for address in &candidates {
            match self.call(address, &request).await {
                Ok(response) => return Ok(response),
                Err(error) => last = error,
            }
        }
        Err(ClientError::NoBroker { brokers: candidates.join(", "), last: Box::new(last) })
    }

    /// Known brokers first, from a random one on, then the bootstrap ones.
    fn candidates(&self) -> Vec<String> {
        let mut candidates = self.broker_addresses();
        if let Ok(count) = u64::try_from(candidates.len()) {
            candidates.rotate_left(usize::try_from(self.inner.random.below(count)).unwrap_or(0));
        }
        for address in &self.inner.config.bootstrap {
            if !candidates.contains(address) {
                candidates.push(address.clone());
            }
        }
        candidates
    }

    pub(crate) fn address(&self, node: i32) -> Option<String> {
        lock(&self.inner.cluster).address(node).map(str::to_owned)
    }

    /// The brokers that the metadata lists (`host:port`).
    pub(crate) fn broker_addresses(&self) -> Vec<String> {
        lock(&self.inner.cluster).addresses().map(str::to_owned).collect()
    }

    /// A connection to a broker by its id.
    pub(crate) async fn connection(
        &self,
        node: i32,
        purpose: Purpose,
    ) -> Result<(Arc<Link>, Connection), ClientError> {
        let address = self.address(node).ok_or_else(|| ClientError::Connect {
            broker: format!("broker {node}"),
            reason: "the metadata does not list it".to_owned(),
        })?;
        let link = self.link(&address, purpose);
        let connection = link.connection().await?;
        Ok((link, connection))
    }

    fn link(&self, address: &str, purpose: Purpose) -> Arc<Link> {
        let Inner { config, net, io, random, .. } = &*self.inner;
        let mut links = lock(&self.inner.links);
        let link = links.entry((address.to_owned(), purpose)).or_insert_with(|| {
            let endpoint = Endpoint {
                broker: config.reroute.get(address).map_or(address, String::as_str).to_owned(),
                client_id: config.client_id.clone(),
                max_response: config.max_response,
                connect_timeout: config.connect_timeout,
            };
            Link::new(
                net.clone(),
                io.clone(),
                random.clone(),
                endpoint,
                config.retry_backoff,
                config.retry_backoff_max,
            )
        });
        Arc::clone(link)
    }

    fn forget_old_links(&self) {
        let current = self.candidates();
        lock(&self.inner.links).retain(|(address, _), _| current.contains(address));
    }

    /// The coordinator of a group: remembered, or asked for once.
    pub(crate) async fn coordinator(&self, group: &str) -> Result<String, ClientError> {
        if let Some(address) = lock(&self.inner.coordinators).get(group) {
            return Ok(address.clone());
        }
        let response = self.call_any(|version| coordinator_request(group, version)).await?;
        let address = coordinator_address(group, &response)?;
        let mut coordinators = lock(&self.inner.coordinators);
        if coordinators.len() >= MAX_COORDINATORS {
            coordinators.clear();
        }
        coordinators.insert(group.to_owned(), address.clone());
        Ok(address)
    }

    /// The coordinator moved or cannot be reached: it is asked for anew.
    pub(crate) fn forget_coordinator(&self, group: &str) {
        lock(&self.inner.coordinators).remove(group);
    }

    /// The tries of one call, from now on.
    pub(crate) fn tries(&self) -> Tries {
        let start = Instant::now();
        Tries {
            client: self.clone(),
            backoff: self.backoff(),
            start,
            limit: self.inner.config.call_timeout,
        }
    }
}

/// Decides after each failed try of a call whether another one follows, and waits for its time.
#[derive(Debug)]
pub(crate) struct Tries {
    client: Client,
    backoff: Backoff,
    start: Instant,
    limit: Duration,
}

impl Tries {
    /// Returns when it is time for another try.
    pub(crate) async fn failed(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.failed_within(error, self.limit).await
    }

    /// The same for an error that is worth less patience.
    pub(crate) async fn failed_within(
        &mut self,
        error: ClientError,
        limit: Duration,
    ) -> Result<(), ClientError> {
        let remedy = error.remedy();
        if remedy == Remedy::Fatal {
            return Err(error);
        }
        let pause = self.backoff.failed(self.client.random());
        let after = self.start.elapsed();
        if after + pause >= limit.min(self.limit) {
            return Err(ClientError::GaveUp { after, last: Box::new(error) });
        }
        sleep(pause).await;
        if remedy == Remedy::Refresh {
            // Its failure shows in the next try.
            let _ = self.client.refresh(&[]).await;
        }
        Ok(())
    }
}

fn metadata_request(topics: &[Arc<str>], version: i16) -> metadata::Request {
    let topic = |name: &Arc<str>| metadata::request::MetadataRequestTopic {
        name: Some(kafka_string(name)),
        ..metadata::request::MetadataRequestTopic::default()
    };
    let mut request = metadata::Request {
        topics: Some(topics.iter().map(topic).collect()),
        ..metadata::Request::default()
    };
    if version >= AUTO_CREATION {
        request.allow_auto_topic_creation = false;
    }
    request
}

fn coordinator_request(group: &str, version: i16) -> find_coordinator::Request {
    let key = kafka_string(group);
    if version >= COORDINATOR_KEYS {
        find_coordinator::Request {
            coordinator_keys: vec![key],
            ..find_coordinator::Request::default()
        }
    } else {
        find_coordinator::Request { key, ..find_coordinator::Request::default() }
    }
}

fn coordinator_address(
    group: &str,
    response: &find_coordinator::Response,
) -> Result<String, ClientError> {
    let (code, message, host, port) = match response.coordinators.first() {
        Some(found) => (found.error_code, &found.error_message, &found.host, found.port),
        None => (response.error_code, &response.error_message, &response.host, response.port),
    };
    match ErrorCode(code) {
        ErrorCode::NONE => Ok(format!("{}:{port}", host.as_str())),
        code => Err(ClientError::Answered {
            api: ApiKey::FIND_COORDINATOR,
            target: format!("group {group}"),
            code,
            message: message.as_ref().map(|message| message.as_str().to_owned()),
        }),
    }
}
