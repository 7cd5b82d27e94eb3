//! Inputs that consist of parts: a session's frames, the names and contents of files.
//!
//! Each part is a length (u32) and its bytes. Changed part by part, an input does not fall apart at
//! the first byte that goes missing.

/// The parts; what follows the last whole one is left out.
pub(crate) fn split(mut input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = input.split_first_chunk::<4>() {
        let Some((part, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize) else {
            break;
        };
        parts.push(part);
        input = rest;
    }
    parts
}

pub(crate) fn join<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    let mut input = Vec::new();
    for part in parts.iter().map(AsRef::as_ref) {
        input.extend((part.len() as u32).to_be_bytes());
        input.extend(part);
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back() {
        let parts = [b"one".as_slice(), b"", b"three"];
        let joined = join(&parts);
        assert_eq!(split(&joined), parts);
        assert_eq!(split(&joined[..joined.len() - 1]), parts[..2]);
    }
}
