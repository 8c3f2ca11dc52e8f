//! An index made for a check, beside the one that serves: what the journal says, in the order of keys.
//!
//! It lies in a directory of its own in the store, and goes with the value. Entries are gathered in memory up to
//! [`GATHERED_BYTES`]; the last record of a key stays, as in a replay.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fanfare_model::id::Shard;

use super::super::OpenError;
use super::super::files::Files;
use super::super::format::{FRAME_HEADER_BYTES, Payload, decode_payload};
use super::super::index::{Index, IndexError, Indexed, Unopened};
use super::super::journal::Position;
use super::super::overlay::{Entries, Entry, Frozen, State, Tombs};
use super::super::replay::entry;
use super::super::shared::io_at;
use super::survey::Frame;
use crate::engine::{Direction, Key};

const GATHERED_BYTES: usize = 32 << 20;

/// Entries read at a time.
const PAGE: usize = 4_096;

/// The index, and where it lies.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) index: Index,
    path: PathBuf,
    files: Arc<dyn Files>,
    gathered: Entries,
    bytes: usize,
}

impl Scratch {
    pub(crate) fn new(files: Arc<dyn Files>, store: &Path) -> Result<Self, OpenError> {
        let path = store.join("index.check");
        files.remove(&path).map_err(io_at(&path))?;
        let (index, _) = Index::open(&path).map_err(|error| unopened(&path, &error))?;
        Ok(Self { index, path, files, gathered: Entries::new(), bytes: 0 })
    }

    /// Takes what a frame says.
    pub(crate) fn push_frame(&mut self, frame: &Frame<'_>) -> Result<(), OpenError> {
        let Some(Payload::Changes(changes)) = decode_payload(frame.payload) else { return Ok(()) };
        let values_at = frame.at + FRAME_HEADER_BYTES as u64;
        for change in changes {
            let (key, entry) = entry(frame.segment, values_at, &change);
            self.push(key, entry, frame.end)?;
        }
        Ok(())
    }

    fn push(&mut self, key: Key, entry: Entry, end: Position) -> Result<(), OpenError> {
        self.bytes += key.len() + size_of::<Entry>();
        if let State::Put { value: Some(value), .. } = &entry.state {
            self.bytes += value.len();
        }
        self.gathered.insert(key, entry);
        if self.bytes > GATHERED_BYTES { self.write(end) } else { Ok(()) }
    }

    /// Moves what was gathered into the index.
    pub(crate) fn write(&mut self, end: Position) -> Result<(), OpenError> {
        let failed = |error: IndexError| failed(&self.path, &error);
        let entries = Arc::new(std::mem::take(&mut self.gathered));
        self.bytes = 0;
        let frozen = Frozen { entries, tombs: Tombs::default(), covered: end };
        self.index.write(&frozen).map_err(failed)?;
        self.index.recycle_if_grown().map_err(failed)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let closed = self.index.close();
        let removed = self.files.remove(&self.path);
        if closed.is_err() || removed.is_err() {
            tracing::warn!(path = %self.path.display(), "the check's own index was left behind; it can be removed");
        }
    }
}

pub(crate) fn failed(path: &Path, error: &IndexError) -> OpenError {
    OpenError::Index { path: path.to_owned(), reason: error.to_string() }
}

fn unopened(path: &Path, error: &Unopened) -> OpenError {
    match error {
        Unopened::Unusable(error) => failed(path, error),
        Unopened::Newer(found) => {
            OpenError::NewerFormat { path: path.to_owned(), found: *found, known: Index::format() }
        }
    }
}

/// Walks an index in the order of keys, a page at a time.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    index: &'a Index,
    range: Range<Key>,
    page: std::vec::IntoIter<(Key, Indexed)>,
    ended: bool,
}

impl<'a> Walk<'a> {
    /// Every key of every shard.
    pub(crate) fn new(index: &'a Index) -> Self {
        let range = vec![0, 0]..Shard::COUNT.to_be_bytes().to_vec();
        Self { index, range, page: Vec::new().into_iter(), ended: false }
    }

    pub(crate) fn next(&mut self) -> Result<Option<(Key, Indexed)>, IndexError> {
        if let Some(entry) = self.page.next() {
            return Ok(Some(entry));
        }
        if self.ended {
            return Ok(None);
        }
        let page = self.index.page(&self.range, PAGE, Direction::Forward)?;
        self.ended = page.len() < PAGE;
        if let Some((last, _)) = page.last() {
            self.range.start = crate::keys::after(last.clone());
        }
        self.page = page.into_iter();
        Ok(self.page.next())
    }
}
