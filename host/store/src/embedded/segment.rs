//! Reading one segment: its header, and its frames one after the other.
//!
//! Everything that reads frames goes through here: the start, reclaim, and the tools. Memory is bounded by the
//! largest frame. It decides nothing: a frame is whole, broken, or not there.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::OpenError;
use super::files::{File, read_exact_at};
use super::format::{
    BadHeader, FORMAT, FORMAT_PLAIN, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, HEADER_BYTES, Manifest,
    Payload, Place, SegmentHeader, decode_payload,
};
use super::journal::{Segments, segment_name};

/// How much of a file is searched at a time for a whole frame.
const SEARCH_BYTES: usize = 1 << 20;

/// A segment that is read.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    pub(crate) header: SegmentHeader,
    /// The file's length; a manifest may say that less of it counts.
    pub(crate) length: u64,
}

/// What is at an offset.
#[derive(Debug)]
pub(crate) enum Found {
    Whole(Frame),
    End,
    Broken,
}

/// A whole frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    /// The last sequence given out when it was written.
    pub(crate) last: u64,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Where its payload begins.
    pub(crate) fn payload_at(&self) -> u64 {
        self.offset + FRAME_HEADER_BYTES as u64
    }

    /// Behind its last byte.
    pub(crate) fn end(&self) -> u64 {
        self.payload_at() + self.payload.len() as u64
    }
}

/// How a segment's header reads.
#[derive(Debug)]
pub(crate) enum Opened {
    Readable(SegmentReader),
    /// So short that no frame was ever written to it.
    Unfinished,
    Broken,
}

impl SegmentReader {
    /// Opens a segment and checks its header.
    ///
    /// # Errors
    /// What the system says, or a format that is newer.
    pub(crate) fn open(segments: &Segments, number: u64) -> Result<Opened, OpenError> {
        let path = segments.path(number);
        let io = |source| OpenError::Io { path: path.clone(), source };
        let file = segments.file(number).map_err(io)?;
        let length = file.length().map_err(io)?;
        let mut bytes = vec![0; HEADER_BYTES.min(usize::try_from(length).unwrap_or(HEADER_BYTES))];
        read_exact_at(&*file, &mut bytes, 0).map_err(io)?;
        match SegmentHeader::decode(&bytes) {
            Ok(header) if header.segment == number => {
                Ok(Opened::Readable(Self { number, path, file, header, length }))
            }
            Err(BadHeader::Newer(found)) => Err(OpenError::NewerFormat { path, found, known: FORMAT }),
            Err(BadHeader::Broken) if length <= HEADER_BYTES as u64 => Ok(Opened::Unfinished),
            Ok(_) | Err(BadHeader::Broken) => Ok(Opened::Broken),
        }
    }

    /// Opens a segment that must be there and readable.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] where it is not, and what [`Self::open`] says.
    pub(crate) fn expect(segments: &Segments, number: u64) -> Result<Self, OpenError> {
        match Self::open(segments, number)? {
            Opened::Readable(segment) => Ok(segment),
            Opened::Unfinished | Opened::Broken => Err(damaged(segments, number, 0)),
        }
    }

    /// Whether its first frame is a manifest.
    pub(crate) fn begins_with_manifest(&self) -> bool {
        self.header.format > FORMAT_PLAIN
    }

    pub(crate) fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io { path: self.path.clone(), source }
    }

    /// That it can't be read from `offset` on.
    pub(crate) fn damaged(&self, offset: u64) -> OpenError {
        OpenError::Damaged { path: self.path.clone(), segment: segment_name(self.number), offset }
    }

    /// The frame at an offset, which must lie between two frames.
    pub(crate) fn frame(&self, offset: u64) -> io::Result<Found> {
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
        Ok(if whole { Found::Whole(Frame { offset, last: header.last, payload }) } else { Found::Broken })
    }

    /// All frames from `offset` to `end`, which must lie behind a frame; damage is an error.
    pub(crate) fn frames(
        &self,
        offset: u64,
        end: u64,
    ) -> impl Iterator<Item = Result<Frame, OpenError>> + '_ {
        let mut next = Some(offset);
        std::iter::from_fn(move || {
            let at = next.take().filter(|at| *at != end)?;
            let found = match self.frame(at) {
                Ok(Found::Whole(frame)) if frame.end() <= end => {
                    next = Some(frame.end());
                    Ok(frame)
                }
                Ok(_) => Err(self.damaged(at)),
                Err(error) => Err(self.io(error)),
            };
            Some(found)
        })
    }

    /// The last sequence given out before this segment was made.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] where its first frame can't be read.
    pub(crate) fn base(&self) -> Result<u64, OpenError> {
        let offset = HEADER_BYTES as u64;
        let Found::Whole(frame) = self.frame(offset).map_err(|error| self.io(error))? else {
            return Err(self.damaged(offset));
        };
        match decode_payload(&frame.payload).ok_or_else(|| self.damaged(offset))? {
            Payload::Manifest(Manifest { base, .. }) => Ok(base),
            Payload::Changes(changes) => {
                Ok(changes.first().map_or(0, |first| first.sequence.saturating_sub(1)))
            }
        }
    }

    /// Looks at every byte, since the broken frame's own length can't be trusted.
    pub(crate) fn has_whole_frame_after(&self, broken: u64) -> io::Result<bool> {
        let mut window = vec![0; SEARCH_BYTES];
        let mut start = broken + 1;
        while start < self.length {
            let size = window.len().min(usize::try_from(self.length - start).unwrap_or(usize::MAX));
            let Some(bytes) = window.get_mut(..size) else { return Ok(false) };
            read_exact_at(&*self.file, bytes, start)?;
            let candidates =
                bytes.windows(FRAME_MAGIC.len()).enumerate().filter(|(_, four)| *four == FRAME_MAGIC);
            for (at, _) in candidates {
                if matches!(self.frame(start + at as u64)?, Found::Whole(_)) {
                    return Ok(true);
                }
            }
            // The windows overlap, so that no frame's beginning is split between two.
            start += size.saturating_sub(FRAME_MAGIC.len() - 1).max(1) as u64;
        }
        Ok(false)
    }
}

/// That a segment is missing, or can't be read from `offset` on.
pub(crate) fn damaged(segments: &Segments, number: u64, offset: u64) -> OpenError {
    OpenError::Damaged { path: segments.path(number), segment: segment_name(number), offset }
}
