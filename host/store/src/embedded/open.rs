//! Opening: lock, survey, index, replay, threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::committer::Committer;
use super::files::Files;
use super::index::{Index, Unopened};
use super::indexer::{self, Indexer};
use super::journal::{Journal, Position, Segments};
use super::lock::DirectoryLock;
use super::overlay::Overlay;
use super::progress::Meter;
use super::queue::Queue;
use super::readers::Readers;
use super::reclaim::Reclaim;
use super::replay::{self, Batch, Outcome};
use super::shared::{Health, Shared, io_at};
use super::space::Space;
use super::survey::{Survey, survey};
use super::{EmbeddedOptions, OpenError, Recovery};

/// The running parts of an engine.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) indexer: Arc<Indexer>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) reclaim: Arc<Reclaim>,
    pub(crate) threads: Threads,
    pub(crate) recovery: Recovery,
}

/// The running threads, and the lock that they work under.
#[derive(Debug)]
pub(crate) struct Threads {
    pub(crate) committer: std::thread::JoinHandle<()>,
    pub(crate) indexer: std::thread::JoinHandle<()>,
    pub(crate) reclaim: std::thread::JoinHandle<()>,
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
    let segments = Arc::new(Segments::new(files.clone(), journal_path));
    let survey = survey(&segments)?;
    (*segments.sealed()).clone_from(&survey.sealed);
    let (index, covered, index_moved_aside) = open_index(options, &health.rebuild_marker, &survey)?;
    if let Some(covered) = covered {
        replay::reaches(&segments, &survey, covered)?;
    }
    survey.settle(&segments)?;
    let overlay = Overlay::new(options.overlay_value_bytes, covered.unwrap_or_default());
    let space = Space::new(files.clone(), options.path.clone(), options.reserve_bytes, options.segment_bytes);
    space.measure_index();
    let shared = Arc::new(Shared { overlay, index, segments, health, space });
    let (outcome, unflushed) = replay(&shared, &survey, covered, options)?;
    let (frames_replayed, torn_bytes) = (outcome.frames, survey.torn_bytes);
    let recovery = Recovery { frames_replayed, torn_bytes, index_moved_aside };
    tracing::info!(path = %options.path.display(), frames_replayed, torn_bytes, index_moved_aside, "store opened");

    let indexer = Arc::new(Indexer::new(options.flush_interval, options.flush_bytes));
    if unflushed > 0 {
        indexer.committed(unflushed);
    }
    start(options, shared, indexer, survey, &outcome, lock, recovery)
}

/// Opens the index; one that refuses, that failed in the last run, or that is another journal's, is moved aside
/// and begun anew.
fn open_index(
    options: &EmbeddedOptions,
    marker: &Path,
    survey: &Survey,
) -> Result<(Index, Option<Position>, bool), OpenError> {
    let path = options.path.join("index");
    let refused = |error: Unopened| match error {
        Unopened::Newer(found) => {
            OpenError::NewerFormat { path: path.clone(), found, known: Index::format() }
        }
        Unopened::Unusable(error) => OpenError::Index { path: path.clone(), reason: error.to_string() },
    };
    let files = &*options.files;
    if !files.exists(marker) {
        match Index::open(&path) {
            Ok((index, covered)) if covered.is_none_or(|covered| replay::is_known(survey, covered)) => {
                return Ok((index, covered, false));
            }
            Ok((index, _)) => {
                let stale = "it covers a segment that was reclaimed since, so it is an old copy";
                tracing::warn!(error = stale, "index refused; it is built again from the journal");
                index.close().map_err(|error| refused(Unopened::Unusable(error)))?;
            }
            Err(newer @ Unopened::Newer(_)) => return Err(refused(newer)),
            Err(Unopened::Unusable(error)) => {
                tracing::warn!(error = %error, "index refused to open; it is built again from the journal");
            }
        }
    }
    move_aside(files, &path)?;
    let (index, covered) = Index::open(&path).map_err(refused)?;
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
    survey: &Survey,
    covered: Option<Position>,
    options: &EmbeddedOptions,
) -> Result<(Outcome, u64), OpenError> {
    let mut unflushed = 0;
    let what = if covered.is_some() { "replaying the journal" } else { "building the index" };
    let mut meter = Meter::begin(&*options.progress, what, replay::bytes_after(survey, covered));
    let mut sink = |batch: Batch| {
        meter.advance(batch.bytes);
        unflushed += batch.bytes;
        shared.overlay.publish(batch.entries.into_iter(), &batch.tombs, batch.end);
        // Where the disk is too full for the index, it waits in memory.
        if unflushed >= options.flush_bytes && shared.room().fits_index() {
            unflushed = 0;
            indexer::flush(shared).map_err(|error| OpenError::Index {
                path: options.path.join("index"),
                reason: shared.health.index_failed(&error).to_string(),
            })?;
        }
        Ok(())
    };
    let outcome = replay::replay(&shared.segments, survey, covered, &mut sink)?;
    Ok((outcome, unflushed))
}

fn start(
    options: &EmbeddedOptions,
    shared: Arc<Shared>,
    indexer: Arc<Indexer>,
    survey: Survey,
    outcome: &Outcome,
    lock: DirectoryLock,
    recovery: Recovery,
) -> Result<Opened, OpenError> {
    let queue = Arc::new(Queue::default());
    let readers = Arc::new(Readers::default());
    let last = outcome.end.sequence;
    let segment_bytes = shared.space.segment_bytes();
    let journal = Journal::new(shared.segments.clone(), survey.tail, survey.next, segment_bytes, last);
    let committer = Committer::new(shared.clone(), indexer.clone(), journal, last);
    let (for_queue, for_indexer) = (queue.clone(), indexer.clone());
    let reclaim = Arc::new(Reclaim::new(shared.clone(), for_queue, for_indexer, options, segment_bytes));
    let threads = Threads {
        committer: {
            let queue = queue.clone();
            spawn(options, "fanfare-commit", move || committer.run(&queue))?
        },
        indexer: {
            let (indexer, shared) = (indexer.clone(), shared.clone());
            spawn(options, "fanfare-index", move || indexer.run(&shared))?
        },
        reclaim: {
            let reclaim = reclaim.clone();
            spawn(options, "fanfare-reclaim", move || reclaim.run())?
        },
        readers: (0..options.readers.max(1))
            .map(|_| {
                let (readers, shared) = (readers.clone(), shared.clone());
                spawn(options, "fanfare-read", move || readers.run(&shared))
            })
            .collect::<Result<_, _>>()?,
        lock,
    };
    Ok(Opened { shared, queue, indexer, readers, reclaim, threads, recovery })
}

fn spawn(
    options: &EmbeddedOptions,
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, OpenError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(io_at(&options.path))
}
