//! Tables: RFC 4180, with the names of the fields in the first row. A row becomes a JSON object of strings.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::envelope::write_string;
use super::malformed::{Malformed, Place, Reason};
use super::{Fields, Step};

/// Room for a row and its fields to begin with.
const ROW_BYTES: usize = 1024;
const ROW_FIELDS: usize = 64;
/// Bytes of the mark that some programs put before UTF-8.
const BYTE_ORDER_MARK: usize = 3;

/// Reads rows.
pub(crate) struct RowsDecoder {
    parser: Reader,
    /// The name of the column that has the key.
    key: Option<String>,
    key_index: usize,
    /// What stands before each field of the object: brace or comma, and the name. Empty before the header row is read.
    names: Vec<Name>,
    row: Row,
    object: Vec<u8>,
    limit: usize,
    /// Where the row starts that is being read, or was read last.
    line: u64,
    begun: bool,
    closed: bool,
}

struct Name {
    column: String,
    prefix: Vec<u8>,
}

/// The fields of a row, one after the other, and where each ends.
struct Row {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    used: usize,
    fields: usize,
}

impl RowsDecoder {
    pub(crate) fn new(separator: u8, key: Option<String>, limit: usize) -> Self {
        Self {
            parser: ReaderBuilder::new().delimiter(separator).build(),
            key,
            key_index: 0,
            names: Vec::new(),
            row: Row { bytes: vec![0; ROW_BYTES], ends: vec![0; ROW_FIELDS], used: 0, fields: 0 },
            object: Vec::with_capacity(ROW_BYTES),
            limit,
            line: 1,
            begun: false,
            closed: false,
        }
    }

    /// The row at the start of `input`, or a part of it, which is remembered.
    pub(crate) fn next<'a>(&'a mut self, input: &[u8], ends: bool) -> Result<Step<'a>, Malformed> {
        // The parser drops a byte order mark, if it sees all of it at once.
        if !self.begun && input.len() < BYTE_ORDER_MARK && !ends {
            return Ok(Step::default());
        }
        self.begun = true;
        if self.row.is_empty() {
            let blank = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if blank > 0 {
                self.read(&input[..blank])?;
                return Ok(Step { consumed: blank, record: None });
            }
            self.line = self.parser.line();
        }
        let (whole, consumed) = match input.is_empty() {
            true if ends => (self.close()?, 0),
            true => return Ok(Step::default()),
            false => self.read(input)?,
        };
        if !whole {
            return Ok(Step { consumed, record: None });
        }
        if self.names.is_empty() {
            self.take_names()?;
            self.row.clear();
            return Ok(Step { consumed, record: None });
        }
        let key = self.take_row()?;
        self.row.clear();
        let key = key.map(|(start, end)| &self.row.bytes[start..end]);
        let fields = Fields { key, value: Some(&self.object), ..Fields::default() };
        Ok(Step { consumed, record: Some(fields) })
    }

    /// Parses until a row is whole or the input is used up.
    fn read(&mut self, input: &[u8]) -> Result<(bool, usize), Malformed> {
        let mut consumed = 0;
        loop {
            let Row { bytes, ends, used, fields } = &mut self.row;
            let (result, read, written, ended) = self.parser.read_record(
                &input[consumed..],
                &mut bytes[*used..],
                &mut ends[*fields..],
            );
            consumed += read;
            *used += written;
            *fields += ended;
            // Empty fields take no bytes, but a place each.
            if (*used).max(*fields) > self.limit {
                return Err(self.malformed(Reason::TooLarge { limit: self.limit }));
            }
            match result {
                ReadRecordResult::Record => return Ok((true, consumed)),
                ReadRecordResult::InputEmpty | ReadRecordResult::End => {
                    return Ok((false, consumed));
                }
                ReadRecordResult::OutputFull => self.row.bytes.resize(2 * self.row.bytes.len(), 0),
                ReadRecordResult::OutputEndsFull => {
                    self.row.ends.resize(2 * self.row.ends.len(), 0)
                }
            }
        }
    }

    /// The input has ended. A line end that is missing is put there; a row that does not end with it has an open quote.
    fn close(&mut self) -> Result<bool, Malformed> {
        if std::mem::replace(&mut self.closed, true) {
            return Ok(false);
        }
        if self.read(b"\n")?.0 {
            return Ok(true);
        }
        match self.read(b"")?.0 {
            true => Err(self.malformed(Reason::OpenQuote)),
            false => Ok(false),
        }
    }

    /// The header row.
    fn take_names(&mut self) -> Result<(), Malformed> {
        let mut names: Vec<Name> = Vec::with_capacity(self.row.fields);
        for index in 0..self.row.fields {
            let column = self.row.field(index).to_vec();
            let column = String::from_utf8(column).map_err(|error| {
                let column = String::from_utf8_lossy(error.as_bytes()).into_owned();
                self.malformed(Reason::NotText { column })
            })?;
            if names.iter().any(|name| name.column == column) {
                return Err(self.malformed(Reason::ColumnTwice { column }));
            }
            let mut prefix = vec![if index == 0 { b'{' } else { b',' }];
            write_string(&mut prefix, &column);
            prefix.push(b':');
            names.push(Name { column, prefix });
        }
        if let Some(key) = &self.key {
            let known = || {
                let columns: Vec<_> = names.iter().map(|name| name.column.as_str()).collect();
                columns.join(", ")
            };
            let index = names.iter().position(|name| name.column == *key);
            self.key_index = index.ok_or_else(|| {
                self.malformed(Reason::NoColumn { column: key.clone(), known: known() })
            })?;
        }
        self.names = names;
        Ok(())
    }

    /// Makes the row an object, and tells where its key is.
    fn take_row(&mut self) -> Result<Option<(usize, usize)>, Malformed> {
        if self.row.fields != self.names.len() {
            let (found, named) = (self.row.fields, self.names.len());
            return Err(self.malformed(Reason::FieldCount { found, named }));
        }
        self.object.clear();
        for (index, name) in self.names.iter().enumerate() {
            self.object.extend_from_slice(&name.prefix);
            let Ok(text) = str::from_utf8(self.row.field(index)) else {
                return Err(self.malformed(Reason::NotText { column: name.column.clone() }));
            };
            write_string(&mut self.object, text);
        }
        self.object.push(b'}');
        Ok(self.key.as_ref().map(|_| self.row.span(self.key_index)))
    }

    /// The row that was read last.
    pub(crate) fn place(&self) -> Place {
        Place::Line(self.line)
    }

    fn malformed(&self, reason: Reason) -> Malformed {
        Malformed { place: self.place(), reason }
    }
}

