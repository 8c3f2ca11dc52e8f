//! `fanfare store backup DIR`: a store as it was at one moment, from which a gateway can start.
//!
//! Sealed segments never change, so they are linked where the file system allows it, and else copied. The newest
//! is copied up to its last synced frame; nothing is torn, and the work goes on meanwhile. Reclaim removes no file
//! while the set is taken. The index is not part of it: the first start builds it.
//!
//! It is made in `DIR.partial` and renamed when all of it is synced, so that a `DIR` that is there is whole.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::super::files::{File, Files, Mode, read_exact_at};
use super::super::journal::segment_name;
use super::super::progress::{Meter, Progress};
use super::super::shared::{Shared, io_at};
use super::super::{EmbeddedEngine, EmbeddedOptions, OpenError};
use super::owner::Owned;
use super::rebuild::close;

const CHUNK_BYTES: usize = 1 << 20;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// The directory of the backup.
    pub path: PathBuf,
    /// Files of the journal.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them are links to the store's own: on another disk they would be copies.
    pub linked: u64,
    /// The last commit in it.
    pub commit: u64,
}

/// A file that must be copied.
struct Copy {
    number: u64,
    file: Arc<dyn File>,
    bytes: u64,
}

/// Copies a store that nobody serves.
///
/// # Errors
/// When it is in use or not there, what a start can meet, and when the target can't be written.
pub fn backup(options: &EmbeddedOptions, to: &Path) -> Result<BackupReport, OpenError> {
    drop(Owned::take(options)?);
    let engine = EmbeddedEngine::open(options.clone())?;
    let report = engine.backup(to, &*options.progress)?;
    close(&engine, options)?;
    Ok(report)
}

impl EmbeddedEngine {
    /// Copies the store into a directory that is absent or empty, while it serves. Blocks.
    ///
    /// # Errors
    /// When the target is not empty, or can't be written.
    pub fn backup(&self, to: &Path, progress: &dyn Progress) -> Result<BackupReport, OpenError> {
        let shared = &self.parts.shared;
        let files = shared.segments.files();
        let partial = prepare(files, to)?;
        let journal = partial.join("journal");
        files.create_directory(&journal).map_err(io_at(&journal))?;
        let report = take(shared, files, &journal, progress)?;
        files.sync_directory(&journal).map_err(io_at(&journal))?;
        files.sync_directory(&partial).map_err(io_at(&partial))?;
        files.rename(&partial, to).map_err(io_at(to))?;
        let parent = parent(to);
        files.sync_directory(&parent).map_err(io_at(&parent))?;
        Ok(BackupReport { path: to.to_owned(), ..report })
    }
}

fn parent(of: &Path) -> PathBuf {
    match of.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Where it is made; what an earlier one that was cut off left there goes.
fn prepare(files: &dyn Files, to: &Path) -> Result<PathBuf, OpenError> {
    let occupied = || OpenError::Occupied { path: to.to_owned() };
    if files.exists(to) {
        match files.list(to) {
            Ok(names) if names.is_empty() => {}
            Ok(_) => return Err(occupied()),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(occupied()),
            Err(error) => return Err(io_at(to)(error)),
        }
    }
    let Some(name) = to.file_name() else { return Err(occupied()) };
    let mut partial = OsString::from(name);
    partial.push(".partial");
    let partial = to.with_file_name(partial);
    if files.exists(&partial) {
        let names = files.list(&partial).map_err(io_at(&partial))?;
        if names.iter().any(|name| name != "journal") {
            return Err(OpenError::Occupied { path: partial });
        }
        files.remove(&partial).map_err(io_at(&partial))?;
    }
    Ok(partial)
}

fn take(
    shared: &Shared,
    files: &dyn Files,
    journal: &Path,
    progress: &dyn Progress,
) -> Result<BackupReport, OpenError> {
    let io = io_at(shared.segments.directory());
    let mut report = BackupReport { path: PathBuf::new(), segments: 0, bytes: 0, linked: 0, commit: 0 };
    let mut copies = Vec::new();
    {
        let _nothing_goes = shared.segments.hold_removals();
        // The position first: all that its last manifest names is there, for what is dropped later waits for us.
        let end = shared.overlay.end();
        report.commit = end.sequence;
        for number in shared.segments.numbers().map_err(&io)? {
            if number > end.segment {
                continue;
            }
            let file = shared.segments.file(number).map_err(&io)?;
            let is_newest = number == end.segment;
            let bytes = if is_newest { end.offset } else { file.length().map_err(&io)? };
            report.segments += 1;
            report.bytes += bytes;
            let to = journal.join(segment_name(number));
            if !is_newest && files.link(&shared.segments.path(number), &to).is_ok() {
                report.linked += 1;
            } else {
                copies.push(Copy { number, file, bytes });
            }
        }
    }
    let mut meter = Meter::begin(progress, "copying", copies.iter().map(|copy| copy.bytes).sum());
    for copy in copies {
        let to = journal.join(segment_name(copy.number));
        copy.make(files, &to, &mut meter).map_err(io_at(&to))?;
    }
    Ok(report)
}

impl Copy {
    fn make(&self, files: &dyn Files, to: &Path, meter: &mut Meter<'_>) -> io::Result<()> {
        let target = files.open(to, Mode::New)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < self.bytes {
            meter.go_on()?;
            let size = chunk.len().min(usize::try_from(self.bytes - at).unwrap_or(usize::MAX));
            let Some(part) = chunk.get_mut(..size) else { break };
            read_exact_at(&*self.file, part, at)?;
            target.write_all_at(part, at)?;
            at += size as u64;
            meter.advance(size as u64);
        }
        target.sync_data()
    }
}
