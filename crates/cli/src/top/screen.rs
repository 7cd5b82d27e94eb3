//! The terminal, while something is drawn on it again and again: the alternate screen, so that what was there before is there
//! again afterwards.

use std::fmt::Write;

use rustix::termios::tcgetwinsize;

use crate::failure::Failure;
use crate::stdout;

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Of a terminal that does not say how large it is.
const ROWS: usize = 24;
const COLUMNS: usize = 80;

/// See the module. Restores the terminal when it is dropped.
pub(super) struct Screen;

impl Screen {
    pub(super) fn enter() -> Result<Self, Failure> {
        stdout::print(ENTER)?;
        Ok(Self)
    }

    /// Shows as much of the text as there is room for.
    pub(super) fn draw(&mut self, text: &str) -> Result<(), Failure> {
        let size = tcgetwinsize(std::io::stdout()).ok();
        let known = |size: u16| (size > 0).then_some(usize::from(size));
        let rows = size.and_then(|size| known(size.ws_row)).unwrap_or(ROWS);
        let columns = size.and_then(|size| known(size.ws_col)).unwrap_or(COLUMNS);
        stdout::print(&frame(text, rows, columns))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing can be done for a terminal that has gone.
        let _ = stdout::print(LEAVE);
    }
}

fn frame(text: &str, rows: usize, columns: usize) -> String {
    let mut frame = String::from(HOME);
    let lines: Vec<&str> = text.lines().take(rows).collect();
    for (number, line) in lines.iter().enumerate() {
        let end = line.char_indices().nth(columns).map_or(line.len(), |(at, _)| at);
        // No line end in the last row: it would scroll.
        let next = if number + 1 < lines.len() { "\r\n" } else { "" };
        let _ = write!(frame, "{}{CLEAR_LINE}{next}", &line[..end]);
    }
    frame.push_str(CLEAR_BELOW);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_cut() {
        let shown = frame("a täble\nsecond\nthird\n", 2, 3);
        assert_eq!(shown, "\x1b[Ha t\x1b[K\r\nsec\x1b[K\x1b[J");
        assert_eq!(frame("", 5, 5), "\x1b[H\x1b[J");
    }
}
