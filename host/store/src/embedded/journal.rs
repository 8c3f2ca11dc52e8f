//! The journal's writing end, and the reading of single values.
//!
//! One thread appends: one write and one `fdatasync` a frame. A segment is at least its header, is followed by
//! the next once it would grow over its size, and its number is never used again. A sync that failed is
//! never tried again: the kernel may have dropped the pages and would call the second one a success.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::files::{File, Files, Mode, read_exact_at};
use super::format::{FrameBuilder, HEADER_BYTES, Place, SegmentHeader};
use crate::engine::{ReadError, Value};

/// Open files kept for reading; the oldest makes room.
const OPEN_FILES_MAX: usize = 128;

/// Where a value lies in the journal, and what its bytes must add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) crc: u32,
}

/// A place between two frames, and the last sequence given out before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) sequence: u64,
}

/// The files of all segments, shared by the writer and the readers.
#[derive(Debug)]
pub(crate) struct Segments {
    files: Arc<dyn Files>,
    directory: PathBuf,
    open: Mutex<BTreeMap<u64, Arc<dyn File>>>,
}

/// The name of a segment's file: ordered like the numbers.
pub(crate) fn segment_name(segment: u64) -> String {
    format!("{segment:016x}.journal")
}

/// The number in a segment's file name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(".journal")?, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}

impl Segments {
    pub(crate) fn new(files: Arc<dyn Files>, directory: PathBuf) -> Self {
        Self { files, directory, open: Mutex::default() }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn path(&self, segment: u64) -> PathBuf {
        self.directory.join(segment_name(segment))
    }

    /// The numbers of all segments, ascending.
    pub(crate) fn numbers(&self) -> io::Result<Vec<u64>> {
        let names = self.files.list(&self.directory)?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(crate) fn file(&self, segment: u64) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&segment) {
            return Ok(file.clone());
        }
        let file = self.files.open(&self.path(segment), Mode::Existing)?;
        self.keep(segment, file.clone());
        Ok(file)
    }

    fn keep(&self, segment: u64, file: Arc<dyn File>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(segment, file);
        if open.len() > OPEN_FILES_MAX {
            open.pop_first();
        }
    }

    /// Forgets and removes a file that was cut short while it was made.
    pub(crate) fn remove(&self, segment: u64) -> io::Result<()> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment);
        self.files.remove(&self.path(segment))?;
        self.files.sync_directory(&self.directory)
    }

    /// A value, checked against its checksum.
    pub(crate) fn read(&self, at: Location) -> Result<Value, ReadError> {
        let failed = |what: &dyn std::fmt::Display| {
            ReadError(format!(
                "{what} in segment {} at offset {}; run `fanfare store repair`",
                segment_name(at.segment),
                at.offset
            ))
        };
        let file = self.file(at.segment).map_err(|error| failed(&error))?;
        let mut bytes = vec![0; at.length as usize];
        read_exact_at(&*file, &mut bytes, at.offset).map_err(|error| failed(&error))?;
        if crc32fast::hash(&bytes) != at.crc {
            return Err(failed(&"a value is damaged"));
        }
        Ok(bytes.into())
    }

    fn create(&self, segment: u64) -> io::Result<Tail> {
        let header = SegmentHeader { segment, salt: RandomState::new().build_hasher().finish() };
        let file = self.files.open(&self.path(segment), Mode::New)?;
        file.write_all_at(&header.encode(), 0)?;
        // Before the first frame: a frame whose header or name is gone could not be told from noise.
        file.sync_data()?;
        self.files.sync_directory(&self.directory)?;
        self.keep(segment, file.clone());
        Ok(Tail { file, header, offset: HEADER_BYTES as u64 })
    }
}

/// The end of the newest segment.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) file: Arc<dyn File>,
    pub(crate) header: SegmentHeader,
    pub(crate) offset: u64,
}

/// Why a frame was not appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// There was no room, and the file is as it was.
    Full(io::Error),
    /// The state of the file is unknown.
    Fatal(io::Error),
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Journal {
    segments: Arc<Segments>,
    tail: Option<Tail>,
    next: u64,
    segment_bytes: u64,
}

impl Journal {
    /// Continues after `tail`; without one, the first frame makes the segment numbered `next`.
    pub(crate) fn new(segments: Arc<Segments>, tail: Option<Tail>, next: u64, segment_bytes: u64) -> Self {
        Self { segments, tail, next, segment_bytes }
    }

    /// Writes and syncs a frame; answers the segment and the offset of its first byte, and of its end.
    pub(crate) fn append(
        &mut self,
        frame: &mut FrameBuilder,
        last: u64,
    ) -> Result<(u64, u64, u64), AppendError> {
        let length = frame.length() as u64;
        let fits =
            |tail: &Tail| tail.offset == HEADER_BYTES as u64 || tail.offset + length <= self.segment_bytes;
        let tail = match self.tail.take().filter(fits) {
            Some(tail) => self.tail.insert(tail),
            None => {
                let number = self.next;
                let tail = self.segments.create(number).map_err(|error| {
                    // No frame was in it; left there, it would stop the next try and be taken for damage.
                    let removed = self.segments.remove(number);
                    let full = is_full(&error) && removed.is_ok();
                    if full { AppendError::Full(error) } else { AppendError::Fatal(error) }
                })?;
                self.next += 1;
                self.tail.insert(tail)
            }
        };
        let place = Place { header: tail.header, offset: tail.offset };
        if let Err(error) = tail.file.write_all_at(frame.seal(place, last), tail.offset) {
            // What was written of it must not stay: a shorter frame over it would leave its end behind.
            let cut = tail.file.set_len(tail.offset);
            return Err(match cut {
                Ok(()) if is_full(&error) => AppendError::Full(error),
                Ok(()) => AppendError::Fatal(error),
                Err(cut) => AppendError::Fatal(cut),
            });
        }
        tail.file.sync_data().map_err(AppendError::Fatal)?;
        let start = tail.offset;
        tail.offset += length;
        Ok((tail.header.segment, start, tail.offset))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
