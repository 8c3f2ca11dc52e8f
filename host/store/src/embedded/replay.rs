//! Replaying the journal at the start: what the index does not cover yet is given to a sink, in order.
//!
//! [`super::survey`] has said which segments there are and how far each counts; here each must be whole up to
//! there. Memory is bounded by the largest frame.

use super::OpenError;
use super::format::{HEADER_BYTES, Payload, Replayed, decode_payload};
use super::journal::{Location, Position, Segments};
use super::overlay::{Entry, State, Tombs};
use super::segment::{Frame, SegmentReader, damaged};
use super::survey::Survey;
use crate::engine::{Key, Value, Version};

/// What one frame changes.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<(Key, Entry)>,
    pub(crate) tombs: Tombs,
    /// The position after it.
    pub(crate) end: Position,
    /// Its bytes in the journal.
    pub(crate) bytes: u64,
}

/// What was replayed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: Position,
    /// Frames that changed something.
    pub(crate) frames: u64,
}

/// Whether a position that an index covers lies in the journal. It does not when segments were dropped since the
/// index was written, as when an old copy of it was put back.
pub(crate) fn is_known(survey: &Survey, covered: Position) -> bool {
    let newest = survey.tail.as_ref().map(|tail| tail.header.segment);
    newest.is_none_or(|newest| covered.segment >= newest) || survey.sealed.contains_key(&covered.segment)
}

/// That the journal reaches what the index covers: that was synced before, so a journal that ends earlier lost it.
pub(crate) fn reaches(segments: &Segments, survey: &Survey, covered: Position) -> Result<(), OpenError> {
    match lengths(survey).find(|(number, _)| *number == covered.segment) {
        Some((_, end)) if covered.offset <= end => Ok(()),
        Some((number, end)) => Err(damaged(segments, number, end)),
        None => Err(damaged(segments, covered.segment, 0)),
    }
}

/// That sealed segments are whole as far as the index covers them, the newest of them first, up to about `bytes` of them. What
/// comes behind is replayed, and the newest segment of all was read by the survey.
pub(crate) fn verify(
    segments: &Segments,
    survey: &Survey,
    covered: Position,
    bytes: u64,
) -> Result<(), OpenError> {
    let mut left = bytes;
    for (number, end) in survey.sealed.range(..=covered.segment).rev() {
        let end = if *number == covered.segment { covered.offset } else { *end };
        if left == 0 {
            break;
        }
        left = left.saturating_sub(end);
        let reader = SegmentReader::expect(segments, *number)?;
        reader.frames(HEADER_BYTES as u64, end).try_for_each(|frame| frame.map(drop))?;
    }
    Ok(())
}

/// Bytes of frames that a replay from `from` reads.
pub(crate) fn bytes_after(survey: &Survey, from: Option<Position>) -> u64 {
    let from = from.unwrap_or_default();
    let part = |(number, bytes): (u64, u64)| match number {
        number if number < from.segment => 0,
        number if number == from.segment => bytes.saturating_sub(from.offset),
        _ => bytes.saturating_sub(HEADER_BYTES as u64),
    };
    lengths(survey).map(part).sum()
}

/// All segments that count, ascending, and their lengths.
fn lengths(survey: &Survey) -> impl Iterator<Item = (u64, u64)> + '_ {
    let tail = survey.tail.iter().map(|tail| (tail.header.segment, tail.offset));
    survey.sealed.iter().map(|(number, bytes)| (*number, *bytes)).chain(tail)
}

/// Replays everything after `from`, which the journal must reach; `sink` takes one frame after the other.
pub(crate) fn replay(
    segments: &Segments,
    survey: &Survey,
    from: Option<Position>,
    sink: &mut dyn FnMut(Batch) -> Result<(), OpenError>,
) -> Result<Outcome, OpenError> {
    let start = from.unwrap_or_default();
    let mut outcome = Outcome { end: start, frames: 0 };
    for (number, end) in lengths(survey).filter(|(number, _)| *number >= start.segment) {
        let reader = SegmentReader::expect(segments, number)?;
        let offset = if number == start.segment { start.offset } else { HEADER_BYTES as u64 };
        for frame in reader.frames(offset, end) {
            let frame = frame?;
            // A frame that repeats old sequences without being a copy was never written here.
            if frame.last < outcome.end.sequence {
                return Err(reader.damaged(frame.offset));
            }
            let batch = batch(&reader, &frame)?;
            outcome.end = batch.end;
            outcome.frames += u64::from(!batch.entries.is_empty());
            sink(batch)?;
        }
    }
    Ok(outcome)
}

fn batch(reader: &SegmentReader, frame: &Frame) -> Result<Batch, OpenError> {
    let payload = decode_payload(&frame.payload).ok_or_else(|| reader.damaged(frame.offset))?;
    let changes = match payload {
        Payload::Manifest(_) => Vec::new(),
        Payload::Changes(changes) => changes,
    };
    let mut tombs = Tombs::default();
    for change in changes.iter().filter(|change| change.value.is_none()) {
        tombs.add(reader.number, change.key.len(), change.sequence);
    }
    let values_at = frame.payload_at();
    let entries = changes.iter().map(|change| entry(reader.number, values_at, change)).collect();
    let end = Position { segment: reader.number, offset: frame.end(), sequence: frame.last };
    Ok(Batch { entries, tombs, end, bytes: frame.end() - frame.offset })
}

/// A change, as the overlay holds it.
pub(crate) fn entry(segment: u64, values_at: u64, change: &Replayed<'_>) -> (Key, Entry) {
    let state = match change.value {
        None => State::Gone,
        Some((value, at)) => {
            let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
            let at = Location { segment, offset: values_at + at, length, crc: crc32fast::hash(value) };
            State::Put { at, value: Some(Value::from(value)) }
        }
    };
    (change.key.to_vec(), Entry { version: Version(change.sequence), state })
}
