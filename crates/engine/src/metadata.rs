//! What a commit says beside its offset, for the next owner of the partition and for whoever looks
//! at the group from outside: what is done above the offset, and notes on events that are not.
//!
//! The metadata is base64 (no padding) of:
//!
//! ```text
//! version u8 | check u32 (of the commit offset and all that follows) | set | notes | sections
//! set:       see `completed`, chunks and their end
//! notes:     n varint, n x (offset varint, attempts varint)     an offset counts from the one before,
//!                                                               the first from the commit offset
//!            if n > 0: d varint, d x (since varint, length varint, text)          of the first d notes
//! sections:  (tag varint, length varint, bytes) up to the end; none in version 1
//! ```
//!
//! Versions: 1 is written. 1 and 2 are read; what version 2 may add stands in sections, and one that
//! is not known is passed over. So a release that writes 2 can be followed and preceded by one that
//! reads it.
//!
//! Metadata that none of these versions wrote, or that was written for another offset, means that
//! nothing above is done.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::completed::{CompletedSet, METADATA_LIMIT, byte_limit, set_limit};
use crate::varint;

/// Most bytes of an error's text in a note.
pub const NOTE_TEXT_LIMIT: usize = 96;

const WRITTEN: u8 = 1;
const READ_LAST: u8 = 2;
const CHECK_LEN: usize = 4;
const HEAD_LEN: usize = 1 + CHECK_LEN;
/// A text that has to be cut below this says nothing: it is left out.
const TEXT_MIN: usize = 12;

/// What is known of an event that is not done: it is being retried, or stuck.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    /// Which.
    pub offset: i64,
    /// How often it was tried and failed, at all owners.
    pub attempts: u32,
    /// Since when, in milliseconds of the wall clock: the first failure, or when it was taken. 0 if
    /// that found no room.
    pub since_millis: i64,
    /// What it failed with last, cut to [`NOTE_TEXT_LIMIT`] bytes; empty if nothing is known.
    pub error: String,
}

/// Why the metadata of a commit tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// It has another form, or was cut, edited or moved to another offset.
    #[error("it is not what Onrush commits with this offset")]
    Foreign,
    /// A release that is newer by more than one wrote it.
    #[error("it is of version {0}, this release reads up to version {READ_LAST}")]
    Version(u8),
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// What is done above the commit offset.
    pub completed: CompletedSet,
    /// What is known of events at or above it that are not, lowest offset first.
    pub notes: Vec<Note>,
}

impl Metadata {
    /// What a commit of `offset` carries, in at most `limit` characters.
    ///
    /// The set comes first, but for the part that [`set_limit`] keeps for notes. What does not fit
    /// is left out from above: of the set it will be repeated, not lost. Attempts come before texts.
    pub fn encode(&self, offset: i64, limit: usize) -> String {
        encode(offset, &self.completed, &self.notes, limit)
    }

    /// What was committed with `offset`. Nothing is no error.
    ///
    /// # Errors
    /// Something else stands there; it means that nothing above is done.
    pub fn decode(offset: i64, text: &str) -> Result<Self, MetadataError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > METADATA_LIMIT || offset < 0 {
            return Err(MetadataError::Foreign);
        }
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| MetadataError::Foreign)?;
        let (&version, rest) = bytes.split_first().ok_or(MetadataError::Foreign)?;
        let (stated, body) = rest.split_first_chunk().ok_or(MetadataError::Foreign)?;
        if u32::from_be_bytes(*stated) != check(offset, body) {
            return Err(MetadataError::Foreign);
        }
        match version {
            WRITTEN..=READ_LAST => Self::read(offset, body, version).ok_or(MetadataError::Foreign),
            other => Err(MetadataError::Version(other)),
        }
    }

    fn read(offset: i64, mut body: &[u8], version: u8) -> Option<Self> {
        let completed = CompletedSet::take(offset, &mut body)?;
        let notes = take_notes(offset, &mut body)?;
        while !body.is_empty() {
            if version == WRITTEN {
                return None;
            }
            let _tag = varint::take(&mut body)?;
            take_text(&mut body)?;
        }
        Some(Self { completed, notes })
    }
}

