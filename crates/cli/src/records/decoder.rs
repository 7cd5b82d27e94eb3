//! A decoder of each format behind one face: bytes go in as they come, records come out whole.

use super::Step;
use super::envelope::EnvelopeDecoder;
use super::lengths::LengthsDecoder;
use super::malformed::{Malformed, Place, Reason};
use super::raw::{Delimiters, RawDecoder};
use super::rows::RowsDecoder;

/// Escapes and base64 make a record's text at most so many times as long as its bytes.
const TEXT_PER_BYTE: usize = 6;
/// What a line may have beside a record's bytes.
const TEXT_OVERHEAD: usize = 64 * 1024;

/// What an input consists of.
#[derive(Clone, Debug)]
pub(crate) enum InputFormat {
    Raw(Delimiters),
    Json,
    Csv { separator: u8, key: Option<String> },
    Length,
}

/// Reads the records of one input.
pub(crate) struct Decoder {
    format: Format,
    /// No input of more bytes than this is kept for a record that is not whole.
    limit: usize,
    largest: usize,
}

enum Format {
    Raw(RawDecoder),
    Json(EnvelopeDecoder),
    Csv(Box<RowsDecoder>),
    Length(LengthsDecoder),
}

impl Decoder {
    /// Reads records of at most `largest` bytes.
    pub(crate) fn new(format: &InputFormat, largest: usize) -> Self {
        let limit = largest.saturating_mul(TEXT_PER_BYTE).saturating_add(TEXT_OVERHEAD);
        let format = match format {
            InputFormat::Raw(delimiters) => Format::Raw(RawDecoder::new(delimiters)),
            InputFormat::Json => Format::Json(EnvelopeDecoder::default()),
            InputFormat::Csv { separator, key } => {
                Format::Csv(Box::new(RowsDecoder::new(*separator, key.clone(), largest)))
            }
            InputFormat::Length => Format::Length(LengthsDecoder::new(largest)),
        };
        Self { format, limit, largest }
    }

    /// The record at the start of `input`, which is all that was not consumed yet; `ends` if nothing will come after it.
    pub(crate) fn next<'a>(
        &'a mut self,
        input: &'a [u8],
        ends: bool,
    ) -> Result<Step<'a>, Malformed> {
        let (limit, largest) = (self.limit, self.largest);
        let (step, too_large) = match &mut self.format {
            Format::Raw(raw) => {
                let step = raw.next(input, ends);
                (step, (input.len() > limit).then(|| raw.too_large(largest)))
            }
            Format::Json(json) => {
                let too_large = (input.len() > limit).then(|| json.too_large(largest));
                (json.next(input, ends)?, too_large)
            }
            // These know their lengths.
            Format::Csv(csv) => (csv.next(input, ends)?, None),
            Format::Length(length) => (length.next(input, ends)?, None),
        };
        match too_large {
            Some(fault) if step.consumed == 0 => Err(fault),
            _ => Ok(step),
        }
    }

    /// Why the record that was read last cannot be sent.
    pub(crate) fn malformed(&self, reason: Reason) -> Malformed {
        Malformed { place: self.place(), reason }
    }

    fn place(&self) -> Place {
        match &self.format {
            Format::Raw(raw) => raw.place(),
            Format::Json(json) => json.place(),
            Format::Csv(csv) => csv.place(),
            Format::Length(length) => length.place(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::raw::Delimiter;

    #[test]
    fn a_record_without_end_is_not_kept_for_ever() {
        let lines = Delimiters { record: Delimiter::line_end(), key: None, null: None };
        let endless = vec![b'x'; TEXT_PER_BYTE * 10 + TEXT_OVERHEAD + 1];
        for format in [InputFormat::Raw(lines), InputFormat::Json] {
            let mut decoder = Decoder::new(&format, 10);
            assert!(decoder.next(&endless[1..], false).expect("maybe").record.is_none());
            let fault = decoder.next(&endless, false).map(|step| step.consumed);
            let said = fault.expect_err("too large").to_string();
            assert!(said.starts_with("line 1: a record of more than 10 bytes"), "{said}");
        }
    }
}
