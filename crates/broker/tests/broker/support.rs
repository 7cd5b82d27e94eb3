//! A client for the tests that sends what it is told, and a broker on a free port.

use bytes::{Bytes, BytesMut};
use onrush_broker::{Broker, BrokerConfig};
use onrush_record::{BatchBuilder, Codec, Compression, Compressor, batches, records};
use onrush_runtime::{Disk, Executor, Net, Runtime, Stream};
use onrush_wire::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchedPartition,
};
use onrush_wire::message::{
    Request, create_topics, decode_response, encode_request, init_producer_id, offset_commit,
};
use onrush_wire::produce::{
    PartitionProduce, PartitionProduced, ProduceRequest, ProduceResponse, TopicProduce,
};
use onrush_wire::{ApiKey, KafkaString, RequestHeader, Uuid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) const TOPIC: &str = "flights";

/// The broker over `disk`, on a free port of the loopback interface.
pub(crate) async fn broker_on(disk: &Disk, config: BrokerConfig) -> Broker {
    let runtime = Runtime::production(disk.clone());
    Broker::open(config, &runtime, Executor::current()).await.expect("opens")
}

/// A broker in memory with the topic [`TOPIC`], and a client of it.
pub(crate) async fn broker_with_topic(partitions: i32) -> (Broker, Client, Uuid) {
    let broker = broker_on(&Disk::memory(), BrokerConfig::default()).await;
    let mut client = Client::connect(broker.address()).await;
    let id = client.create_topic(TOPIC, partitions).await;
    (broker, client, id)
}

pub(crate) fn text(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: Stream,
    correlation_id: i32,
}

impl Client {
    pub(crate) async fn connect(address: &str) -> Self {
        Self::over(Net::Tcp.connect(address).await.expect("connects"))
    }

    pub(crate) fn over(stream: Stream) -> Self {
        Self { stream, correlation_id: 0 }
    }

    pub(crate) fn header(&mut self, api: ApiKey, version: i16) -> RequestHeader {
        self.correlation_id += 1;
        RequestHeader::new(api, version, self.correlation_id).with_client_id(text("test"))
    }

    pub(crate) async fn send(&mut self, segments: &[Bytes]) {
        for segment in segments {
            self.stream.write_all(segment).await.expect("sent");
        }
    }

    /// The next frame without its prefix; `None` if the broker closed the connection.
    pub(crate) async fn receive(&mut self) -> Option<Bytes> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).await.ok()?;
        let mut frame = BytesMut::zeroed(u32::from_be_bytes(prefix) as usize);
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(frame.freeze())
    }

    pub(crate) async fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let header = self.header(R::API, version);
        self.send(&[encode_request(&header, request).expect("encodes")]).await;
        let frame = self.receive().await.expect("answered");
        let (correlation_id, response) = decode_response(version, frame).expect("decodes");
        assert_eq!(correlation_id, header.correlation_id);
        response
    }

    pub(crate) async fn create_topic(&mut self, name: &str, partitions: i32) -> Uuid {
        let topic = create_topics::request::CreatableTopic {
            name: text(name),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let request = create_topics::Request { topics: vec![topic], ..Default::default() };
        let response = self.ask(7, &request).await;
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0]);
        response.topics[0].topic_id
    }

    pub(crate) async fn producer_id(&mut self) -> i64 {
        self.ask(4, &init_producer_id::Request::default()).await.producer_id
    }

    /// Sends a batch to partition 0 and returns what became of it.
    pub(crate) async fn produce(&mut self, batch: Bytes) -> PartitionProduced {
        self.produce_to(12, TOPIC, Uuid::ZERO, 0, batch).await
    }

    pub(crate) async fn produce_to(
        &mut self,
        version: i16,
        topic: &str,
        id: Uuid,
        partition: i32,
        batch: Bytes,
    ) -> PartitionProduced {
        let header = self.header(ApiKey::PRODUCE, version);
        self.send(&produce_request(topic, id, partition, batch).encode(&header).expect("encodes"))
            .await;
        let frame = self.receive().await.expect("answered");
        let (_, mut response) = ProduceResponse::decode(version, frame).expect("decodes");
        response.topics.remove(0).partitions.remove(0)
    }

    /// Fetches partition 0 from `offset` on, without waiting.
    pub(crate) async fn fetch(&mut self, offset: i64) -> FetchedPartition {
        self.fetch_with(12, &fetch_request(Uuid::ZERO, offset)).await
    }

    pub(crate) async fn fetch_with(
        &mut self,
        version: i16,
        request: &FetchRequest,
    ) -> FetchedPartition {
        self.send_fetch(version, request).await;
        self.receive_fetch(version).await
    }

    pub(crate) async fn send_fetch(&mut self, version: i16, request: &FetchRequest) {
        let header = self.header(ApiKey::FETCH, version);
        self.send(&[request.encode(&header).expect("encodes")]).await;
    }

    pub(crate) async fn receive_fetch(&mut self, version: i16) -> FetchedPartition {
        let frame = self.receive().await.expect("answered");
        let (_, mut response) = FetchResponse::decode(version, frame).expect("decodes");
        response.topics.remove(0).partitions.remove(0)
    }
}

