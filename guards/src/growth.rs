//! Valid messages, grown from nothing: a decoder that runs out of bytes says how many it needs, and
//! gets them.
//!
//! No schema is written twice for this, and a version that is added to an API has its messages as
//! soon as the decoder knows it. Of many messages the ones with the most different fields are kept.

use std::collections::BTreeSet;

use bytes::Bytes;
use onrush_runtime::Random;
use onrush_wire::WireError;

/// Messages that are tried, and kept.
const TRIED: u32 = 400;
const KEPT: usize = 3;

const LONGEST: usize = 400;
/// A decoder that needs more at once has read a length that was not meant as one.
const MOST_NEEDED: usize = 40;

/// Decodes bytes to the text of a message.
pub(crate) type Decode<'a> = &'a dyn Fn(Bytes) -> Result<String, WireError>;

/// Different valid messages, the richest first.
pub(crate) fn messages(seed: u64, decode: Decode<'_>) -> Vec<Vec<u8>> {
    let random = Random::seeded(seed);
    let mut grown = BTreeSet::new();
    for _ in 0..TRIED {
        if let Some((text, bytes)) = grow(decode, &random) {
            grown.insert((std::cmp::Reverse(variety(&text)), bytes));
        }
    }
    grown.into_iter().take(KEPT).map(|(_, bytes)| bytes).collect()
}

fn grow(decode: Decode<'_>, random: &Random) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    while bytes.len() <= LONGEST {
        match decode(Bytes::from(bytes.clone())) {
            Ok(text) => return Some((text, bytes)),
            Err(error) => {
                let (needed, left) = missing(&error)?;
                if needed > MOST_NEEDED {
                    return None;
                }
                feed(&mut bytes, needed, needed.checked_sub(left)?, random);
            }
        }
    }
    None
}

/// What the decoder needs, and how much of that there is.
fn missing(error: &WireError) -> Option<(usize, usize)> {
    match error {
        WireError::Truncated { needed, left, .. } => Some((*needed, *left)),
        WireError::Schema { reason, .. } => {
            let (_, told) = reason.rsplit_once("needed ")?;
            let (needed, told) = told.split_once(" bytes, only ")?;
            let (left, _) = told.split_once(' ')?;
            Some((needed.parse().ok()?, left.parse().ok()?))
        }
        _ => None,
    }
}

/// Appends `count` bytes of a field that needs `needed`. What it is, only its width can tell: small
/// numbers do as lengths, and letters as strings.
fn feed(bytes: &mut Vec<u8>, needed: usize, count: usize, random: &Random) {
    let number = [0, 1, 1, 2, 2, 3, -1][random.below(7) as usize] as i64;
    match needed {
        1 | 2 | 4 | 8 if needed == count => bytes.extend(&number.to_be_bytes()[8 - needed..]),
        16 if needed == count => bytes.extend((0..16).map(|_| random.next_u64() as u8)),
        _ => bytes.extend((0..count).map(|_| b"abcd"[random.below(4) as usize])),
    }
}

/// How many different words a text has: names of fields, mostly.
fn variety(text: &str) -> usize {
    let words = text.split(|c: char| !c.is_ascii_alphabetic() && c != '_');
    words.filter(|word| word.len() > 2).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use onrush_wire::message::{decode_request, join_group};

    use super::*;

    #[test]
    fn grown_messages_have_what_is_nested() {
        for version in [0, 5, 6, 9] {
            let decode = |body| {
                decode_request::<join_group::Request>(version, body)
                    .map(|found| format!("{found:?}"))
            };
            let messages = messages(1, &decode);
            assert_eq!(messages.len(), KEPT);
            let text = decode(messages[0].clone().into()).unwrap();
            assert!(text.contains("JoinGroupRequestProtocol"), "{text}");
        }
    }
}
