//! The broker without sockets, for the fuzz targets of `guards`: a request in, an answer out.

use bytes::Bytes;
use onrush_runtime::{Disk, Instant, Random, Runtime};
use onrush_wire::{ApiKey, VersionRange};

use crate::config::MAX_FETCH_BYTES;
use crate::core::{Core, Outcome};
use crate::parked::ConnectionId;
use crate::requests::api_versions;
use crate::{BrokerConfig, BrokerError};

/// There is one connection.
const CONNECTION: ConnectionId = 1;

/// A broker and its one client.
#[derive(Debug)]
pub struct Bench {
    core: Core,
}

/// What a request leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The segments of a frame.
    Frame(Vec<Bytes>),
    /// The client asked for none, or must wait for it.
    None,
    /// The connection is closed: the request is malformed or not served.
    Closed,
}

impl Bench {
    /// Recovers what is on the disk.
    ///
    /// # Errors
    /// It cannot be recovered.
    pub fn open(disk: &Disk) -> Result<Self, BrokerError> {
        let runtime = Runtime { random: Random::seeded(1), ..Runtime::production(disk.clone()) };
        let mut core = Core::open(BrokerConfig::default(), &runtime)?;
        core.advertise("127.0.0.1:9092");
        Ok(Self { core })
    }

    /// Handles a frame without its length prefix. A request that waits waits no longer.
    pub fn request(&mut self, frame: Bytes) -> Answer {
        match self.core.handle(Instant::now(), CONNECTION, MAX_FETCH_BYTES, frame) {
            Ok(Outcome::Parked(_)) => {
                let resumed = self.core.resume(Instant::now(), CONNECTION, MAX_FETCH_BYTES);
                // A member may have to go on waiting for others: its client goes away instead.
                self.core.disconnected(Instant::now(), CONNECTION);
                match resumed {
                    Some(Ok(outcome)) => answer(outcome),
                    Some(Err(_)) => Answer::Closed,
                    None => Answer::None,
                }
            }
            Ok(outcome) => answer(outcome),
            Err(_) => Answer::Closed,
        }
    }
}

fn answer(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Reply(segments) => Answer::Frame(segments),
        Outcome::Silent | Outcome::Parked(_) => Answer::None,
    }
}

/// The APIs and versions that the broker announces.
pub fn served() -> impl Iterator<Item = (ApiKey, VersionRange)> {
    ApiKey::all().filter_map(|key| Some((key, api_versions::served(key)?)))
}
