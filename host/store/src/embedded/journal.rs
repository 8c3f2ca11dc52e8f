//! The journal's writing end, and the reading of single values.
//!
//! One thread appends: one write and one `fdatasync` a frame. A segment is at least its header and its manifest, is
//! followed by the next once it would grow over its size, and its number is never used again.
//!
//! A sync that failed is never tried again: the kernel may have dropped the pages and would call the second one a
//! success. The segment is given up where its last synced frame ends: the frame is written to a new segment, whose
//! manifest says that what lies behind that end does not count, and is acknowledged only from there. Where that
//! fails too, the disk is not to be trusted, and nothing more is written.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::files::{File, Files, Mode, read_exact_at};
use super::format::{FORMAT, FrameBuilder, Manifest, Place, SegmentHeader};
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
    sealed: Mutex<BTreeMap<u64, u64>>,
    removals: Mutex<()>,
}

/// Why a value was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// Its segment is gone: reclaim has moved the value, and whoever asked must look again where it is.
    Moved,
    Failed(ReadError),
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
        Self {
            files,
            directory,
            open: Mutex::default(),
            sealed: Mutex::default(),
            removals: Mutex::default(),
        }
    }

    pub(crate) fn files(&self) -> &dyn Files {
        &*self.files
    }

    /// While it is held, no segment goes.
    pub(crate) fn hold_removals(&self) -> MutexGuard<'_, ()> {
        self.removals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file again the next time: there is another one under its name.
    pub(crate) fn forget_open(&self, segment: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment);
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

    /// Numbers and lengths of all segments but the newest.
    pub(crate) fn sealed(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opened with the lock held, so that a file that is removed meanwhile is not kept after all.
    pub(crate) fn file(&self, segment: u64) -> io::Result<Arc<dyn File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&segment) {
            return Ok(file.clone());
        }
        let file = self.files.open(&self.path(segment), Mode::Existing)?;
        keep(&mut open, segment, file.clone());
        Ok(file)
    }

    /// Removes a segment's file; what still reads it may go on.
    pub(crate) fn remove(&self, segment: u64) -> io::Result<()> {
        let _alone = self.hold_removals();
        self.files.remove(&self.path(segment))?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment);
        self.files.sync_directory(&self.directory)
    }

    /// A value, checked against its checksum.
    pub(crate) fn read(&self, at: Location) -> Result<Value, Unread> {
        let failed = |what: &dyn std::fmt::Display| {
            Unread::Failed(ReadError(format!(
                "{what} in segment {} at offset {}; run `fanfare store repair`",
                segment_name(at.segment),
                at.offset
            )))
        };
        let file = match self.file(at.segment) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unread::Moved),
            other => other.map_err(|error| failed(&error))?,
        };
        let mut bytes = vec![0; at.length as usize];
        read_exact_at(&*file, &mut bytes, at.offset).map_err(|error| failed(&error))?;
        if crc32fast::hash(&bytes) != at.crc {
            return Err(failed(&"a value is damaged"));
        }
        Ok(bytes.into())
    }

    /// Makes a segment whose first frame is `manifest`.
    pub(crate) fn create(&self, segment: u64, manifest: &Manifest) -> io::Result<Tail> {
        let header = SegmentHeader { format: FORMAT, segment, salt: new_salt() };
        let file = self.files.open(&self.path(segment), Mode::New)?;
        let head = header.encode();
        file.write_all_at(&head, 0)?;
        // On its own: a manifest of some kilobytes may reach the disk without the header before it, and a file without a
        // header that holds more than one can't be told from a segment that was damaged.
        file.sync_data()?;
        let mut frame = FrameBuilder::default();
        frame.manifest(manifest);
        let first = head.len() as u64;
        let sealed = frame.seal(Place { header, offset: first }, manifest.base);
        let offset = first + sealed.len() as u64;
        file.write_all_at(sealed, first)?;
        // Before the first frame: a frame whose manifest or name is gone could not be told from noise.
        file.sync_data()?;
        self.files.sync_directory(&self.directory)?;
        keep(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner), segment, file.clone());
        Ok(Tail { file, header, offset, first: offset })
    }
}

/// Nobody who chooses values knows it, so none can be made that looks like a frame.
pub(crate) fn new_salt() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn keep(open: &mut BTreeMap<u64, Arc<dyn File>>, segment: u64, file: Arc<dyn File>) {
    open.insert(segment, file);
    if open.len() > OPEN_FILES_MAX {
        open.pop_first();
    }
}

/// The end of the newest segment.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) file: Arc<dyn File>,
    pub(crate) header: SegmentHeader,
    pub(crate) offset: u64,
    /// Where it begins behind its manifest; while it ends there, it is empty.
    pub(crate) first: u64,
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
    /// The last sequence in it.
    last: u64,
}

