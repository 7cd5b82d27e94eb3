//! Members that come, go, die and are cut off, through real sockets: on the embedded broker, or on the cluster that
//! `ONRUSH_TEST_BROKERS` names.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real members on real threads, and a proxy between them and the cluster"
)]

mod crew;
mod cut_off;
mod joining;
mod leaving;
mod lingering;
mod proxy;
mod stuck;
