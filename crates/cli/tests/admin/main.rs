//! `onrush topic`, `onrush group` and `onrush dlq` as people and scripts use them: the binary is spawned, against the embedded broker and,
//! where `ONRUSH_TEST_BROKERS` names one, against that cluster too.

mod by_hand;
mod detour;
mod dlq;
mod groups;
mod keys;
mod lag;
mod target;
mod terminal;
mod top;
mod topics;
