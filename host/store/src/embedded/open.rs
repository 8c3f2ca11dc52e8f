//! Opening: lock, survey, index, replay, threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::committer::Committer;
use super::files::Files;
use super::index::{Index, IndexError, Unopened, bring_home};
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
use super::threads::Watch;
use super::{EmbeddedOptions, OpenError, Recovery};

/// Broken indexes that are left to lie, when none of them can be removed.
const ASIDE_MAX: u32 = 100;

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
        replay::verify(&segments, &survey, covered, options.verify_bytes)?;
    }
    survey.settle(&segments)?;
    let overlay = Overlay::new(options.overlay_value_bytes, covered.unwrap_or_default());
    let space = Space::new(files.clone(), options.path.clone(), options.reserve_bytes, options.segment_bytes);
    space.measure_index(&index.path());
    let shared = Arc::new(Shared { overlay, index, segments, health, space });
    let (outcome, unflushed) = replay(&shared, &survey, covered, options)?;
    if shared.index.is_lost() {
        tracing::warn!(path = %options.path.display(), "no room for the index: all of it is in memory until there is some");
        // All that it held is in memory now, and its room may be what is missing.
        shared.index.clear_if_void().map_err(|error| index_error(options, &error))?;
        shared.space.measure_index(&shared.index.path());
    }
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
/// and begun anew. Where the disk has no room for either, it is absent until there is some.
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
    bring_home(&path).map_err(io_at(&path))?;
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
            Err(Unopened::Unusable(IndexError::NoRoom(_))) => return Ok((Index::absent(&path), None, false)),
            Err(Unopened::Unusable(error)) => {
                tracing::warn!(error = %error, "index refused to open; it is built again from the journal");
            }
        }
    }
    move_aside(files, &path)?;
    let (index, covered) = match Index::open(&path) {
        Err(Unopened::Unusable(IndexError::NoRoom(_))) => {
            // Its room is needed more than it is.
            let aside = path.with_extension("broken");
            files.remove(&aside).map_err(io_at(&aside))?;
            return Ok((Index::absent(&path), None, true));
        }
        other => other.map_err(refused)?,
    };
    files.remove(marker).map_err(io_at(marker))?;
    Ok((index, covered, true))
}

/// Keeps one broken index for whoever wants to know why; the one before it makes room, unless even that is impossible.
fn move_aside(files: &dyn Files, path: &Path) -> Result<(), OpenError> {
    let mut aside: PathBuf = path.with_extension("broken");
    if let Err(error) = files.remove(&aside) {
        tracing::warn!(error = %error, path = %aside.display(), "a broken index can't be removed; remove it by hand");
        let free = (2..ASIDE_MAX).map(|n| path.with_extension(format!("broken-{n}")));
        aside = free.into_iter().find(|path| !files.exists(path)).ok_or(error).map_err(io_at(&aside))?;
    }
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
        if unflushed >= options.flush_bytes {
            let room = shared.room();
            if room.fits_index() && flush_unless_full(shared, options)? {
                unflushed = 0;
            } else if shared.overlay.unindexed().keys > options.unindexed_keys_max {
                let (free_mib, needed_mib) = room.missing_mib();
                let (path, keys_max) = (options.path.clone(), options.unindexed_keys_max);
                return Err(OpenError::NoRoom { path, free_mib, needed_mib, keys_max });
            }
        }
        Ok(())
    };
    let outcome = replay::replay(&shared.segments, survey, covered, &mut sink)?;
    Ok((outcome, unflushed))
}

/// Answers whether there was room; where there is none, the overlay waits in memory.
fn flush_unless_full(shared: &Shared, options: &EmbeddedOptions) -> Result<bool, OpenError> {
    match indexer::flush(shared) {
        Ok(()) => Ok(true),
        Err(IndexError::NoRoom(_)) => Ok(false),
        Err(error) => {
            shared.health.index_failed(&error);
            Err(index_error(options, &error))
        }
    }
}

fn index_error(options: &EmbeddedOptions, error: &IndexError) -> OpenError {
    OpenError::Index { path: options.path.join("index"), reason: error.to_string() }
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
    let watch = Watch::new(shared.clone(), queue.clone(), indexer.clone());
    let spawn = |name, work: Box<dyn FnOnce() + Send>| watch.spawn(name, work).map_err(io_at(&options.path));
    let spawn_in_background = |name, work: Box<dyn FnOnce() + Send>| {
        watch.spawn_in_background(name, work).map_err(io_at(&options.path))
    };
    let threads = Threads {
        committer: {
            let queue = queue.clone();
            spawn("fanfare-commit", Box::new(move || committer.run(&queue)))?
        },
        indexer: {
            let (indexer, shared) = (indexer.clone(), shared.clone());
            spawn_in_background("fanfare-index", Box::new(move || indexer.run(&shared)))?
        },
        reclaim: {
            let reclaim = reclaim.clone();
            spawn_in_background("fanfare-reclaim", Box::new(move || reclaim.run()))?
        },
        readers: (0..options.readers.max(1))
            .map(|_| {
                let (readers, shared) = (readers.clone(), shared.clone());
                spawn("fanfare-read", Box::new(move || readers.run(&shared)))
            })
            .collect::<Result<_, _>>()?,
        lock,
    };
    Ok(Opened { shared, queue, indexer, readers, reclaim, threads, recovery })
}