/// Who commits without being a member.
pub(crate) const OUTSIDER: (&str, i32) = ("", -1);

/// A commit for partition 0, by a member at its epoch or generation.
pub(crate) fn commit_request(
    group: &str,
    (member, epoch): (&str, i32),
    offset: i64,
    metadata: &str,
) -> offset_commit::Request {
    let partition = offset_commit::request::OffsetCommitRequestPartition {
        committed_offset: offset,
        committed_metadata: Some(text(metadata)),
        ..Default::default()
    };
    let topic = offset_commit::request::OffsetCommitRequestTopic {
        name: text(TOPIC),
        partitions: vec![partition],
        ..Default::default()
    };
    offset_commit::Request {
        group_id: text(group),
        member_id: text(member),
        generation_id_or_member_epoch: epoch,
        topics: vec![topic],
        ..Default::default()
    }
}

pub(crate) fn produce_request(
    topic: &str,
    topic_id: Uuid,
    partition: i32,
    batch: Bytes,
) -> ProduceRequest {
    let partition = PartitionProduce { index: partition, records: Some(batch) };
    let topic = TopicProduce { name: text(topic), topic_id, partitions: vec![partition] };
    ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 1_000, topics: vec![topic] }
}

/// A fetch of partition 0 that does not wait.
pub(crate) fn fetch_request(topic_id: Uuid, offset: i64) -> FetchRequest {
    let partitions = vec![FetchPartition::consumer(0, offset, 1 << 20)];
    FetchRequest {
        min_bytes: 1,
        topics: vec![FetchTopic { name: text(TOPIC), topic_id, partitions }],
        ..FetchRequest::default()
    }
}

/// A batch of these values, of a producer that is not idempotent.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_of(-1, -1, -1, values)
}

pub(crate) fn batch_of(producer_id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Bytes {
    batch_at(1_000, producer_id, epoch, sequence, Compression::None, values)
}

/// A batch whose records are one millisecond apart.
pub(crate) fn batch_at(
    timestamp: i64,
    producer_id: i64,
    epoch: i16,
    sequence: i32,
    compression: Compression,
    values: &[&str],
) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for (value, timestamp) in values.iter().zip(timestamp..) {
        builder.append(timestamp, None, Some(value.as_bytes()), &[]).expect("fits");
    }
    let mut compressor = Compressor::default();
    builder.seal(producer_id, epoch, sequence, &mut compressor).expect("sealed").freeze()
}

/// Offsets and values of the whole batches in what was fetched.
pub(crate) fn values(fetched: &FetchedPartition) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for batch in batches(&fetched.records) {
        let batch = batch.expect("well formed");
        batch.verify_crc().expect("intact");
        assert_eq!(batch.header.attributes.compression(), Codec::None);
        for record in records(batch.body(), &batch.header) {
            let record = record.expect("well formed");
            let value = String::from_utf8(record.value.expect("a value").to_vec()).expect("text");
            found.push((record.offset, value));
        }
    }
    found
}

/// `(0, "a"), (1, "b"), ..` from `first` on.
pub(crate) fn numbered(first: i64, values: &[&str]) -> Vec<(i64, String)> {
    (first..).zip(values.iter().map(|value| (*value).to_owned())).collect()
}
