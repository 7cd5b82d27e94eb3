//! `onrush produce` and `onrush consume` as people and scripts use them: the binary is spawned, against the embedded broker
//! and, where `ONRUSH_TEST_BROKERS` names one, against that cluster too.

mod copying;
mod ending;
mod groups;
mod inputs;
mod offsets;
mod target;
