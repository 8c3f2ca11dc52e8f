//! Opening: lock, index, replay, threads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::committer::Committer;
use super::files::Files;
use super::index::{Index, IndexError};
use super::indexer::{self, Indexer};
use super::journal::{Journal, Position, Segments};
use super::lock::DirectoryLock;
use super::overlay::{Entry, Overlay, State};
use super::progress::Meter;
use super::queue::Queue;
use super::readers::Readers;
use super::replay::{self, Outcome};
use super::shared::{Health, Shared, io_at};
use super::{EmbeddedOptions, OpenError, Recovery};
use crate::engine::Key;

/// The running parts of an engine.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) indexer: Arc<Indexer>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) threads: Threads,
    pub(crate) recovery: Recovery,
}

/// The running threads, and the lock that they work under.
#[derive(Debug)]
pub(crate) struct Threads {
    pub(crate) committer: std::thread::JoinHandle<()>,
    pub(crate) indexer: std::thread::JoinHandle<()>,
    pub(crate) readers: Vec<std::thread::JoinHandle<()>>,
    pub(crate) lock: DirectoryLock,
}

pub(crate) fn open(options: &EmbeddedOptions) -> Result<Opened, OpenError> {
    let files = &options.files;
    let journal_path = options.path.join("journal");
    files.create_directory(&journal_path).map_err(io_at(&journal_path))?;
    files.sync_directory(&options.path).map_err(io_at(&options.path))?;
    let lock = DirectoryLock::take(&options.path)?;

    let health = Health::new(files.clone(), options.path.join("index.rebuild"));
    let (index, covered, index_moved_aside) = open_index(options, &health.rebuild_marker)?;
    let segments = Arc::new(Segments::new(files.clone(), journal_path));
    let overlay = Overlay::new(options.overlay_value_bytes, covered.unwrap_or_default());
    let shared = Arc::new(Shared { overlay, index, segments, health });
    let (outcome, unflushed) = replay(&shared, covered, options)?;
    let recovery =
        Recovery { frames_replayed: outcome.frames, torn_bytes: outcome.torn_bytes, index_moved_aside };
    let Recovery { frames_replayed, torn_bytes, .. } = recovery;
    tracing::info!(path = %options.path.display(), frames_replayed, torn_bytes, index_moved_aside, "store opened");

    let indexer = Arc::new(Indexer::new(options.flush_interval, options.flush_bytes));
    if unflushed > 0 {
        indexer.committed(unflushed);
    }
    start(options, shared, indexer, outcome, lock, recovery)
}

/// Opens the index; one that refuses, or that failed in the last run, is moved aside and begun anew.
fn open_index(
    options: &EmbeddedOptions,
    marker: &Path,
) -> Result<(Index, Option<Position>, bool), OpenError> {
    let path = options.path.join("index");
    let unusable = |error: IndexError| OpenError::Index { path: path.clone(), reason: error.to_string() };
    let files = &*options.files;
    if !files.exists(marker) {
        match Index::open(&path) {
            Ok((index, covered)) => return Ok((index, covered, false)),
            Err(error) => {
                tracing::warn!(error = %error, "index refused to open; it is built again from the journal");
            }
        }
    }
    move_aside(files, &path)?;
    let (index, covered) = Index::open(&path).map_err(unusable)?;
    files.remove(marker).map_err(io_at(marker))?;
    Ok((index, covered, true))
}

/// Keeps one broken index for whoever wants to know why; the one before it makes room.
fn move_aside(files: &dyn Files, path: &Path) -> Result<(), OpenError> {
    let aside: PathBuf = path.with_extension("broken");
    files.remove(&aside).map_err(io_at(&aside))?;
    if files.exists(path) {
        files.rename(path, &aside).map_err(io_at(path))?;
    }
    let parent = path.parent().unwrap_or(path);
    files.sync_directory(parent).map_err(io_at(parent))
}

/// Replays the journal through the overlay, emptying it into the index as often as in service.
fn replay(
    shared: &Shared,
    covered: Option<Position>,
    options: &EmbeddedOptions,
) -> Result<(Outcome, u64), OpenError> {
    let mut unflushed = 0;
    let mut reached = covered.unwrap_or_default();
    let ahead = bytes_after(&shared.segments, reached).map_err(io_at(shared.segments.directory()))?;
    let what = if covered.is_some() { "replaying the journal" } else { "building the index" };
    let mut meter = Meter::begin(&*options.progress, what, ahead);
    let mut sink = |entries: Vec<(Key, Entry)>, end: Position| {
        let begun = if reached.segment == end.segment { reached.offset } else { 0 };
        meter.advance(end.offset.saturating_sub(begun));
        reached = end;
        let bytes: usize = entries.iter().map(|(key, entry)| key.len() + put_bytes(entry)).sum();
        unflushed += bytes as u64 + 1;
        shared.overlay.publish(entries.into_iter(), end);
        if unflushed >= options.flush_bytes {
            unflushed = 0;
            indexer::flush(shared).map_err(|error| OpenError::Index {
                path: options.path.join("index"),
                reason: shared.health.index_failed(&error).to_string(),
            })?;
        }
        Ok(())
    };
    let outcome = replay::replay(&shared.segments, covered, &mut sink)?;
    Ok((outcome, unflushed))
}

/// How many bytes of journal lie behind a position.
fn bytes_after(segments: &Segments, start: Position) -> io::Result<u64> {
    let mut bytes = 0;
    for number in segments.numbers()?.into_iter().filter(|number| *number >= start.segment) {
        bytes += segments.file(number)?.length()?;
    }
    Ok(bytes.saturating_sub(start.offset))
}

fn put_bytes(entry: &Entry) -> usize {
    match &entry.state {
        State::Put { at, .. } => at.length as usize,
        State::Gone => 0,
    }
}

fn start(
    options: &EmbeddedOptions,
    shared: Arc<Shared>,
    indexer: Arc<Indexer>,
    outcome: Outcome,
    lock: DirectoryLock,
    recovery: Recovery,
) -> Result<Opened, OpenError> {
    let queue = Arc::new(Queue::default());
    let readers = Arc::new(Readers::default());
    let journal = Journal::new(shared.segments.clone(), outcome.tail, outcome.next, options.segment_bytes);
    let committer = Committer::new(shared.clone(), indexer.clone(), journal, outcome.end.sequence);
    let threads = Threads {
        committer: {
            let queue = queue.clone();
            spawn(options, "fanfare-commit", move || committer.run(&queue))?
        },
        indexer: {
            let (indexer, shared) = (indexer.clone(), shared.clone());
            spawn(options, "fanfare-index", move || indexer.run(&shared))?
        },
        readers: (0..options.readers.max(1))
            .map(|_| {
                let (readers, shared) = (readers.clone(), shared.clone());
                spawn(options, "fanfare-read", move || readers.run(&shared))
            })
            .collect::<Result<_, _>>()?,
        lock,
    };
    Ok(Opened { shared, queue, indexer, readers, threads, recovery })
}

fn spawn(
    options: &EmbeddedOptions,
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, OpenError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(io_at(&options.path))
}
