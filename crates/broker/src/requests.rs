//! The requests that are served, a file per family of APIs.

pub(crate) mod api_versions;
mod cluster;
mod configs;
mod coordinator;
mod fetch;
mod list_offsets;
mod produce;
mod records;
mod topics;
