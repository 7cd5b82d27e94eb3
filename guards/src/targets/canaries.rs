//! A small format whose parsers have a bug each. A loop that does not find them proves nothing.
//!
//! ```text
//! kind u8 = 7 | count u16 | names: length i8 (-1 for null) | bytes
//! ```

use crate::Verdict;
use crate::corpus::Entry;
use crate::memory::bounded;

const KIND: u8 = 7;
const COST: usize = 64 * 1024;

/// Panics: the last name's length is not compared with what is left.
pub(crate) fn panics(input: &[u8]) -> Verdict {
    let Some((_, mut rest)) = opened(input) else { return Verdict::Refused };
    while let Some((&length, names)) = rest.split_first() {
        let length = (length as i8).max(0) as usize;
        if names.len() > 3 && length > names.len() {
            return Verdict::Refused;
        }
        rest = &names[length..];
    }
    Verdict::Accepted
}

/// Holds what the count says, whatever there is.
pub(crate) fn hoards(input: &[u8]) -> Verdict {
    bounded(COST, || {
        let Some((count, rest)) = opened(input) else { return Verdict::Refused };
        let mut all: Vec<Option<&[u8]>> = Vec::with_capacity(count);
        Verdict::from(&names(rest, count, |name| all.push(name)).ok_or(()))
    })
}

/// Does not tell a null from an empty name when it writes.
pub(crate) fn forgets(input: &[u8]) -> Verdict {
    let read = |input| {
        let (count, rest) = opened(input)?;
        let mut all: Vec<Option<Vec<u8>>> = Vec::new();
        names(rest, count, |name| all.push(name.map(<[u8]>::to_vec))).map(|()| all)
    };
    let Some(all) = read(input) else { return Verdict::Refused };
    let mut written = input[..3].to_vec();
    for name in &all {
        let name = name.as_deref().unwrap_or_default();
        written.push(name.len() as u8);
        written.extend(name);
    }
    assert_eq!(read(&written), Some(all), "another meaning after encoding");
    Verdict::Accepted
}

fn opened(input: &[u8]) -> Option<(usize, &[u8])> {
    let [kind, high, low, rest @ ..] = input else { return None };
    (*kind == KIND).then_some((usize::from(u16::from_be_bytes([*high, *low])), rest))
}

/// Reads `count` names, and nothing behind them.
fn names<'a>(
    mut rest: &'a [u8],
    count: usize,
    mut seen: impl FnMut(Option<&'a [u8]>),
) -> Option<()> {
    for _ in 0..count {
        let (&length, names) = rest.split_first()?;
        let (name, left) = names.split_at_checked(usize::try_from((length as i8).max(0)).ok()?)?;
        seen((length as i8 >= 0).then_some(name));
        rest = left;
    }
    rest.is_empty().then_some(())
}

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry::new("none", [KIND, 0, 0]),
        Entry::new("two", *b"\x07\0\x02\x03one\x03two"),
        Entry::new("four", *b"\x07\0\x04\x03one\x03two\x05three\x04four"),
    ]
}
