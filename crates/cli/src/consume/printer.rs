//! From fetched slices to stdout: batches are opened, records walked in place and written into one buffer.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use onrush_kafka::Fetched;
use onrush_record::{BatchHeader, Decompressor, RecordError, batches, records};
use onrush_runtime::Fault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::position::Position;
use crate::failure::Failure;
use crate::records::encoder::Encoder;
use crate::records::filter::Filter;

/// Bytes of rows that are written at once.
const ROWS_BYTES: usize = 64 * 1024;
/// Most bytes of a batch after decompression.
const MAX_DECOMPRESSED: usize = 64 << 20;

/// Writes records to stdout.
pub(super) struct Printer {
    encoder: Encoder,
    filter: Filter,
    decompressor: Decompressor,
    payload: Vec<u8>,
    /// Rows that are not written yet.
    rows: Vec<u8>,
    stdout: File,
    /// Records that may still be printed.
    left: u64,
    pub(super) printed: u64,
}

impl Printer {
    /// Prints at most `count` records.
    pub(super) fn new(
        encoder: Encoder,
        filter: Filter,
        count: Option<u64>,
    ) -> Result<Self, Failure> {
        // Not through the standard library's buffer, which would look for line ends once more.
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        Ok(Self {
            encoder,
            filter,
            decompressor: Decompressor::new(MAX_DECOMPRESSED),
            payload: Vec::new(),
            rows: Vec::with_capacity(2 * ROWS_BYTES),
            stdout: stdout.map_err(|error| Failure::output(&error))?.into(),
            left: count.unwrap_or(u64::MAX),
            printed: 0,
        })
    }

    /// Whether all that may be printed is.
    pub(super) fn has_enough(&self) -> bool {
        self.left == 0
    }

    /// Prints what is wanted of a slice, and moves the position after what was looked at.
    pub(super) fn print(
        &mut self,
        fetched: &Fetched,
        position: &mut Position,
    ) -> Result<(), Failure> {
        let partition = &fetched.partition;
        self.encoder.enter(&partition.topic, partition.partition);
        for raw in batches(&fetched.records) {
            if self.has_enough() || position.is_at_end() {
                return Ok(());
            }
            let damaged = |error: RecordError| {
                Failure::unavailable(format!("{partition} at offset {}: {error}", position.next))
                    .code(Fault::CorruptBatch)
            };
            let raw = raw.map_err(damaged)?;
            raw.verify_crc().map_err(damaged)?;
            let header = raw.header;
            if !header.attributes.is_control() && header.last_offset() >= position.next {
                let mut payload = std::mem::take(&mut self.payload);
                let opened = self.decompressor.payload(&raw, &mut payload).map_err(damaged)?;
                let outcome = self.batch(&header, opened.bytes(&raw, &payload), position);
                self.payload = payload;
                outcome?.map_err(|error| {
                    Failure::unavailable(format!(
                        "{partition} at offset {}: {error}",
                        position.next
                    ))
                    .code(Fault::CorruptBatch)
                })?;
            }
            position.leader_epoch = header.partition_leader_epoch;
            if !self.has_enough() {
                let next = position.next.max(header.last_offset().saturating_add(1));
                position.next = position.to.map_or(next, |to| next.min(to.max(position.next)));
            }
        }
        Ok(())
    }

    /// Prints the records of a batch; the outer error is stdout's, the inner one the batch's.
    fn batch(
        &mut self,
        header: &BatchHeader,
        payload: &[u8],
        position: &mut Position,
    ) -> Result<Result<(), RecordError>, Failure> {
        let append_time = header.attributes.timestamp_type_log_append();
        for record in records(payload, header) {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Ok(Err(error)),
            };
            if record.offset < position.next {
                continue;
            }
            if position.to.is_some_and(|to| record.offset >= to) {
                break;
            }
            let start = self.rows.len();
            let written = self.filter.accepts(&record).and_then(|accepted| match accepted {
                true => self.encoder.write(&mut self.rows, &record, append_time).map(|()| 1),
                false => Ok(0),
            });
            match written {
                Ok(count) => {
                    self.printed += count;
                    self.left -= count;
                }
                Err(error) => {
                    self.rows.truncate(start);
                    return Ok(Err(error));
                }
            }
            position.next = record.offset + 1;
            if self.rows.len() >= ROWS_BYTES {
                self.flush()?;
            }
            if self.has_enough() {
                break;
            }
        }
        Ok(Ok(()))
    }

    /// Fails if nobody reads stdout any more, which a write would only tell with the next record.
    pub(super) fn is_read(&self) -> Result<(), Failure> {
        let mut stdout = [PollFd::new(&self.stdout, PollFlags::empty())];
        // Where it cannot be asked, the next write tells.
        let asked = poll(&mut stdout, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        let gone = PollFlags::ERR | PollFlags::HUP;
        match asked {
            Ok(1..) if stdout[0].revents().intersects(gone) => {
                Err(Failure::output(&io::ErrorKind::BrokenPipe.into()))
            }
            _ => Ok(()),
        }
    }

    /// Writes what is not written yet.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let written = self.stdout.write_all(&self.rows);
        self.rows.clear();
        written.map_err(|error| Failure::output(&error))
    }
}