/// See [`Metadata::encode`].
pub(crate) fn encode(offset: i64, set: &CompletedSet, notes: &[Note], limit: usize) -> String {
    let limit_bytes = byte_limit(limit);
    let mut bytes = vec![WRITTEN, 0, 0, 0, 0];
    let has_set = set.encode(offset, set_limit(limit), &mut bytes);
    let has_notes = put_notes(offset, notes, limit_bytes, &mut bytes);
    if (!has_set && !has_notes) || bytes.len() > limit_bytes {
        return String::new();
    }
    seal(offset, &mut bytes);
    STANDARD_NO_PAD.encode(bytes)
}

/// FNV-1a: it guards against metadata that was cut, edited or moved to another offset, not against
/// malice.
fn check(offset: i64, body: &[u8]) -> u32 {
    let all = offset.to_be_bytes();
    all.iter()
        .chain(body)
        .fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn seal(offset: i64, bytes: &mut [u8]) {
    let check = check(offset, &bytes[HEAD_LEN..]);
    bytes[1..HEAD_LEN].copy_from_slice(&check.to_be_bytes());
}

/// Writes as much of `notes` as `out` may hold; whether it was any.
fn put_notes(offset: i64, notes: &[Note], limit: usize, out: &mut Vec<u8>) -> bool {
    let notes = &notes[notes.partition_point(|note| note.offset < offset)..];
    // The two counts are below 2^14, as the limit is.
    let room = limit.saturating_sub(out.len() + 4);
    let first = notes.first().map_or(0, |note| Details::of(note).length());
    let (mut briefs, mut count, mut above) = (Vec::new(), 0, offset);
    for note in notes {
        debug_assert!(note.offset >= above, "notes are sorted");
        let Ok(distance) = u64::try_from(note.offset - above) else { break };
        let length = varint::length(distance) + varint::length(note.attempts.into());
        if briefs.len() + length > room - first.min(room / 4) {
            break;
        }
        varint::put(distance, &mut briefs);
        varint::put(note.attempts.into(), &mut briefs);
        (count, above) = (count + 1, note.offset);
    }
    varint::put(count as u64, out);
    out.extend(&briefs);
    if count > 0 {
        put_details(&notes[..count], room - briefs.len(), out);
    }
    count > 0
}

/// Writes since when and why, of as many as fit `room` bytes.
fn put_details(notes: &[Note], mut room: usize, out: &mut Vec<u8>) {
    let (mut all, mut told) = (Vec::new(), 0);
    for note in notes {
        let Some(details) = Details::within(note, room) else { break };
        room -= details.length();
        details.put(&mut all);
        told += 1;
    }
    varint::put(told, out);
    out.extend(all);
}

/// What a note says beside offset and attempts.
struct Details<'a> {
    since: u64,
    text: &'a str,
}

impl<'a> Details<'a> {
    fn of(note: &'a Note) -> Self {
        let since = u64::try_from(note.since_millis).unwrap_or(0);
        Self { since, text: cut(&note.error, NOTE_TEXT_LIMIT) }
    }

    fn length(&self) -> usize {
        varint::length(self.since) + varint::length(self.text.len() as u64) + self.text.len()
    }

    /// The same with the text cut to what `room` bytes can take.
    fn within(note: &'a Note, room: usize) -> Option<Self> {
        let whole = Self::of(note);
        let over = whole.length().saturating_sub(room);
        if over == 0 {
            return Some(whole);
        }
        let left = whole.text.len().checked_sub(over).filter(|left| *left >= TEXT_MIN)?;
        Some(Self { text: cut(whole.text, left), ..whole })
    }

    fn put(&self, out: &mut Vec<u8>) {
        varint::put(self.since, out);
        varint::put(self.text.len() as u64, out);
        out.extend(self.text.as_bytes());
    }
}

/// The first characters of `text` that take at most `limit` bytes.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

