//! What each target parses and holds it to.

mod apis;
pub(crate) mod batches;
pub(crate) mod broker;
pub(crate) mod canaries;
pub(crate) mod compression;
pub(crate) mod offset_metadata;
pub(crate) mod recovery;
pub(crate) mod requests;
pub(crate) mod responses;
