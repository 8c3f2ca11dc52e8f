//! Reading the journal at the start: what the index does not cover yet is given to a sink, in order.
//!
//! Memory is bounded by the largest frame. A broken frame at the very end, with no whole one after it, is what
//! a crash leaves of an unacknowledged write, and is cut. Anything else that is broken is damage: acknowledged
//! work is gone or unreadable, and the start stops and names the place.
//!
//! The last frame is written again where it lies, and synced, before anything relies on it: a process whose sync
//! failed, or that died before it, may have left bytes that the kernel shows and the disk does not have.

use std::io;
use std::sync::Arc;

use super::OpenError;
use super::files::{File, read_exact_at};
use super::format::{
    BadHeader, FORMAT, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, HEADER_BYTES, Place, Replayed,
    SegmentHeader, decode_payload,
};
use super::journal::{Location, Position, Segments, Tail, segment_name};
use super::overlay::{Entry, State};
use crate::engine::{Key, Version};

/// How much of a file is searched at a time for a whole frame.
const SEARCH_BYTES: usize = 1 << 20;

/// What was found in the journal.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: Position,
    pub(crate) tail: Option<Tail>,
    /// The number of the segment that is made next.
    pub(crate) next: u64,
    pub(crate) frames: u64,
    pub(crate) torn_bytes: u64,
}

/// The frame at an offset.
enum Found {
    Whole { payload: Vec<u8>, last: u64 },
    End,
    Broken,
}

/// A segment being read.
struct Segment {
    number: u64,
    file: Arc<dyn File>,
    header: SegmentHeader,
    length: u64,
}

/// Replays everything after `from`; `sink` takes the entries of one frame, and the position after it.
pub(crate) fn replay(
    segments: &Segments,
    from: Option<Position>,
    sink: &mut dyn FnMut(Vec<(Key, Entry)>, Position) -> Result<(), OpenError>,
) -> Result<Outcome, OpenError> {
    let io = |source| OpenError::Io { path: segments.directory().to_owned(), source };
    let numbers = segments.numbers().map_err(io)?;
    let newest = numbers.last().copied();
    let start = from.unwrap_or_default();
    let mut outcome = Outcome { end: start, tail: None, next: start.segment + 1, frames: 0, torn_bytes: 0 };
    let mut expected = if from.is_some() { Some(start.segment) } else { numbers.first().copied() };
    for number in numbers.into_iter().filter(|number| *number >= start.segment) {
        // A segment that should be there and is not: what it held is gone.
        if let Some(missing) = expected.filter(|expected| *expected != number) {
            return Err(damaged(segments, missing, 0));
        }
        expected = Some(number + 1);
        let Some(segment) = open(segments, number, Some(number) == newest)? else {
            // It never held a frame, so its number is free; leaving it out would look like a lost segment.
            outcome.next = number;
            continue;
        };
        outcome.next = number + 1;
        let mut offset = if number == start.segment { start.offset } else { HEADER_BYTES as u64 };
        if offset > segment.length {
            return Err(damaged(segments, number, segment.length));
        }
        let last_frame = read_segment(segments, &segment, &mut offset, &mut outcome, sink)?;
        if offset < segment.length {
            cut(segments, &segment, offset, Some(number) == newest)?;
            outcome.torn_bytes = segment.length - offset;
        }
        if Some(number) == newest {
            segment
                .settle(last_frame, offset)
                .map_err(|source| OpenError::Io { path: segments.path(number), source })?;
        }
        outcome.tail = Some(Tail { file: segment.file, header: segment.header, offset });
    }
    if from.is_some() && outcome.tail.is_none() {
        return Err(damaged(segments, start.segment, 0));
    }
    Ok(outcome)
}

fn damaged(segments: &Segments, segment: u64, offset: u64) -> OpenError {
    OpenError::Damaged { path: segments.path(segment), segment: segment_name(segment), offset }
}

/// Opens a segment; the newest may have been cut short while it was made, and is then removed.
fn open(segments: &Segments, number: u64, is_newest: bool) -> Result<Option<Segment>, OpenError> {
    let io = |source| OpenError::Io { path: segments.path(number), source };
    let file = segments.file(number).map_err(io)?;
    let length = file.length().map_err(io)?;
    let mut bytes = vec![0; HEADER_BYTES.min(usize::try_from(length).unwrap_or(HEADER_BYTES))];
    read_exact_at(&*file, &mut bytes, 0).map_err(io)?;
    match SegmentHeader::decode(&bytes) {
        Ok(header) if header.segment == number => Ok(Some(Segment { number, file, header, length })),
        Err(BadHeader::Newer(found)) => {
            Err(OpenError::NewerFormat { path: segments.path(number), found, known: FORMAT })
        }
        // No frame is written before the header is synced.
        Err(BadHeader::Broken) if is_newest && length <= HEADER_BYTES as u64 => {
            drop(file);
            segments.remove(number).map_err(io)?;
            Ok(None)
        }
        Ok(_) | Err(BadHeader::Broken) => Err(damaged(segments, number, 0)),
    }
}

