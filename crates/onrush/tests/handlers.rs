//! Handlers of every shape through the public library: wrapped, typed, awaited on the caller's runtime or on one of their
//! own.
#![expect(clippy::disallowed_methods, reason = "a test waits for real threads")]

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onrush::testing::TestBroker;
use onrush::{
    Assignment, AsyncContext, AsyncHandler, Consumer, Context, Event, Handler, HandlerError, Json,
    Mode, OwnedEvent, Place, Producer,
};

const LIMIT: Duration = Duration::from_secs(60);
const FEW: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// A broker whose topic `numbers` has these values, all with keys of their own.
fn broker(values: impl IntoIterator<Item = String>) -> TestBroker {
    let broker = TestBroker::start().expect("a broker on a free port");
    broker.create_topic("numbers", 2).expect("created");
    let mut producer = Producer::connect(broker.address()).expect("the broker answers");
    for (key, value) in values.into_iter().enumerate() {
        let key = key.to_string();
        producer.send("numbers", Some(key.as_bytes()), Some(value.as_bytes())).expect("sent");
    }
    producer.flush().expect("acknowledged");
    broker
}

fn consumer(broker: &TestBroker) -> Consumer {
    let commits = Duration::from_millis(100);
    Consumer::new(broker.address()).group("readers").topic("numbers").commit_interval(commits)
}

/// Waits until `done` says so.
fn wait(done: impl Fn() -> bool) {
    let end = std::time::Instant::now() + LIMIT;
    while !done() {
        assert!(std::time::Instant::now() < end, "it takes too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a wrapper and what is inside of it saw.
#[derive(Clone, Default)]
struct Counts {
    outer: Arc<AtomicU64>,
    inner: Arc<AtomicU64>,
    told: Arc<AtomicU64>,
}

struct Counting<H>(H, Counts);

impl<H: Handler> Handler for Counting<H> {
    fn each(&mut self, event: &Event<'_>, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        self.1.outer.fetch_add(1, Ordering::Relaxed);
        self.0.each(event, cx)
    }

    fn assigned(&mut self, assignment: &Assignment) {
        self.1.told.fetch_add(1, Ordering::Relaxed);
        self.0.assigned(assignment);
    }
}

impl<H: AsyncHandler> AsyncHandler for Counting<H> {
    async fn each(&mut self, event: OwnedEvent, cx: AsyncContext) -> Result<(), HandlerError> {
        self.1.outer.fetch_add(1, Ordering::Relaxed);
        self.0.each(event, cx).await
    }

    fn assigned(&mut self, assignment: &Assignment) {
        self.1.told.fetch_add(1, Ordering::Relaxed);
        self.0.assigned(assignment);
    }
}

#[test]
fn a_handler_wraps_a_handler() {
    let (broker, counts) = (broker((0..20).map(|number| number.to_string())), Counts::default());
    let made = counts.clone();
    let running = consumer(&broker)
        .lanes(NonZeroUsize::MIN)
        .handlers(move |_: Place| {
            let inner = Arc::clone(&made.inner);
            let counted = move |_: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
                inner.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            Counting(Counting(counted, made.clone()), made.clone())
        })
        .start()
        .expect("it starts");
    wait(|| running.handle().snapshot().total.done == 20);
    running.stop().expect("it ends");
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    assert_eq!((count(&counts.outer), count(&counts.inner), count(&counts.told)), (40, 20, 4));
}

#[test]
fn an_async_handler_wraps_an_async_handler_on_a_runtime_that_the_consumer_makes() {
    let (broker, counts) = (broker((0..20).map(|number| number.to_string())), Counts::default());
    let made = counts.clone();
    let running = consumer(&broker)
        .async_handlers(FEW, move |_: Place| {
            let inner = Arc::clone(&made.inner);
            let counted = move |_: OwnedEvent, _: AsyncContext| {
                let inner = Arc::clone(&inner);
                async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    inner.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, HandlerError>(())
                }
            };
            Counting(counted, made.clone())
        })
        .start()
        .expect("it starts");
    wait(|| running.handle().snapshot().total.done == 20);
    running.stop().expect("it ends");
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    assert_eq!((count(&counts.outer), count(&counts.inner), count(&counts.told)), (20, 20, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_of_a_runtime_handlers_run_on_it() {
    let broker = tokio::task::spawn_blocking(|| broker((0..20).map(|number| number.to_string())));
    let broker = broker.await.expect("it starts");
    let ids = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&ids);
    let running = consumer(&broker)
        .each_async(FEW, move |_, _| {
            noted.lock().expect("no panic").push(tokio::runtime::Handle::current().id());
            async { Ok(()) }
        })
        .start_async()
        .await
        .expect("it starts");
    while running.handle().snapshot().total.done < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await.expect("it ends");
    let ours = tokio::runtime::Handle::current().id();
    assert!(ids.lock().expect("no panic").iter().all(|id| *id == ours));
    let refused = consumer(&broker).each(|_, _| Ok(())).start();
    let reason = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(reason.contains("start_async"), "{reason}");
    tokio::task::spawn_blocking(move || drop(broker)).await.expect("it ends");
}

#[test]
fn what_is_no_json_goes_to_the_dead_letters_without_another_try() {
    let values = ["1", "two", "3"].map(str::to_owned);
    let (broker, sum) = (broker(values), Arc::new(AtomicU64::new(0)));
    let (added, calls) = (Arc::clone(&sum), Arc::new(AtomicU64::new(0)));
    let called = Arc::clone(&calls);
    let running = consumer(&broker)
        .mode(Mode::EachBlocking { concurrency: FEW })
        .handlers(move |_: Place| {
            let (added, called) = (Arc::clone(&added), Arc::clone(&called));
            move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
                called.fetch_add(1, Ordering::Relaxed);
                let Json(number) = event.payload::<Json<u64>>()?;
                added.fetch_add(number, Ordering::Relaxed);
                Ok(())
            }
        })
        .start()
        .expect("it starts");
    wait(|| {
        let total = running.handle().snapshot().total;
        (total.done, total.dead_lettered) == (2, 1)
    });
    running.stop().expect("it ends");
    assert_eq!((sum.load(Ordering::Relaxed), calls.load(Ordering::Relaxed)), (4, 3));
}
