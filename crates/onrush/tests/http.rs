//! What a consumer shows over HTTP.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test speaks HTTP by hand"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use onrush::testing::{TestBroker, lag};
use onrush::view::View;
use onrush::{Consumer, Producer};

const LIMIT: Duration = Duration::from_secs(60);

fn ask(address: &str, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (code, body.to_owned())
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < limit, "not in {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

#[test]
fn a_stuck_event_is_shown_and_settled_by_hand() {
    let broker = TestBroker::start().expect("a free port");
    broker.create_topic("payments", 1).expect("created");
    let address = free_address();
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    let running = Consumer::new(broker.address())
        .group("billing")
        .topic("payments")
        .commit_interval(Duration::from_millis(50))
        .http(&address)
        .each_blocking(NonZeroUsize::new(4).expect("four"), move |event, _| {
            while event.offset == 3 && !told.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        })
        .start()
        .expect("it joins");
    assert_eq!(ask(&address, "GET", "/livez"), (200, "live\n".to_owned()));
    until("it has its partition", || ask(&address, "GET", "/readyz").0 == 200);
    let mut producer = Producer::connect(broker.address()).expect("it answers");
    for number in 0..50_u32 {
        let key = number.to_be_bytes();
        producer.send("payments", Some(&key), Some(b"x")).expect("sent");
    }
    producer.flush().expect("acknowledged");
    until("all but one are done", || {
        ask(&address, "GET", "/metrics").1.contains("\nonrush_events_done_total 49\n")
    });
    let view: View = serde_json::from_str(&ask(&address, "GET", "/snapshot").1).expect("a view");
    let partition = &view.consumers[0].partitions[0];
    assert_eq!((view.total.done, partition.lag, partition.oldest_offset), (49, Some(1), Some(3)));
    until("what is below it is committed", || {
        lag(broker.address(), "billing", "payments").is_ok_and(|lag| lag == 47)
    });

    let settle = |offset: &str| {
        ask(&address, "POST", &format!("/settle?topic=payments&partition=0&offset={offset}"))
    };
    assert_eq!(settle("x").0, 400);
    let (code, why) = settle("4");
    assert!(code == 409 && why.contains("finished already"), "{code} {why}");
    assert_eq!(settle("3"), (200, "settled\n".to_owned()));
    until("everything is committed", || {
        lag(broker.address(), "billing", "payments").is_ok_and(|lag| lag == 0)
    });
    ended.store(true, Ordering::Relaxed);
    let summary = running.stop().expect("it leaves well");
    assert_eq!((summary.total.done, summary.total.dead_lettered), (49, 1));
}

#[test]
fn an_address_that_is_taken_is_an_error_and_no_consumer_begins() {
    let broker = TestBroker::start().expect("a free port");
    broker.create_topic("payments", 1).expect("created");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let started = Consumer::new(broker.address())
        .group("billing")
        .topic("payments")
        .http(&address)
        .each(|_, _| Ok(()))
        .start();
    let error = started.err().expect("it is taken").to_string();
    assert!(error.contains(&address) && error.contains("choose another"), "{error}");
}
