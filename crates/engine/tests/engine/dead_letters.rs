//! Events whose handler fails.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use onrush_engine::{Context, Event, HandlerError, Mode, Place};

use crate::target::{PATIENCE, Target};

async fn failing(mode: Mode) {
    let target = Target::start().await;
    let topic = target.topic("source", 2).await;
    target.fill(&topic, 10, 1_000).await;
    let factory = |_: Place| {
        |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
            match (event.key, event.value) {
                (Some(b"3"), Some(b"7")) => Err(HandlerError::msg("seven")),
                (Some(b"4"), Some(b"9")) => panic!("nine"),
                _ => Ok(()),
            }
        }
    };
    let member = target.engine(target.config(&topic, mode), factory).await;
    let done = async {
        while member.handle.snapshot().total.dead_lettered < 2
            || member.handle.snapshot().total.done < 998
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, done).await.unwrap();
    let total = member.stop().await.unwrap().total;
    assert_eq!((total.done, total.dead_lettered), (998, 2));
    assert_eq!((total.failed, total.retried), (10, 8));
    assert_eq!(target.committed(&topic, 2).await, target.ends(&topic, 2).await);

    let letters = dead_letters(&target, &format!("{topic}.dead-letter")).await;
    let header = |headers: &Texts, name: &str| {
        let found = headers.iter().find(|(key, _)| key == name);
        found.map(|(_, text)| text.clone()).unwrap_or_default()
    };
    let errors: Vec<_> = letters.iter().map(|headers| header(headers, "onrush.error")).collect();
    assert!(
        errors.iter().any(|e| e == "seven") && errors.iter().any(|e| e == "panicked: nine"),
        "{errors:?}"
    );
    for headers in &letters {
        assert_eq!(header(headers, "onrush.origin.topic"), topic);
        assert_eq!(header(headers, "onrush.error.code"), "ONR0051");
        assert_eq!(header(headers, "onrush.attempts"), "5");
    }
}

type Texts = Vec<(String, String)>;

async fn dead_letters(target: &Target, topic: &str) -> Vec<Texts> {
    let letters = Arc::new(Mutex::new(Vec::new()));
    let kept = letters.clone();
    let factory = move |_: Place| {
        let kept = kept.clone();
        move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
            let text = |value: Option<&[u8]>| {
                String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
            };
            let headers = event
                .headers
                .map(|header| header.map(|header| (header.key.to_owned(), text(header.value))));
            kept.lock().unwrap().push(headers.collect::<Result<Texts, _>>()?);
            Ok(())
        }
    };
    let member = target.engine(target.config(topic, Mode::Each), factory).await;
    while letters.lock().unwrap().len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    member.stop().await.unwrap();
    let letters = letters.lock().unwrap();
    letters.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_on_a_lane_go_to_the_dead_letters() {
    failing(Mode::Each).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_on_workers_go_to_the_dead_letters() {
    failing(Mode::EachBlocking { concurrency: NonZeroUsize::new(4).unwrap() }).await;
}
