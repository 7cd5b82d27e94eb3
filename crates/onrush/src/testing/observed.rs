//! Stands between the engine and the user's handlers: notes each call, and lets it take virtual time.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onrush_engine::{
    Assignment, AsyncContext, AsyncHandler, BatchContext, BatchError, BatchHandler, Context, Event,
    Handler, HandlerError, OwnedEvent, Place,
};
use onrush_runtime::spawn::Process;

use super::history::{Call, History, Session};

type Slowness = Box<dyn Fn(&Event<'_>) -> Duration + Send>;

/// How long calls of a member's handlers take.
#[derive(Clone, Default)]
pub(super) struct Pace(Arc<Mutex<Option<Slowness>>>);

impl Pace {
    pub(super) fn set(&self, slowness: Slowness) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(slowness);
    }

    fn of(&self, event: &Event<'_>) -> Duration {
        let slowness = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slowness.as_ref().map_or(Duration::ZERO, |slowness| slowness(event))
    }
}

/// Notes what the handlers of one start of a member do.
#[derive(Clone)]
pub(crate) struct Observer {
    pub(super) group: Arc<str>,
    pub(super) app: Arc<str>,
    pub(super) life: u32,
    pub(super) history: History,
    pub(super) process: Process,
    pub(super) pace: Pace,
    /// By topic and partition: how often it was assigned. Each handler is told, and counts.
    pub(super) stays: BTreeMap<(Arc<str>, i32), u32>,
}

impl Observer {
    fn assigned(&mut self, assignment: &Assignment) {
        let Assignment { topic, partition, .. } = assignment;
        *self.stays.entry((Arc::clone(topic), *partition)).or_default() += 1;
        self.history.assigned(&self.app, topic, *partition, self.session(topic, *partition));
    }

    fn session(&self, topic: &str, partition: i32) -> Session {
        let stay = self
            .stays
            .iter()
            .find(|((name, number), _)| **name == *topic && *number == partition)
            .map_or(0, |(_, stay)| *stay);
        Session { life: self.life, stay }
    }

    /// A call with this event begins.
    fn call(&self, event: &Event<'_>) -> Call {
        let bytes = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        Call {
            group: self.group.to_string(),
            app: self.app.to_string(),
            topic: event.topic.to_owned(),
            partition: event.partition,
            offset: event.offset,
            key: bytes(event.key),
            value: bytes(event.value),
            at: self.history.now(),
            result: Ok(()),
            session: self.session(event.topic, event.partition),
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("(no text)"))
}

/// Calls a handler that is called.
pub(crate) struct ObservedHandler<H> {
    inner: H,
    place: Place,
    observer: Observer,
}

impl<H> ObservedHandler<H> {
    pub(crate) fn new(inner: H, place: Place, observer: Observer) -> Self {
        Self { inner, place, observer }
    }

    /// Lets the call that ended have taken as long as the test wants.
    fn take_time(&self, event: &Event<'_>, cx: &mut Context<'_>, failed: bool) {
        let took = self.observer.pace.of(event);
        match self.place {
            _ if took.is_zero() => {}
            Place::Worker(_) if !failed => cx.finish_after(took),
            // The whole thread blocks: what stands behind the call waits too.
            _ => self.observer.process.stall(took),
        }
    }
}

impl<H: Handler> Handler for ObservedHandler<H> {
    fn each(&mut self, event: &Event<'_>, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let mut call = self.observer.call(event);
        let called = catch_unwind(AssertUnwindSafe(|| self.inner.each(event, cx)));
        call.result = match &called {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic_text(&**panic)),
        };
        self.take_time(event, cx, call.result.is_err());
        self.observer.history.called(call);
        called.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn assigned(&mut self, assignment: &Assignment) {
        self.observer.assigned(assignment);
        self.inner.assigned(assignment);
    }

    fn revoked(&mut self, assignment: &Assignment) {
        self.inner.revoked(assignment);
    }
}

/// Calls that are awaited: noted when they end, one way or the other.
struct Awaited {
    history: History,
    calls: Vec<Call>,
}

impl Awaited {
    fn begin(observer: &Observer, events: &[OwnedEvent]) -> Self {
        let calls = events.iter().map(|event| observer.call(&event.borrowed()));
        Self { history: observer.history.clone(), calls: calls.collect() }
    }

    /// The handler returned: calls before the one at fault succeeded, and those after it were none.
    fn end(mut self, failed: Option<(Option<usize>, String)>) {
        for (index, mut call) in std::mem::take(&mut self.calls).into_iter().enumerate() {
            match &failed {
                Some((Some(at), _)) if index > *at => return,
                Some((at, error)) if at.is_none_or(|at| at == index) => {
                    call.result = Err(error.clone());
                }
                _ => {}
            }
            self.history.called(call);
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let end = if std::thread::panicking() { "it panicked" } else { "it was cancelled" };
        for mut call in self.calls.drain(..) {
            call.result = Err(end.to_owned());
            self.history.called(call);
        }
    }
}

/// Awaits a handler of single events.
pub(crate) struct ObservedEvents<H> {
    inner: H,
    observer: Observer,
}

impl<H> ObservedEvents<H> {
    pub(crate) fn new(inner: H, observer: Observer) -> Self {
        Self { inner, observer }
    }
}

impl<H: AsyncHandler> AsyncHandler for ObservedEvents<H> {
    fn each(
        &mut self,
        event: OwnedEvent,
        cx: AsyncContext,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send {
        let noted = Awaited::begin(&self.observer, std::slice::from_ref(&event));
        let took = self.observer.pace.of(&event.borrowed());
        let called = self.inner.each(event, cx);
        async move {
            let result = called.await;
            tokio::time::sleep(took).await;
            noted.end(result.as_ref().err().map(|error| (None, error.to_string())));
            result
        }
    }

    fn assigned(&mut self, assignment: &Assignment) {
        self.observer.assigned(assignment);
        self.inner.assigned(assignment);
    }

    fn revoked(&mut self, assignment: &Assignment) {
        self.inner.revoked(assignment);
    }
}

/// Awaits a handler of batches.
pub(crate) struct ObservedBatches<H> {
    inner: H,
    observer: Observer,
}

impl<H> ObservedBatches<H> {
    pub(crate) fn new(inner: H, observer: Observer) -> Self {
        Self { inner, observer }
    }
}

impl<H: BatchHandler> BatchHandler for ObservedBatches<H> {
    fn batch(
        &mut self,
        events: Vec<OwnedEvent>,
        cx: BatchContext,
    ) -> impl Future<Output = Result<(), BatchError>> + Send {
        let noted = Awaited::begin(&self.observer, &events);
        let took = events.iter().map(|event| self.observer.pace.of(&event.borrowed())).max();
        let called = self.inner.batch(events, cx);
        async move {
            let result = called.await;
            tokio::time::sleep(took.unwrap_or_default()).await;
            noted.end(result.as_ref().err().map(|error| (error.index(), format!("{error:?}"))));
            result
        }
    }

    fn assigned(&mut self, assignment: &Assignment) {
        self.observer.assigned(assignment);
        self.inner.assigned(assignment);
    }

    fn revoked(&mut self, assignment: &Assignment) {
        self.inner.revoked(assignment);
    }
}
