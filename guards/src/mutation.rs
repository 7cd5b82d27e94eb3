//! Changes to an input: few at a time, and of the kinds that parsers stumble over.

use onrush_runtime::Random;

use crate::parts;

/// Inputs do not grow above this.
const LONGEST: usize = 64 * 1024;
/// Most changes to one input.
const CHANGES: u64 = 6;
/// Most bytes that are inserted, removed or copied.
const STRETCH: u64 = 64;

/// Lengths, counts and deltas at the edges of their types.
const NUMBERS: [i64; 20] = [
    0,
    1,
    2,
    -1,
    -2,
    i8::MAX as i64,
    i8::MIN as i64,
    u8::MAX as i64,
    i16::MAX as i64,
    i16::MIN as i64,
    u16::MAX as i64,
    1 << 20,
    (1 << 24) - 1,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
    i64::MAX - 1,
    4_096,
];

/// An input that differs from `input` in some places. `other` is another valid input.
pub(crate) fn mutate(input: &[u8], other: &[u8], in_parts: bool, random: &Random) -> Vec<u8> {
    if !in_parts {
        return changed(input, other, random);
    }
    let mut all: Vec<Vec<u8>> = parts::split(input).into_iter().map(<[u8]>::to_vec).collect();
    let others = parts::split(other);
    match random.below(10) {
        0 if all.len() > 1 => drop(all.remove(at(all.len(), random))),
        1 if !all.is_empty() => all.push(all[at(all.len(), random)].clone()),
        2 if !all.is_empty() => {
            let (one, two) = (at(all.len(), random), at(all.len(), random));
            all.swap(one, two);
        }
        3 if !others.is_empty() => {
            all.insert(at(all.len() + 1, random), others[at(others.len(), random)].to_vec());
        }
        _ if !all.is_empty() => {
            let part = by_length(&all, random);
            let other = others.get(at(others.len(), random)).copied().unwrap_or_default();
            all[part] = changed(&all[part], other, random);
        }
        _ => {}
    }
    parts::join(&all)
}

/// A part, long ones more often than short ones.
fn by_length(all: &[Vec<u8>], random: &Random) -> usize {
    const LEAST: usize = 8;
    let weight = |part: &Vec<u8>| (part.len() + LEAST) as u64;
    let mut drawn = random.below(all.iter().map(weight).sum());
    for (index, part) in all.iter().enumerate() {
        match drawn.checked_sub(weight(part)) {
            Some(left) => drawn = left,
            None => return index,
        }
    }
    0
}

fn changed(input: &[u8], other: &[u8], random: &Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(CHANGES) {
        change(&mut bytes, other, random);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &Random) {
    let place = at(bytes.len(), random);
    let stretch = random.below(STRETCH) as usize + 1;
    let end = bytes.len().min(place + stretch);
    match random.below(12) {
        0 if !bytes.is_empty() => bytes[place] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[place] = random.next_u64() as u8,
        2 if !bytes.is_empty() => bytes[place] = bytes[place].wrapping_add(1),
        3 if !bytes.is_empty() => bytes[place] = bytes[place].wrapping_sub(1),
        4 | 5 => overwrite(bytes, place, random),
        6 => drop(bytes.drain(place..end)),
        7 => bytes.truncate(place),
        8 => {
            let copied = bytes[place..end].to_vec();
            insert(bytes, at(bytes.len() + 1, random), &copied);
        }
        9 => insert(bytes, place, &random.next_u64().to_be_bytes()[..stretch.min(8)]),
        10 => {
            let from = at(other.len(), random);
            let to = other.len().min(from + stretch);
            insert(bytes, place, &other[from..to]);
        }
        _ => bytes[place..end].fill(0),
    }
}

/// Writes an integer of any width over what stands at `place`.
fn overwrite(bytes: &mut [u8], place: usize, random: &Random) {
    let number = NUMBERS[at(NUMBERS.len(), random)];
    let (be, le) = (number.to_be_bytes(), number.to_le_bytes());
    let width = 1 << random.below(4);
    let written = if random.chance(3, 4) { &be[8 - width..] } else { &le[..width] };
    for (byte, new) in bytes[place..].iter_mut().zip(written) {
        *byte = *new;
    }
}

fn insert(bytes: &mut Vec<u8>, place: usize, inserted: &[u8]) {
    bytes.splice(place..place, inserted.iter().copied());
}

/// A place in `length`; 0 where there is none.
fn at(length: usize, random: &Random) -> usize {
    random.below(length as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_changes_and_they_differ() {
        let run = |seed| {
            let random = Random::seeded(seed);
            (0..200)
                .map(|_| mutate(b"an input", b"another", false, &random))
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(1).len() > 150);
    }

    #[test]
    fn anything_can_be_changed() {
        let random = Random::seeded(3);
        for in_parts in [false, true] {
            let mut input = Vec::new();
            for _ in 0..2_000 {
                input = mutate(&input, b"\0\0\0\x02ab\0\0\0\0", in_parts, &random);
            }
        }
    }
}
