//! The broker as its clients see it: through sockets, with requests made by `onrush-wire`.

mod classic_groups;
mod connections;
mod full_disk;
mod greedy_requests;
mod group_admin;
mod groups;
mod patience;
mod records;
mod recovery;
mod settings;
mod support;
mod syncing;
mod topic_admin;
mod versions;
