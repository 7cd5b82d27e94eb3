//! The broker as its clients see it: through sockets, with requests made by `onrush-wire`.

mod connections;
mod groups;
mod records;
mod recovery;
mod support;
mod versions;