/// Answers where its last frame begins.
fn read_segment(
    segments: &Segments,
    segment: &Segment,
    offset: &mut u64,
    outcome: &mut Outcome,
    sink: &mut dyn FnMut(Vec<(Key, Entry)>, Position) -> Result<(), OpenError>,
) -> Result<u64, OpenError> {
    let io = |source| OpenError::Io { path: segments.path(segment.number), source };
    let mut last_frame = *offset;
    loop {
        match segment.frame(*offset).map_err(io)? {
            Found::Whole { payload, last } if last > outcome.end.sequence => {
                let changes =
                    decode_payload(&payload).ok_or_else(|| damaged(segments, segment.number, *offset))?;
                let values_at = *offset + FRAME_HEADER_BYTES as u64;
                let entries =
                    changes.into_iter().map(|change| entry(segment.number, values_at, change)).collect();
                last_frame = *offset;
                *offset = values_at + payload.len() as u64;
                outcome.end = Position { segment: segment.number, offset: *offset, sequence: last };
                outcome.frames += 1;
                sink(entries, outcome.end)?;
            }
            // A whole frame that repeats old sequences was never written here.
            Found::Whole { .. } => return Err(damaged(segments, segment.number, *offset)),
            Found::End | Found::Broken => return Ok(last_frame),
        }
    }
}

fn entry(segment: u64, values_at: u64, change: Replayed) -> (Key, Entry) {
    let state = match change.value {
        None => State::Gone,
        Some((value, at)) => {
            let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
            let at = Location { segment, offset: values_at + at, length, crc: crc32fast::hash(&value) };
            State::Put { at, value: Some(value) }
        }
    };
    (change.key, Entry { version: Version(change.sequence), state })
}

/// Cuts a torn tail, or says that it is none.
fn cut(segments: &Segments, segment: &Segment, offset: u64, is_newest: bool) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: segments.path(segment.number), source };
    // A segment is left only when all of it is synced: a break in an older one is no torn tail.
    if !is_newest || segment.has_whole_frame_after(offset).map_err(io)? {
        return Err(damaged(segments, segment.number, offset));
    }
    segment.file.set_len(offset).map_err(io)
}

impl Segment {
    fn settle(&self, last_frame: u64, end: u64) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(end - last_frame).unwrap_or(FRAME_HEADER_BYTES)];
        read_exact_at(&*self.file, &mut bytes, last_frame)?;
        self.file.write_all_at(&bytes, last_frame)?;
        self.file.sync_data()
    }

    fn frame(&self, offset: u64) -> io::Result<Found> {
        let room = self.length.saturating_sub(offset);
        if room == 0 {
            return Ok(Found::End);
        }
        let mut bytes = [0; FRAME_HEADER_BYTES];
        if room < bytes.len() as u64 {
            return Ok(Found::Broken);
        }
        read_exact_at(&*self.file, &mut bytes, offset)?;
        let Some(header) = FrameHeader::decode(&bytes) else { return Ok(Found::Broken) };
        if u64::from(header.length) > room - bytes.len() as u64 {
            return Ok(Found::Broken);
        }
        let mut payload = vec![0; header.length as usize];
        read_exact_at(&*self.file, &mut payload, offset + bytes.len() as u64)?;
        let whole = header.holds(Place { header: self.header, offset }, &payload);
        Ok(if whole { Found::Whole { payload, last: header.last } } else { Found::Broken })
    }

    /// Looks at every byte, since the broken frame's own length can't be trusted.
    fn has_whole_frame_after(&self, broken: u64) -> io::Result<bool> {
        let mut window = vec![0; SEARCH_BYTES];
        let mut start = broken + 1;
        while start < self.length {
            let size = window.len().min(usize::try_from(self.length - start).unwrap_or(usize::MAX));
            let Some(bytes) = window.get_mut(..size) else { return Ok(false) };
            read_exact_at(&*self.file, bytes, start)?;
            let candidates =
                bytes.windows(FRAME_MAGIC.len()).enumerate().filter(|(_, four)| *four == FRAME_MAGIC);
            for (at, _) in candidates {
                if matches!(self.frame(start + at as u64)?, Found::Whole { .. }) {
                    return Ok(true);
                }
            }
            // The windows overlap, so that no frame's beginning is split between two.
            start += size.saturating_sub(FRAME_MAGIC.len() - 1).max(1) as u64;
        }
        Ok(false)
    }
}
