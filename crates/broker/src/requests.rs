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

/// Keeps what is named first of each name: an answer can be a thousand times longer than the name, and
/// many names fit into a request.
fn keep_first<T, Name: Ord>(asked: &mut Vec<T>, name: impl Fn(&T) -> Name) {
    let mut seen = std::collections::BTreeSet::new();
    asked.retain(|asked| seen.insert(name(asked)));
}
