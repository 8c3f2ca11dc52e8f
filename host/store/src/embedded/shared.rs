//! What the engine's threads share, and how they tell each other that the engine failed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::OpenError;
use super::files::{Files, Mode};
use super::index::{Index, IndexError, Indexed, Stored};
use super::journal::{Segments, Unread};
use super::overlay::{Overlay, Seen, State};
use super::space::{Ration, Space};
use crate::engine::{CommitError, Key, ReadError, Record, Version};

/// An error of the file system, with the place where it happened.
pub(crate) fn io_at(path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io { path: path.to_owned(), source }
}

/// Everything below the engine's surface.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) overlay: Overlay,
    pub(crate) index: Index,
    pub(crate) segments: Arc<Segments>,
    pub(crate) health: Health,
    pub(crate) space: Space,
}

/// Whether the engine can still write. It fails once, and for good.
#[derive(Debug)]
pub(crate) struct Health {
    failure: OnceLock<String>,
    index_broken: AtomicBool,
    files: Arc<dyn Files>,
    /// Its presence makes the next start build the index anew.
    pub(crate) rebuild_marker: PathBuf,
}

impl Health {
    pub(crate) fn new(files: Arc<dyn Files>, rebuild_marker: PathBuf) -> Self {
        Self { failure: OnceLock::new(), index_broken: AtomicBool::new(false), files, rebuild_marker }
    }

    pub(crate) fn failure(&self) -> Option<CommitError> {
        self.failure.get().cloned().map(CommitError::Fatal)
    }

    pub(crate) fn index_is_broken(&self) -> bool {
        self.index_broken.load(Ordering::Acquire)
    }

    /// The journal can't be written any more.
    pub(crate) fn fail(&self, why: String) -> CommitError {
        if self.failure.set(why.clone()).is_ok() {
            tracing::error!(error = %why, "store failed; it takes no more writes");
        }
        self.failure().unwrap_or(CommitError::Fatal(why))
    }

    /// The index can't be used any more; the journal has it all, so the next start builds it anew.
    pub(crate) fn index_failed(&self, error: &IndexError) -> CommitError {
        self.index_broken.store(true, Ordering::Release);
        if let Err(error) = self.mark() {
            tracing::error!(error = %error, "rebuild marker not written; remove the index by hand");
        }
        self.fail(format!("{error}; the next start builds it again from the journal"))
    }

    /// The next start takes no account of the index.
    pub(crate) fn mark(&self) -> io::Result<()> {
        if !self.files.exists(&self.rebuild_marker) {
            self.files.open(&self.rebuild_marker, Mode::New)?;
        }
        self.rebuild_marker.parent().map_or(Ok(()), |directory| self.files.sync_directory(directory))
    }

    /// It does, unless the index failed.
    pub(crate) fn unmark(&self) -> io::Result<()> {
        if self.index_is_broken() { Ok(()) } else { self.files.remove(&self.rebuild_marker) }
    }
}

/// Reclaim moves a record at most once between two of its flushes, which take seconds.
const LOOKS_MAX: usize = 16;

impl Shared {
    /// The room on the disk as of now.
    pub(crate) fn room(&self) -> Ration {
        self.space.now(self.overlay.unindexed())
    }

    /// The same, as of a moment ago.
    pub(crate) fn room_lately(&self) -> Ration {
        self.space.lately(self.overlay.unindexed())
    }

    /// The record of a key, from wherever it is. Blocks on the disk.
    pub(crate) fn read(&self, key: &Key) -> Result<Option<Record>, ReadError> {
        for _ in 0..LOOKS_MAX {
            let found = match self.overlay.get(key) {
                Seen::Here(entry) => self.record_of(entry.version, entry.state),
                Seen::Below { .. } => match self.index.get(key).map_err(|error| self.unreadable(&error))? {
                    Some(indexed) => self.load(indexed).map(Some),
                    None => Ok(None),
                },
            };
            match found {
                Ok(record) => return Ok(record),
                Err(Unread::Failed(error)) => return Err(error),
                Err(Unread::Moved) => {}
            }
        }
        Err(ReadError("a segment of the journal is missing; run `fanfare store check`".to_owned()))
    }

    /// What a scan came upon, or what the key has become since.
    pub(crate) fn read_found(
        &self,
        key: &Key,
        found: Result<Option<Record>, Unread>,
    ) -> Result<Option<Record>, ReadError> {
        match found {
            Ok(record) => Ok(record),
            Err(Unread::Failed(error)) => Err(error),
            Err(Unread::Moved) => self.read(key),
        }
    }

    pub(crate) fn record_of(&self, version: Version, state: State) -> Result<Option<Record>, Unread> {
        let value = match state {
            State::Gone => return Ok(None),
            State::Put { value: Some(value), .. } => value,
            State::Put { at, value: None } => self.segments.read(at)?,
        };
        Ok(Some(Record { value, version }))
    }

    pub(crate) fn load(&self, indexed: Indexed) -> Result<Record, Unread> {
        let value = match indexed.value {
            Stored::Inline { value, .. } => value,
            Stored::At(at) => self.segments.read(at)?,
        };
        Ok(Record { value, version: indexed.version })
    }

    /// What an error of the index means for a commit: it waits for room, or nothing is written any more.
    pub(crate) fn index_error(&self, error: &IndexError) -> CommitError {
        match error {
            IndexError::NoRoom(_) => self.space.full(&error.to_string()),
            IndexError::Failed(_) => self.health.index_failed(error),
        }
    }

    pub(crate) fn unreadable(&self, error: &IndexError) -> ReadError {
        ReadError(self.index_error(error).to_string())
    }
}
