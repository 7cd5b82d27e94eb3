//! The broker as its clients see it: through sockets, with requests made by `onrush-wire`.

mod groups;
mod records;
mod support;