impl Journal {
    /// Continues after `tail`; without one, the first frame makes the segment numbered `next`.
    pub(crate) fn new(
        segments: Arc<Segments>,
        tail: Option<Tail>,
        next: u64,
        segment_bytes: u64,
        last: u64,
    ) -> Self {
        Self { segments, tail, next, segment_bytes, last }
    }

    /// Writes and syncs a frame; answers the segment and the offset of its first byte, and of its end.
    pub(crate) fn append(
        &mut self,
        frame: &mut FrameBuilder,
        last: u64,
    ) -> Result<(u64, u64, u64), AppendError> {
        let length = frame.length() as u64;
        if !self.tail.as_ref().is_some_and(|tail| self.fits(tail, length)) {
            self.rotate()?;
        }
        let place = match self.write(frame, last)? {
            Ok(place) => place,
            Err(error) => {
                self.give_up(&error);
                self.rotate().map_err(fatal)?;
                self.write(frame, last).map_err(fatal)?.map_err(AppendError::Fatal)?
            }
        };
        self.last = last;
        Ok(place)
    }

    /// One that is empty takes a frame of any size; one of an old format takes none.
    fn fits(&self, tail: &Tail, length: u64) -> bool {
        let is_empty = tail.first == tail.offset;
        tail.header.format == FORMAT && (is_empty || tail.offset + length <= self.segment_bytes)
    }

    /// Seals the newest segment and makes the next.
    pub(crate) fn rotate(&mut self) -> Result<(), AppendError> {
        self.rotate_without(&[])
    }

    /// The manifest of the next segment does not name `dropped`.
    fn rotate_without(&mut self, dropped: &[u64]) -> Result<(), AppendError> {
        let number = self.next;
        let mut segments = self.segments.sealed().clone();
        segments.extend(self.tail.as_ref().map(|tail| (tail.header.segment, tail.offset)));
        segments.retain(|number, _| !dropped.contains(number));
        let manifest = Manifest { base: self.last, segments };
        let made = self.segments.create(number, &manifest);
        // A number is not used again, not even one whose file could not be made.
        self.next += 1;
        let tail = made.map_err(|error| {
            // No frame was in it; left there, it would be taken for the newest.
            let removed = self.segments.remove(number);
            let full = is_full(&error) && removed.is_ok();
            if full { AppendError::Full(error) } else { AppendError::Fatal(error) }
        })?;
        *self.segments.sealed() = manifest.segments;
        self.tail = Some(tail);
        Ok(())
    }

    /// Says in the newest segment that older ones are dropped; once it answers, their files may go.
    pub(crate) fn forget(&mut self, dropped: &[u64]) -> Result<(), AppendError> {
        let mut segments = self.segments.sealed().clone();
        segments.retain(|number, _| !dropped.contains(number));
        let mut frame = FrameBuilder::default();
        frame.manifest(&Manifest { base: self.last, segments: segments.clone() });
        let length = frame.length() as u64;
        // A manifest names the segment that was sealed last, so one made for this segment is no good in the next.
        if !self.tail.as_ref().is_some_and(|tail| self.fits(tail, length)) {
            self.rotate_without(dropped)?;
        } else if let Err(error) = self.write(&mut frame, self.last)? {
            self.give_up(&error);
            self.rotate_without(dropped).map_err(fatal)?;
        } else {
            *self.segments.sealed() = segments;
        }
        Ok(())
    }

    /// Behind the last frame.
    pub(crate) fn end(&self) -> Position {
        let (segment, offset) = self.tail.as_ref().map_or((0, 0), |tail| (tail.header.segment, tail.offset));
        Position { segment, offset, sequence: self.last }
    }

    /// The inner error is that of the sync.
    fn write(
        &mut self,
        frame: &mut FrameBuilder,
        last: u64,
    ) -> Result<Result<(u64, u64, u64), io::Error>, AppendError> {
        let Some(tail) = &mut self.tail else {
            return Err(AppendError::Fatal(io::ErrorKind::NotFound.into()));
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
        if let Err(error) = tail.file.sync_data() {
            return Ok(Err(error));
        }
        let start = tail.offset;
        tail.offset += frame.length() as u64;
        Ok(Ok((tail.header.segment, start, tail.offset)))
    }

    fn give_up(&self, error: &io::Error) {
        let segment = segment_name(self.end().segment);
        tracing::error!(error = %error, segment = %segment, "journal sync failed; segment given up");
    }
}

/// After a failed sync nothing may fail any more.
fn fatal(error: AppendError) -> AppendError {
    match error {
        AppendError::Full(error) | AppendError::Fatal(error) => AppendError::Fatal(error),
    }
}

/// Whether it is for want of room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
