//! Reading a segment that may be damaged: whole frames, and the stretches between them that are none.
//!
//! Memory is bounded by the largest frame. Nothing is written, and nothing is believed without its checksum. What
//! the disk refuses to read counts as zeros, so that the frames behind a bad sector are still found.

use std::sync::Arc;

use super::super::files::{File, read_exact_at};
use super::super::format::{
    BadHeader, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, HEADER_BYTES, Place, SegmentHeader,
    decode_payload,
};
use super::super::journal::Segments;

/// How much of a file is searched at a time for a whole frame.
const SEARCH_BYTES: usize = 1 << 20;

/// What is given up where the disk refuses: a bad sector is no larger.
const SECTOR_BYTES: usize = 4 << 10;

/// A segment being read.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) file: Arc<dyn File>,
    pub(crate) header: SegmentHeader,
    /// The bytes of it that count.
    pub(crate) length: u64,
}

/// A part of a segment, from `at` to `end`.
#[derive(Debug)]
pub(crate) enum Stretch {
    /// A whole frame, and what it holds.
    Frame { at: u64, end: u64, last: u64, payload: Vec<u8> },
    /// No whole frame begins in it; `whole_after` tells whether one follows.
    Broken { at: u64, end: u64, whole_after: bool },
}

/// Opens a segment's file; the outer error is the file system's, the inner one the header's.
pub(crate) fn open(segments: &Segments, number: u64) -> std::io::Result<Result<Reader, BadHeader>> {
    let file = segments.file(number)?;
    let length = file.length()?;
    let mut bytes = [0; HEADER_BYTES];
    if length < HEADER_BYTES as u64 {
        return Ok(Err(BadHeader::Broken));
    }
    read_or_zero(&*file, &mut bytes, 0);
    Ok(match SegmentHeader::decode(&bytes) {
        Ok(header) if header.segment == number => Ok(Reader { file, header, length }),
        Ok(_) => Err(BadHeader::Broken),
        Err(bad) => Err(bad),
    })
}

impl Reader {
    /// The stretch that begins at `at`; `None` at the end of what counts.
    pub(crate) fn next(&self, at: u64) -> Option<Stretch> {
        if at >= self.length {
            return None;
        }
        if let Some(frame) = self.frame(at) {
            return Some(frame);
        }
        let next = self.candidates_after(at, &mut |at| self.frame(at).is_some());
        Some(Stretch::Broken { at, end: next.unwrap_or(self.length), whole_after: next.is_some() })
    }

    fn frame(&self, at: u64) -> Option<Stretch> {
        let (header, payload) = self.bytes_of_frame(at)?;
        if !header.holds(Place { header: self.header, offset: at }, &payload) {
            return None;
        }
        decode_payload(&payload)?;
        let end = at + (FRAME_HEADER_BYTES + payload.len()) as u64;
        Some(Stretch::Frame { at, end, last: header.last, payload })
    }

    /// What lies where a frame could be, if its header and length make sense. It may be broken.
    pub(crate) fn bytes_of_frame(&self, at: u64) -> Option<(FrameHeader, Vec<u8>)> {
        let room = self.length.checked_sub(at)?.checked_sub(FRAME_HEADER_BYTES as u64)?;
        let mut bytes = [0; FRAME_HEADER_BYTES];
        read_or_zero(&*self.file, &mut bytes, at);
        let header = FrameHeader::decode(&bytes)?;
        if u64::from(header.length) > room {
            return None;
        }
        let mut payload = vec![0; header.length as usize];
        read_or_zero(&*self.file, &mut payload, at + FRAME_HEADER_BYTES as u64);
        Some((header, payload))
    }

    /// The first place behind `after` that begins like a frame and that `accept` takes. Every byte is looked at,
    /// since a broken frame's own length can't be trusted.
    pub(crate) fn candidates_after(&self, after: u64, accept: &mut dyn FnMut(u64) -> bool) -> Option<u64> {
        let mut window = vec![0; SEARCH_BYTES];
        let mut start = after + 1;
        while start < self.length {
            let size = window.len().min(usize::try_from(self.length - start).unwrap_or(usize::MAX));
            let bytes = window.get_mut(..size)?;
            read_or_zero(&*self.file, bytes, start);
            let magics =
                bytes.windows(FRAME_MAGIC.len()).enumerate().filter(|(_, four)| *four == FRAME_MAGIC);
            for (at, _) in magics {
                if accept(start + at as u64) {
                    return Some(start + at as u64);
                }
            }
            // The windows overlap, so that no frame's beginning is split between two.
            start += size.saturating_sub(FRAME_MAGIC.len() - 1).max(1) as u64;
        }
        None
    }
}

/// Fills `into`; a sector that can't be read stays zero.
fn read_or_zero(file: &dyn File, into: &mut [u8], offset: u64) {
    if read_exact_at(file, into, offset).is_ok() {
        return;
    }
    let mut at = offset;
    for sector in into.chunks_mut(SECTOR_BYTES) {
        if read_exact_at(file, sector, at).is_err() {
            sector.fill(0);
        }
        at += sector.len() as u64;
    }
}