impl Row {
    fn is_empty(&self) -> bool {
        self.used == 0 && self.fields == 0
    }

    /// Forgets the fields; their bytes stay until the next row is read.
    fn clear(&mut self) {
        (self.used, self.fields) = (0, 0);
    }

    fn span(&self, index: usize) -> (usize, usize) {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        (start, self.ends[index])
    }

    fn field(&self, index: usize) -> &[u8] {
        let (start, end) = self.span(index);
        &self.bytes[start..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Decoded = (Option<String>, String, Place);

    /// Decodes `input`, given in pieces of `size` bytes.
    fn decoded(key: Option<&str>, input: &[u8], size: usize) -> Result<Vec<Decoded>, Malformed> {
        let mut decoder = RowsDecoder::new(b',', key.map(str::to_owned), 10_000);
        let (mut rows, mut start, mut end) = (Vec::new(), 0, 0);
        loop {
            let step = decoder.next(&input[start..end], end == input.len())?;
            let consumed = step.consumed;
            start += consumed;
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
            let row = step.record.map(|row| (row.key.map(text), text(row.value.expect("a row"))));
            if let Some((key, value)) = row {
                rows.push((key, value, decoder.place()));
            } else if consumed == 0 && end == input.len() {
                return Ok(rows);
            } else {
                end = input.len().min(end + size);
            }
        }
    }

    #[test]
    fn quotes_line_ends_and_blank_lines_follow_the_rfc() {
        let input =
            b"\xef\xbb\xbftail,\"no \"\"te\"\r\nN1,\"a,b\"\r\n\r\n\"N\"\"2\",\"two\nlines\"\r\nN3,";
        for size in 1..40 {
            let rows = decoded(Some("tail"), input, size).expect("valid");
            let expected = [
                ("N1", "{\"tail\":\"N1\",\"no \\\"te\":\"a,b\"}", 2),
                ("N\"2", "{\"tail\":\"N\\\"2\",\"no \\\"te\":\"two\\nlines\"}", 4),
                ("N3", "{\"tail\":\"N3\",\"no \\\"te\":\"\"}", 6),
            ];
            let expected = expected.map(|(key, value, line)| {
                (Some(key.to_owned()), value.to_owned(), Place::Line(line))
            });
            assert_eq!(rows, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_table_without_rows_is_no_fault() {
        for input in [&b""[..], b"a,b", b"a,b\n", b"a,b\r\n\r\n"] {
            assert_eq!(decoded(None, input, 3), Ok(Vec::new()));
        }
    }

    #[test]
    fn faults_name_line_and_column() {
        let fault = |input: &[u8]| decoded(Some("a"), input, 100).expect_err("wrong").to_string();
        assert_eq!(fault(b"a,b\n1,2\n3\n"), "line 3: 1 fields, but the header row names 2");
        assert_eq!(fault(b"a,b\n1,2\n3,\"x\ny\n"), "line 3: a quoted field is never closed");
        assert!(fault(b"a,b\n1,\xff\n").starts_with("line 2: field \"b\" is not UTF-8"));
        assert_eq!(fault(b"b,c\n"), "line 1: there is no column \"a\"; the header row has b, c");
        assert!(fault(b"a,a\n").starts_with("line 1: column \"a\" is there twice"));
        let long = [b"a\n".to_vec(), vec![b'x'; 20_000]].concat();
        assert!(fault(&long).starts_with("line 2: a record of more than 10000 bytes"));
        let wide = [b"a\n".to_vec(), vec![b','; 20_000]].concat();
        assert!(fault(&wide).starts_with("line 2: a record of more than 10000 bytes"));
    }
}
