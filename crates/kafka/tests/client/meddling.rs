//! Answers as other brokers give them: a proxy between client and broker rewrites some.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use onrush_runtime::{Executor, Listener, Net, Stream, Task};
use onrush_wire::ApiKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Gets the API, the version and the frame of a response (without its length prefix); may return
/// another one (with it).
pub(crate) type Meddle = dyn Fn(ApiKey, i16, Bytes) -> Option<Bytes> + Send + Sync;

/// A proxy to one broker.
pub(crate) struct Meddler {
    pub(crate) address: String,
    task: Task,
}

impl Meddler {
    pub(crate) async fn start(
        upstream: &str,
        meddle: impl Fn(ApiKey, i16, Bytes) -> Option<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let listener = Net::Tcp.listen("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_address();
        let meddle: Arc<Meddle> = Arc::new(meddle);
        let task = Executor::current().spawn(accept(listener, upstream.to_owned(), meddle));
        Self { address, task }
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: Listener, upstream: String, meddle: Arc<Meddle>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let Ok(broker) = Net::Tcp.connect(&upstream).await else { continue };
        drop(Executor::current().spawn(forward(client, broker, Arc::clone(&meddle))));
    }
}

/// Which API and version each correlation id was sent with.
type Asked = Mutex<HashMap<i32, (ApiKey, i16)>>;

async fn forward(client: Stream, broker: Stream, meddle: Arc<Meddle>) {
    let asked = Asked::default();
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let note = |frame: &Bytes| {
        let field = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        asked.lock().expect("whole").insert(correlation(frame, 4), (ApiKey(field(0)), field(2)));
        None
    };
    let rewrite = |frame: &Bytes| {
        let (api, version) = asked.lock().expect("whole").remove(&correlation(frame, 0))?;
        meddle(api, version, frame.clone())
    };
    tokio::select! {
        biased;
        () = copy(from_broker, to_client, rewrite) => {}
        () = copy(from_client, to_broker, note) => {}
    }
}

fn correlation(frame: &Bytes, at: usize) -> i32 {
    i32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"))
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    replacement: impl Fn(&Bytes) -> Option<Bytes>,
) {
    while let Ok(length) = from.read_u32().await {
        let mut frame = vec![0; usize::try_from(length).expect("short")];
        if from.read_exact(&mut frame).await.is_err() {
            return;
        }
        let frame = Bytes::from(frame);
        let passed = replacement(&frame)
            .unwrap_or_else(|| Bytes::from([&length.to_be_bytes()[..], &frame].concat()));
        if to.write_all(&passed).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}
