//! Peers that are no brokers: what a person reads who mistyped a port.

use onrush_kafka::{Client, ClientConfig, ClientError};
use onrush_runtime::{Disk, Executor, Net, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The error of a client whose peer answers the first request with `answer` and hangs up.
async fn connected_to(answer: &'static [u8]) -> (String, ClientError) {
    let listener = Net::Tcp.listen("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_address();
    let peer = Executor::current().spawn(async move {
        let (stream, _) = listener.accept().await.expect("the client");
        let (mut reader, mut writer) = stream.into_split();
        // All of it: a hang-up with unread bytes is a reset, which may overtake the answer.
        let length = reader.read_u32().await.expect("a length");
        let mut request = vec![0; usize::try_from(length).expect("short")];
        reader.read_exact(&mut request).await.expect("the request");
        writer.write_all(answer).await.expect("sent");
        writer.flush().await.expect("sent");
    });
    let runtime = Runtime::production(Disk::memory());
    let config = ClientConfig::new([address.clone()]);
    let error = Client::connect(config, &runtime, Executor::current()).await;
    peer.join().await;
    (address, error.expect_err("no broker"))
}

#[tokio::test]
async fn a_web_server_is_told_from_a_broker() {
    let (address, error) = connected_to(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let text = error.to_string();
    assert!(text.contains(&address) && text.contains("is the peer a Kafka broker"), "{text}");
}

#[tokio::test]
async fn a_peer_that_hangs_up_in_the_middle_of_a_response_is_named() {
    // 100 bytes are announced, the correlation id and four more come.
    let (address, error) = connected_to(&[0, 0, 0, 100, 0, 0, 0, 0, 1, 2, 3, 4]).await;
    let text = error.to_string();
    assert!(text.contains(&address) && text.contains("8 of 100 bytes"), "{text}");
}

#[tokio::test]
async fn a_response_of_nonsense_is_an_error_with_its_position() {
    let (address, error) =
        connected_to(&[0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0x7f, 9, 9, 9, 9, 9]).await;
    let text = error.to_string();
    assert!(text.contains(&address) && text.contains("at byte"), "{text}");
}
