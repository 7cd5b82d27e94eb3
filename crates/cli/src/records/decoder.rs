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
    Csv(RowsDecoder),
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
                Format::Csv(RowsDecoder::new(*separator, key.clone(), largest))
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
    use onrush_runtime::Random;

    use super::*;
    use crate::records::raw::Delimiter;

    /// What becomes of an input: its records, and whether it ends well.
    #[derive(Debug, PartialEq, Eq)]
    struct Outcome {
        records: Vec<String>,
        malformed: Option<String>,
    }

    /// Decodes `input` in pieces, whose lengths `length` says.
    fn decoded(format: &InputFormat, input: &[u8], mut length: impl FnMut() -> usize) -> Outcome {
        let mut decoder = Decoder::new(format, 1_000);
        let (mut records, mut start, mut end) = (Vec::new(), 0, 0);
        loop {
            let ends = end == input.len();
            let step = match decoder.next(&input[start..end], ends) {
                Ok(step) => step,
                Err(malformed) => {
                    return Outcome { records, malformed: Some(malformed.to_string()) };
                }
            };
            assert!(step.consumed <= end - start, "no more than there is");
            start += step.consumed;
            let went_on = step.consumed > 0 || step.record.is_some();
            records.extend(step.record.map(|record| format!("{record:?}")));
            if !went_on && ends {
                assert_eq!(start, end, "nothing is left over");
                return Outcome { records, malformed: None };
            }
            if !went_on {
                end = input.len().min(end + length());
            }
        }
    }

    /// Valid inputs that cuts, swaps and other bytes make malformed ones of.
    const SEEDS: [&[u8]; 4] = [
        b"key:value\n\n:NULL\nNULL:x\r\nlast",
        b"{\"key\":{\"base64\":\"AP8=\"},\"value\":\"\\u00e9\\n\"}\n\n{\"value\":null,\"headers\":[{\"key\":\"a\",\"value\":\"b\"}],\"partition\":3}",
        b"\xef\xbb\xbfa,\"b\"\r\n1,\"x\"\"\n,y\"\r\n\r\n,2\n3,",
        b"\0\0\0\x01k\xff\xff\xff\xff\0\0\0\0\0\0\0\x02vv",
    ];

    #[test]
    fn the_pieces_in_which_an_input_comes_make_no_difference() {
        let random = Random::seeded(7);
        let below = |limit: usize| {
            usize::try_from(random.below(u64::try_from(limit).expect("small"))).expect("small")
        };
        let formats = [
            InputFormat::Raw(Delimiters {
                record: Delimiter::line_end(),
                key: Some(":".parse().expect("valid")),
                null: Some("NULL".to_owned()),
            }),
            InputFormat::Json,
            InputFormat::Csv { separator: b',', key: None },
            InputFormat::Length,
        ];
        let (mut well, mut malformed) = (0, 0);
        for round in 0..8_000 {
            let kind = round % SEEDS.len();
            let mut input = SEEDS[kind].repeat(1 + below(3));
            for _ in 0..below(4) {
                let (at, other) = (below(input.len()), below(input.len()));
                match below(4) {
                    0 => input.truncate(at.max(1)),
                    1 => input.swap(at, other),
                    2 => input[at] = u8::try_from(below(256)).expect("a byte"),
                    _ => input.insert(at, b"\"\n\r,:{}\\\0"[below(9)]),
                }
            }
            let whole = decoded(&formats[kind], &input, || input.len());
            let pieces = decoded(&formats[kind], &input, || 1 + below(9));
            assert_eq!(whole, pieces, "{:?}", input.escape_ascii().to_string());
            if whole.malformed.is_some() { malformed += 1 } else { well += 1 }
        }
        assert!(well > 1_000 && malformed > 1_000, "{well} well, {malformed} malformed");
    }

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
