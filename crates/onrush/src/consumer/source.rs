//! Where the handlers of a subscription come from: made anew for each start of an engine.

use std::num::NonZeroUsize;
use std::sync::Arc;

use onrush_engine::{AsyncHandler, BatchHandler, Handler, Handlers, Place, Tasks};

#[cfg(feature = "testing")]
use crate::testing::{ObservedBatches, ObservedEvents, ObservedHandler, Observer};

/// Makes the handlers of an engine.
pub(crate) trait Source: Send + Sync {
    /// As the user wrote them.
    fn handlers(&self) -> Handlers;

    /// Each behind one that tells the observer what it does.
    #[cfg(feature = "testing")]
    fn observed(&self, observer: Observer) -> Handlers;
}

/// Of handlers that are called.
pub(super) struct Called<F>(pub(super) Arc<F>);

impl<F, H> Source for Called<F>
where
    F: Fn(Place) -> H + Send + Sync + 'static,
    H: Handler + 'static,
{
    fn handlers(&self) -> Handlers {
        let factory = Arc::clone(&self.0);
        Handlers::Called(Box::new(move |place: Place| factory(place)))
    }

    #[cfg(feature = "testing")]
    fn observed(&self, observer: Observer) -> Handlers {
        let factory = Arc::clone(&self.0);
        Handlers::Called(Box::new(move |place: Place| {
            ObservedHandler::new(factory(place), place, observer.clone())
        }))
    }
}

/// Of handlers that are awaited with one event.
pub(super) struct Awaited<F>(pub(super) Arc<F>);

impl<F, H> Source for Awaited<F>
where
    F: Fn(Place) -> H + Send + Sync + 'static,
    H: AsyncHandler + 'static,
{
    fn handlers(&self) -> Handlers {
        let factory = Arc::clone(&self.0);
        Handlers::Awaited(Tasks::each(move |place| factory(place)))
    }

    #[cfg(feature = "testing")]
    fn observed(&self, observer: Observer) -> Handlers {
        let factory = Arc::clone(&self.0);
        Handlers::Awaited(Tasks::each(move |place| {
            ObservedEvents::new(factory(place), observer.clone())
        }))
    }
}

/// Of handlers that are awaited with up to so many events at once.
pub(super) struct Batched<F>(pub(super) Arc<F>, pub(super) NonZeroUsize);

impl<F, H> Source for Batched<F>
where
    F: Fn(Place) -> H + Send + Sync + 'static,
    H: BatchHandler + 'static,
{
    fn handlers(&self) -> Handlers {
        let factory = Arc::clone(&self.0);
        Handlers::Awaited(Tasks::batch(self.1, move |place| factory(place)))
    }

    #[cfg(feature = "testing")]
    fn observed(&self, observer: Observer) -> Handlers {
        let factory = Arc::clone(&self.0);
        Handlers::Awaited(Tasks::batch(self.1, move |place| {
            ObservedBatches::new(factory(place), observer.clone())
        }))
    }
}