fn take_notes(offset: i64, body: &mut &[u8]) -> Option<Vec<Note>> {
    let (mut notes, mut above) = (Vec::new(), offset);
    for _ in 0..varint::take(body)? {
        above = above.checked_add_unsigned(varint::take(body)?)?;
        let attempts = u32::try_from(varint::take(body)?).ok()?;
        notes.push(Note { offset: above, attempts, ..Note::default() });
    }
    if !notes.is_empty() {
        let told = usize::try_from(varint::take(body)?).ok()?;
        for note in notes.get_mut(..told)? {
            note.since_millis = i64::try_from(varint::take(body)?).ok()?;
            note.error = str::from_utf8(take_text(body)?).ok()?.to_owned();
        }
    }
    Some(notes)
}

/// Bytes behind their length.
fn take_text<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint::take(body)?).ok()?;
    let (text, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::completed::{CHUNK_OFFSETS, OffsetRun, SPAN_LIMIT};

    fn set(runs: &[(i64, i64)]) -> CompletedSet {
        let mut set = CompletedSet::empty();
        runs.iter().for_each(|(first, last)| set.push(OffsetRun::new(*first, *last)));
        set
    }

    fn note(offset: i64, attempts: u32, error: &str) -> Note {
        Note { offset, attempts, since_millis: 1_790_000_000_000 + offset, error: error.to_owned() }
    }

    /// Metadata of any version with any body, rightly sealed.
    fn sealed(version: u8, offset: i64, body: &[u8]) -> String {
        let mut bytes = [&[version, 0, 0, 0, 0], body].concat();
        seal(offset, &mut bytes);
        STANDARD_NO_PAD.encode(bytes)
    }

    fn body(metadata: &Metadata, offset: i64) -> Vec<u8> {
        let text = metadata.encode(offset, METADATA_LIMIT);
        STANDARD_NO_PAD.decode(text).unwrap().split_off(HEAD_LEN)
    }

    fn example() -> Metadata {
        let notes = vec![note(100, 7, "no answer within 2 s"), note(150, 1, "")];
        Metadata { completed: set(&[(101, 149), (151, 199)]), notes }
    }

    fn notes() -> impl Strategy<Value = Vec<Note>> {
        let one = (1..40_000_i64, any::<u32>(), 0..i64::MAX, ".{0,140}");
        proptest::collection::vec(one, 0..400).prop_map(|all| {
            let mut offset = 4_000;
            let place = |(step, attempts, since_millis, error)| {
                offset += step;
                Note { offset, attempts, since_millis, error }
            };
            all.into_iter().map(place).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn notes_that_fit_come_back_and_the_others_are_cut_from_above(
            notes in notes(),
            bits in any::<bool>(),
            limit in prop_oneof![Just(METADATA_LIMIT), 0..METADATA_LIMIT],
        ) {
            let runs: Vec<_> = (0..if bits { 4_000 } else { 1 }).map(|at| (4_001 + 2 * at, 4_001 + 2 * at)).collect();
            let metadata = Metadata { completed: set(&runs), notes };
            let text = metadata.encode(4_000, limit);
            prop_assert!(text.len() <= limit);
            let read = Metadata::decode(4_000, &text).unwrap();
            prop_assert!(read.notes.len() <= metadata.notes.len());
            for (read, note) in read.notes.iter().zip(&metadata.notes) {
                prop_assert_eq!((read.offset, read.attempts), (note.offset, note.attempts));
                prop_assert!(read.since_millis == note.since_millis || read.since_millis == 0);
                prop_assert!(note.error.starts_with(&read.error) && read.error.len() <= NOTE_TEXT_LIMIT);
            }
            if limit == METADATA_LIMIT {
                prop_assert!(read.notes.len() >= metadata.notes.len().min(15));
            }
        }

        #[test]
        fn trap_20_any_text_is_no_skip_and_no_panic(offset in 0..i64::MAX, text in ".{1,200}") {
            prop_assert_eq!(Metadata::decode(offset, &text), Err(MetadataError::Foreign));
        }

        #[test]
        fn trap_20_hostile_bytes_with_a_right_check_reach_no_further_than_the_limit(
            offset in prop_oneof![0..10_000_i64, i64::MAX - 10_000..i64::MAX],
            version in prop_oneof![1..3_u8, any::<u8>()],
            body in proptest::collection::vec(prop_oneof![0..5_u8, any::<u8>()], 0..600),
        ) {
            let Ok(read) = Metadata::decode(offset, &sealed(version, offset, &body)) else { return Ok(()) };
            let runs = read.completed.runs();
            prop_assert!(read.completed.end().is_none_or(|end| end - offset <= SPAN_LIMIT + CHUNK_OFFSETS));
            prop_assert!(runs.iter().all(|run| run.first >= offset && run.first <= run.last));
            prop_assert!(read.notes.iter().all(|note| note.offset >= offset));
        }
    }

    #[test]
    fn set_and_notes_come_back() {
        let text = example().encode(100, METADATA_LIMIT);
        assert_eq!(Metadata::decode(100, &text), Ok(example()));
        let alone = Metadata { completed: CompletedSet::empty(), ..example() };
        assert_eq!(Metadata::decode(100, &alone.encode(100, METADATA_LIMIT)), Ok(alone));
        assert_eq!(Metadata::default().encode(100, METADATA_LIMIT), "");
        assert_eq!(Metadata::decode(100, ""), Ok(Metadata::default()));
    }

    #[test]
    fn notes_below_the_offset_are_left_out() {
        let text = example().encode(120, METADATA_LIMIT);
        let read = Metadata::decode(120, &text).unwrap();
        assert_eq!(read.notes, [note(150, 1, "")]);
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let error = "ä".repeat(80);
        let metadata = Metadata { notes: vec![note(100, 2, &error)], ..Metadata::default() };
        let read = Metadata::decode(100, &metadata.encode(100, METADATA_LIMIT)).unwrap();
        assert_eq!(read.notes[0].error, "ä".repeat(48));
    }

    #[test]
    fn the_lowest_event_is_explained_however_many_are_noted() {
        let notes = (0..5_000).map(|at| note(100 + at, 3, "the disk is full")).collect();
        let metadata = Metadata { notes, ..Metadata::default() };
        let read = Metadata::decode(100, &metadata.encode(100, METADATA_LIMIT)).unwrap();
        assert!(read.notes.len() > 1_000, "{}", read.notes.len());
        assert_eq!(read.notes[0], metadata.notes[0]);
    }

    #[test]
    fn version_2_is_read_and_version_1_is_written() {
        let (metadata, written) = (example(), example().encode(100, METADATA_LIMIT));
        assert_eq!(STANDARD_NO_PAD.decode(&written).unwrap()[0], 1);
        let mut newer = body(&metadata, 100);
        assert_eq!(Metadata::decode(100, &sealed(2, 100, &newer)), Ok(metadata.clone()));
        let section = |tag: u64, bytes: &[u8], out: &mut Vec<u8>| {
            varint::put(tag, out);
            varint::put(bytes.len() as u64, out);
            out.extend(bytes);
        };
        section(1, b"what is not known yet", &mut newer);
        section(900, &[], &mut newer);
        assert_eq!(Metadata::decode(100, &sealed(2, 100, &newer)), Ok(metadata));
        // In version 1 nothing may follow, and a section has all of its bytes.
        assert_eq!(Metadata::decode(100, &sealed(1, 100, &newer)), Err(MetadataError::Foreign));
        newer.push(9);
        assert_eq!(Metadata::decode(100, &sealed(2, 100, &newer)), Err(MetadataError::Foreign));
        assert_eq!(Metadata::decode(100, &sealed(3, 100, b"x")), Err(MetadataError::Version(3)));
    }

    #[test]
    fn trap_20_metadata_of_another_offset_or_kind_is_foreign() {
        let text = example().encode(100, METADATA_LIMIT);
        assert_eq!(Metadata::decode(101, &text), Err(MetadataError::Foreign));
        assert_eq!(Metadata::decode(-1, &text), Err(MetadataError::Foreign));
        assert_eq!(Metadata::decode(100, &text[..text.len() - 4]), Err(MetadataError::Foreign));
        // What Kafka Streams and people write there.
        for foreign in ["AgAAAZLk", "AQ", "AQAAAAA", "{\"app\":1}", "committed by hand", " "] {
            assert_eq!(Metadata::decode(100, foreign), Err(MetadataError::Foreign), "{foreign}");
        }
    }
}
