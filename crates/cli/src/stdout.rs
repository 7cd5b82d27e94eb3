//! What goes to stdout: data, and nothing else.

use std::io::Write;

use crate::failure::Failure;

/// Writes all of it.
pub(crate) fn print(data: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(data.as_ref()).and_then(|()| out.flush());
    written.map_err(|error| Failure::output(&error))
}
