//! Members that come, go, die and are cut off, through real sockets: on the embedded broker, or on the cluster that
//! `ONRUSH_TEST_BROKERS` names.

mod crew;
mod cut_off;
mod joining;
mod leaving;
mod proxy;
