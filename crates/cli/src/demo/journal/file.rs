//! Journals as files: their names, and reading them, open or closed.
#![expect(clippy::disallowed_methods, reason = "the journals are the command's own files")]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::JournalError;
use super::entry::Entry;
use super::header::{HEADER_BYTES, Header, Standing};

/// A journal as read.
#[derive(Clone, Debug)]
pub(crate) struct JournalFile {
    /// Which assignment it is.
    pub(crate) header: Header,
    /// The bits of its entries, in the order of the calls.
    pub(crate) entries: Vec<u64>,
}

/// The name of the file of an assignment.
pub(super) fn name(partition: i32, assignment: u32) -> String {
    format!("p{partition}-a{assignment}.journal")
}

/// Partition and assignment, if it is the name of a journal.
fn parse_name(name: &str) -> Option<(i32, u32)> {
    let (partition, assignment) =
        name.strip_prefix('p')?.strip_suffix(".journal")?.split_once("-a")?;
    Some((partition.parse().ok()?, assignment.parse().ok()?))
}

/// The latest assignment of a partition, and how many entries it has by now.
pub(super) fn latest(folder: &Path, partition: i32) -> Result<Option<(u32, u64)>, JournalError> {
    let assignments = names(folder)?.into_iter().filter(|name| name.0 == partition);
    let Some((_, assignment)) = assignments.max() else {
        return Ok(None);
    };
    let path = folder.join(name(partition, assignment));
    let file = File::open(&path).map_err(JournalError::io(&path, "open the file"))?;
    let (_, standing) = read_header(&path, &file)?;
    Ok(Some((assignment, standing.entries)))
}

/// How many entries all journals of a folder have by now.
pub(crate) fn total_entries(folder: &Path) -> Result<u64, JournalError> {
    let mut total = 0;
    for (partition, assignment) in names(folder)? {
        let path = folder.join(name(partition, assignment));
        let file = File::open(&path).map_err(JournalError::io(&path, "open the file"))?;
        let (header, standing) = read_header(&path, &file)?;
        total += standing.entries.min(header.capacity);
    }
    Ok(total)
}

/// The journals of what a process holds: of each partition's latest assignment, if it is the process's and not let go.
pub(crate) fn held_by(folder: &Path, process: u32) -> Result<Vec<JournalFile>, JournalError> {
    let mut held = Vec::new();
    let latest: BTreeMap<i32, u32> = sorted_names(folder)?.into_iter().collect();
    for (partition, assignment) in latest {
        let path = folder.join(name(partition, assignment));
        let file = File::open(&path).map_err(JournalError::io(&path, "open the file"))?;
        let (header, standing) = read_header(&path, &file)?;
        if header.process == process && !standing.let_go {
            held.push(read(&path)?);
        }
    }
    Ok(held)
}

/// Every journal in a folder, by partition, then assignment.
pub(crate) fn read_all(folder: &Path) -> Result<Vec<JournalFile>, JournalError> {
    sorted_names(folder)?
        .into_iter()
        .map(|(partition, assignment)| {
            let path = folder.join(name(partition, assignment));
            let journal = read(&path)?;
            if (journal.header.partition, journal.header.assignment) == (partition, assignment) {
                Ok(journal)
            } else {
                Err(malformed(&path, "the header is that of another assignment".to_owned()))
            }
        })
        .collect()
}

fn sorted_names(folder: &Path) -> Result<Vec<(i32, u32)>, JournalError> {
    let mut names = names(folder)?;
    names.sort_unstable();
    Ok(names)
}

fn names(folder: &Path) -> Result<Vec<(i32, u32)>, JournalError> {
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder).map_err(JournalError::io(folder, "list the folder"))? {
        let file = file.map_err(JournalError::io(folder, "list the folder"))?;
        names.extend(file.file_name().to_str().and_then(parse_name));
    }
    Ok(names)
}

fn read(path: &Path) -> Result<JournalFile, JournalError> {
    let file = File::open(path).map_err(JournalError::io(path, "open the file"))?;
    let (header, standing) = read_header(path, &file)?;
    let count = standing.entries.min(header.capacity);
    let length = file.metadata().map_err(JournalError::io(path, "read the length"))?.len();
    let available = length.saturating_sub(HEADER_BYTES as u64) / Entry::BYTES as u64;
    if count > available {
        return Err(malformed(
            path,
            format!("{count} entries, but the file ends after {available}"),
        ));
    }
    let mut bytes = vec![0; count as usize * Entry::BYTES];
    file.read_exact_at(&mut bytes, HEADER_BYTES as u64)
        .map_err(JournalError::io(path, "read the entries"))?;
    let (words, _) = bytes.as_chunks();
    let entries = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    Ok(JournalFile { header, entries })
}

fn read_header(path: &Path, file: &File) -> Result<(Header, Standing), JournalError> {
    let mut page = [0; HEADER_BYTES];
    file.read_exact_at(&mut page, 0).map_err(JournalError::io(path, "read the header"))?;
    Header::decode(&page).map_err(|what| malformed(path, what))
}

fn malformed(path: &Path, what: String) -> JournalError {
    JournalError::Malformed { path: path.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::super::{Holding, Journals};
    use super::*;

    fn damaged(change: impl FnOnce(&File)) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let journals = Journals::new(folder.path(), 10).expect("journals");
        let holding = Holding { partition: 0, member: "m", epoch: 1, start_offset: 0 };
        let path = journals.assignment(&holding).expect("journal").path.clone();
        change(&File::options().write(true).open(&path).expect("file"));
        read_all(folder.path()).expect_err("damaged").to_string()
    }

    #[test]
    fn names_are_parsed() {
        assert_eq!(parse_name(&name(5, 12)), Some((5, 12)));
        for other in ["p5-a12", "p-a1.journal", "p5-12-3.draft", "5-a1.journal", "p1-a-1.journal"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let error = damaged(|file| file.set_len(100).expect("cut"));
        assert!(error.contains("p0-a0.journal: cannot read the header"), "{error}");
        let error = damaged(|file| file.write_all_at(&[5], 64).expect("written"));
        assert!(error.ends_with("p0-a0.journal: 5 entries, but the file ends after 0"), "{error}");
        let error = damaged(|file| file.write_all_at(&[9], 12).expect("written"));
        assert!(
            error.ends_with("p0-a0.journal: the header is that of another assignment"),
            "{error}"
        );
        let error = damaged(|file| file.write_all_at(&[0; 8], 0).expect("written"));
        assert!(error.contains("not those of a journal"), "{error}");
    }
}
