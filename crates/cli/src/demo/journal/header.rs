//! The first page of a journal: which assignment it is, and what came before.
//!
//! | bytes | content (little-endian) |
//! |---|---|
//! | 0..8 | `ONRJRNL1` |
//! | 8..12 | partition, i32 |
//! | 12..16 | assignment, u32: numbered from 0 within the partition |
//! | 16..20 | epoch of the group, i32 |
//! | 20..24 | predecessor: assignment, u32; 0xffffffff for none |
//! | 24..32 | entries of the predecessor when this one began, u64 |
//! | 32..40 | offset at which the member starts to read, i64 |
//! | 40..48 | capacity in entries, u64 |
//! | 48..52 | length of the member's id, u32 |
//! | 52..56 | id of the member's process, u32 |
//! | 64..72 | entries, u64: places that were taken; changes while the journal is open |
//! | 72..80 | 1 once the member has let the partition go in good order, u64 |
//! | 128..384 | the member's id, UTF-8 |
use super::Holding;

/// One page: the entries behind it are aligned, and the count has its own cache line.
pub(crate) const HEADER_BYTES: usize = 4096;

/// Where the count of entries stands.
pub(crate) const COUNT_AT: usize = 64;

/// Where it stands whether the partition was let go.
pub(crate) const LET_GO_AT: usize = 72;

/// Bytes of a member's id that are kept.
pub(crate) const MAX_MEMBER_BYTES: usize = 256;

const MAGIC: [u8; 8] = *b"ONRJRNL1";
const MEMBER_AT: usize = 128;
const NO_PREDECESSOR: u32 = u32::MAX;

const _: () = assert!(COUNT_AT + 8 <= LET_GO_AT);
const _: () = assert!(MEMBER_AT + MAX_MEMBER_BYTES <= HEADER_BYTES && LET_GO_AT + 8 <= MEMBER_AT);

/// A journal's header, except for what changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The partition.
    pub(crate) partition: i32,
    /// The number of the assignment within the partition.
    pub(crate) assignment: u32,
    /// The epoch under which the member held the partition.
    pub(crate) epoch: i32,
    /// The assignment before, and how many entries it had when this one began.
    pub(crate) predecessor: Option<(u32, u64)>,
    /// Where the member started to read.
    pub(crate) start_offset: i64,
    /// Entries at most.
    pub(crate) capacity: u64,
    /// Id of the member.
    pub(crate) member: String,
    /// Id of its process.
    pub(crate) process: u32,
}

/// What changes in the header while a journal is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Places that were taken.
    pub(crate) entries: u64,
    /// The member gave the partition up; nothing follows.
    pub(crate) let_go: bool,
}

impl Header {
    /// The header of the assignment after `predecessor`.
    pub(crate) fn new(
        holding: &Holding<'_>,
        capacity: u64,
        predecessor: Option<(u32, u64)>,
    ) -> Self {
        let end = holding.member.floor_char_boundary(MAX_MEMBER_BYTES);
        Self {
            partition: holding.partition,
            assignment: predecessor.map_or(0, |(assignment, _)| assignment + 1),
            epoch: holding.epoch,
            predecessor,
            start_offset: holding.start_offset,
            capacity,
            member: holding.member[..end].to_owned(),
            process: std::process::id(),
        }
    }

    /// The page of a journal that begins.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let (predecessor, stood) = self.predecessor.unwrap_or((NO_PREDECESSOR, 0));
        let mut page = [0; HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(8, &self.partition.to_le_bytes());
        put(12, &self.assignment.to_le_bytes());
        put(16, &self.epoch.to_le_bytes());
        put(20, &predecessor.to_le_bytes());
        put(24, &stood.to_le_bytes());
        put(32, &self.start_offset.to_le_bytes());
        put(40, &self.capacity.to_le_bytes());
        put(48, &(self.member.len() as u32).to_le_bytes());
        put(52, &self.process.to_le_bytes());
        put(MEMBER_AT, self.member.as_bytes());
        page
    }

    /// Reads a page: the header and how the journal stands, or what is wrong.
    pub(crate) fn decode(page: &[u8; HEADER_BYTES]) -> Result<(Self, Standing), String> {
        if page[..8] != MAGIC {
            return Err("the first eight bytes are not those of a journal".to_owned());
        }
        let member_bytes = u32::from_le_bytes(field(page, 48)) as usize;
        if member_bytes > MAX_MEMBER_BYTES {
            return Err(format!("the member's id claims {member_bytes} bytes"));
        }
        let member = std::str::from_utf8(&page[MEMBER_AT..MEMBER_AT + member_bytes])
            .map_err(|error| format!("the member's id is not UTF-8: {error}"))?;
        let predecessor = u32::from_le_bytes(field(page, 20));
        let stood = u64::from_le_bytes(field(page, 24));
        let header = Self {
            partition: i32::from_le_bytes(field(page, 8)),
            assignment: u32::from_le_bytes(field(page, 12)),
            epoch: i32::from_le_bytes(field(page, 16)),
            predecessor: (predecessor != NO_PREDECESSOR).then_some((predecessor, stood)),
            start_offset: i64::from_le_bytes(field(page, 32)),
            capacity: u64::from_le_bytes(field(page, 40)),
            member: member.to_owned(),
            process: u32::from_le_bytes(field(page, 52)),
        };
        let standing = Standing {
            entries: u64::from_le_bytes(field(page, COUNT_AT)),
            let_go: u64::from_le_bytes(field(page, LET_GO_AT)) != 0,
        };
        Ok((header, standing))
    }
}

fn field<const N: usize>(page: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|index| page[at + index])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: Standing = Standing { entries: 0, let_go: false };

    fn header(member: &str) -> Header {
        let holding = Holding { partition: 5, member, epoch: -3, start_offset: 1 << 40 };
        Header::new(&holding, 77, Some((8, 1_000_000)))
    }

    #[test]
    fn a_header_is_read_back() {
        let header = header("member-ü");
        assert_eq!(header.assignment, 9);
        assert_eq!(Header::decode(&header.encode()), Ok((header, BEGUN)));
    }

    #[test]
    fn a_long_member_id_is_cut_between_characters() {
        let header = header(&"ü".repeat(200));
        assert_eq!(header.member, "ü".repeat(128));
        assert_eq!(Header::decode(&header.encode()), Ok((header, BEGUN)));
    }

    #[test]
    fn damage_is_named() {
        let good = header("m").encode();
        for (at, byte, expected) in [
            (0, 0, "the first eight bytes"),
            (51, 1, "the member's id claims"),
            (128, 0xff, "the member's id is not UTF-8"),
        ] {
            let mut page = good;
            page[at] = byte;
            let error = Header::decode(&page).expect_err("damaged");
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
