//! The broker as its clients see it: through sockets, with requests made by `onrush-wire`.

mod connections;
mod full_disk;
mod groups;
mod records;
mod recovery;
mod settings;
mod support;
mod syncing;
mod topic_admin;
mod versions;
