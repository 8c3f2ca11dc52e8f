//! What the journal consists of, before anything of it is replayed.
//!
//! The newest segment is read whole: it ends at its last whole frame, and its last manifest says which older
//! segments there must be. A broken frame at its end, with no whole one after it, is what a crash leaves of an
//! unacknowledged write, and is cut. A segment that was cut short while it was made never held anything, and is
//! removed; its number is not used again. What the manifest does not name was dropped, and goes. Anything else
//! that is amiss is damage: acknowledged work is gone or unreadable, and the start stops and names the place.
//!
//! [`survey`] only looks, for an index may prove that what seems torn was acknowledged. [`Survey::settle`] then
//! cuts, removes, and writes the last frame again where it lies, and syncs it, before anything relies on it: a
//! process whose sync failed, or that died before it, may have left bytes that the kernel shows and the disk does
//! not have.

use std::collections::BTreeMap;

use super::OpenError;
use super::files::read_exact_at;
use super::format::{HEADER_BYTES, Manifest, Payload, decode_payload};
use super::journal::{Segments, Tail};
use super::segment::{Found, Opened, SegmentReader, damaged};

/// What was found in the journal.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Numbers and lengths of all segments but the newest.
    pub(crate) sealed: BTreeMap<u64, u64>,
    /// The newest.
    pub(crate) tail: Option<Tail>,
    /// The number of the segment that is made next.
    pub(crate) next: u64,
    /// Bytes of an unacknowledged write, to be cut.
    pub(crate) torn_bytes: u64,
    /// The last frame, to be written again.
    last_frame: u64,
    /// Segments that were dropped, or never finished.
    leftover: Vec<u64>,
}

/// The newest segment, read to its end.
struct Newest {
    end: u64,
    last_frame: Option<u64>,
    manifest: Option<Manifest>,
}

/// Looks at all segments.
pub(crate) fn survey(segments: &Segments) -> Result<Survey, OpenError> {
    let io = |source| OpenError::Io { path: segments.directory().to_owned(), source };
    let mut numbers = segments.numbers().map_err(io)?;
    let next = numbers.last().map_or(1, |newest| newest + 1);
    let mut survey = Survey { next, ..Survey::default() };
    let Some((reader, newest)) = newest(segments, &mut numbers, &mut survey)? else {
        return Ok(survey);
    };
    survey.torn_bytes = reader.length - newest.end;
    survey.last_frame = newest.last_frame.unwrap_or(newest.end);
    survey.sealed = older(segments, &numbers, reader.number, newest.manifest, &mut survey.leftover)?;
    let (file, header) = (reader.file, reader.header);
    survey.tail = Some(Tail { file, header, offset: newest.end, first: HEADER_BYTES as u64 });
    Ok(survey)
}

impl Survey {
    /// Cuts what is torn, removes what does not count, writes the last frame again, and syncs.
    pub(crate) fn settle(&self, segments: &Segments) -> Result<(), OpenError> {
        for number in &self.leftover {
            tracing::info!(segment = number, "a segment that was dropped or never finished is removed");
            segments
                .remove(*number)
                .map_err(|source| OpenError::Io { path: segments.path(*number), source })?;
        }
        let Some(tail) = &self.tail else { return Ok(()) };
        let io = |source| OpenError::Io { path: segments.path(tail.header.segment), source };
        if self.torn_bytes > 0 {
            tail.file.set_len(tail.offset).map_err(io)?;
        }
        let mut bytes = vec![0; usize::try_from(tail.offset - self.last_frame).unwrap_or_default()];
        read_exact_at(&*tail.file, &mut bytes, self.last_frame).map_err(io)?;
        tail.file.write_all_at(&bytes, self.last_frame).map_err(io)?;
        tail.file.sync_data().map_err(io)
    }
}

/// The newest segment that was finished, and takes it off `numbers`. One may be unfinished, and is left over.
fn newest(
    segments: &Segments,
    numbers: &mut Vec<u64>,
    survey: &mut Survey,
) -> Result<Option<(SegmentReader, Newest)>, OpenError> {
    while let Some(number) = numbers.pop() {
        let opened = SegmentReader::open(segments, number)?;
        let finished = match opened {
            Opened::Readable(reader) => read_newest(&reader)?.map(|newest| (reader, newest)),
            Opened::Unfinished => None,
            Opened::Broken => return Err(damaged(segments, number, 0)),
        };
        if finished.is_some() {
            return Ok(finished);
        }
        // Only one is ever made at a time, so a second one lost what it held.
        if !survey.leftover.is_empty() {
            return Err(damaged(segments, number, 0));
        }
        survey.leftover.push(number);
    }
    Ok(None)
}

/// Walks the frames to the last whole one; `None` when the segment was never finished.
fn read_newest(reader: &SegmentReader) -> Result<Option<Newest>, OpenError> {
    let mut newest = Newest { end: HEADER_BYTES as u64, last_frame: None, manifest: None };
    loop {
        match reader.frame(newest.end).map_err(|error| reader.io(error))? {
            Found::Whole(frame) => {
                let manifest = match decode_payload(&frame.payload) {
                    None => return Err(reader.damaged(frame.offset)),
                    Some(Payload::Manifest(manifest)) => Some(manifest),
                    Some(Payload::Changes(_)) => None,
                };
                newest.manifest = manifest.or(newest.manifest);
                newest.last_frame = Some(frame.offset);
                newest.end = frame.end();
            }
            Found::End => break,
            Found::Broken => {
                if reader.has_whole_frame_after(newest.end).map_err(|error| reader.io(error))? {
                    return Err(reader.damaged(newest.end));
                }
                break;
            }
        }
    }
    // Header and manifest are synced before anything else is written.
    let unfinished = reader.begins_with_manifest() && newest.manifest.is_none();
    Ok((!unfinished).then_some(newest))
}

/// The segments before the newest: what the manifest says must be there, and what it does not name is left over.
fn older(
    segments: &Segments,
    numbers: &[u64],
    newest: u64,
    manifest: Option<Manifest>,
    leftover: &mut Vec<u64>,
) -> Result<BTreeMap<u64, u64>, OpenError> {
    let Some(manifest) = manifest else { return plain(segments, numbers, newest) };
    for (number, bytes) in &manifest.segments {
        if !numbers.contains(number) {
            return Err(damaged(segments, *number, 0));
        }
        let io = |source| OpenError::Io { path: segments.path(*number), source };
        let length = segments.file(*number).and_then(|file| file.length()).map_err(io)?;
        if length < *bytes {
            return Err(damaged(segments, *number, length));
        }
    }
    leftover.extend(numbers.iter().filter(|number| !manifest.segments.contains_key(number)));
    Ok(manifest.segments)
}

/// Before there were manifests, no segment was ever dropped.
fn plain(segments: &Segments, numbers: &[u64], newest: u64) -> Result<BTreeMap<u64, u64>, OpenError> {
    let mut sealed = BTreeMap::new();
    let first = numbers.first().copied().unwrap_or(newest);
    for (expected, number) in (first..).zip(numbers.iter().chain([&newest])) {
        if *number != expected {
            return Err(damaged(segments, expected, 0));
        }
    }
    for number in numbers {
        let io = |source| OpenError::Io { path: segments.path(*number), source };
        sealed.insert(*number, segments.file(*number).and_then(|file| file.length()).map_err(io)?);
    }
    Ok(sealed)
}
