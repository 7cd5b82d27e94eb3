//! Valid messages, grown from nothing: a decoder that runs out of bytes says how many it needs, and
//! gets them.
//!
//! No schema is written twice for this, and a version that is added to an API has its messages as
//! soon as the decoder knows it. Of many messages those are kept that show the most different fields.

use std::collections::BTreeSet;

use bytes::Bytes;
use onrush_runtime::Random;
use onrush_wire::WireError;

/// Messages that are tried, and kept.
const TRIED: u32 = 200;
const KEPT: usize = 3;

/// What names begin with: those that have one length are the same.
pub(crate) const NAME: &[u8; 8] = b"abcdefgh";

const LONGEST: usize = 400;
/// A decoder that needs more at once has read a length that was not meant as one.
const MOST_NEEDED: usize = 40;
const MOST_DEAD_ENDS: u32 = 40;

/// Decodes bytes to the text of a message.
pub(crate) type Decode<'a> = &'a dyn Fn(Bytes) -> Result<String, WireError>;

/// Different valid messages, which together have as many fields as were found.
pub(crate) fn messages(seed: u64, decode: Decode<'_>) -> Vec<Vec<u8>> {
    let random = Random::seeded(seed);
    let mut grown = BTreeSet::new();
    for _ in 0..TRIED {
        grown.extend(grow(decode, &random));
    }
    let mut grown: Vec<_> = grown.into_iter().map(|(text, bytes)| (words(&text), bytes)).collect();
    let (mut kept, mut shown) = (Vec::new(), BTreeSet::new());
    while kept.len() < KEPT {
        let news = |(words, _): &(BTreeSet<String>, Vec<u8>)| words.difference(&shown).count();
        let Some(best) = (0..grown.len()).max_by_key(|&at| (news(&grown[at]), grown[at].0.len()))
        else {
            break;
        };
        let (words, bytes) = grown.swap_remove(best);
        shown.extend(words);
        kept.push(bytes);
    }
    kept
}

fn grow(decode: Decode<'_>, random: &Random) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut last) = (Vec::new(), 0);
    let mut dead_ends = 0;
    while bytes.len() <= LONGEST && dead_ends < MOST_DEAD_ENDS {
        match decode(Bytes::from(bytes.clone())) {
            Ok(text) => return Some((text, bytes)),
            Err(error) => match missing(&error) {
                Some((needed, left)) if left < needed && needed <= MOST_NEEDED => {
                    last = bytes.len();
                    feed(&mut bytes, needed, needed - left, random);
                }
                // What was fed last cannot stand here: a null, or a length without end.
                _ => {
                    dead_ends += 1;
                    bytes.truncate(last);
                }
            },
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
/// numbers do as lengths and counts, and longer or odd fields are names.
fn feed(bytes: &mut Vec<u8>, needed: usize, count: usize, random: &Random) {
    let numbers: &[i64] = match needed {
        1 => &[0, 0, 0, 0, 1, 2, 2, 4, 4, 6],
        2 => &[0, 3, 3, 5, -1],
        _ => &[0, 1, 1, 2, 3, -1],
    };
    let number = numbers[random.below(numbers.len() as u64) as usize];
    match needed {
        1 | 2 | 4 | 8 if needed == count => bytes.extend(&number.to_be_bytes()[8 - needed..]),
        16 if needed == count => bytes.extend((0..16).map(|_| random.next_u64() as u8)),
        _ => bytes.extend(NAME.iter().cycle().take(count)),
    }
}

/// The words of a text: names of fields, mostly.
fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphabetic() && c != '_');
    words.filter(|word| word.len() > 2).map(str::to_owned).collect()
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
            let texts: Vec<String> =
                messages.into_iter().map(|message| decode(message.into()).unwrap()).collect();
            let nested = |text: &String| text.contains("JoinGroupRequestProtocol");
            assert!(texts.iter().any(nested), "{texts:?}");
        }
    }
}
