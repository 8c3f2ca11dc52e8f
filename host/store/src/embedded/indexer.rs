//! The indexer: moves the overlay into sled every few seconds, or every so many bytes of journal.
//!
//! It is the index's only writer. The journal has made everything durable already, so there is no hurry; what
//! bounds the delay is memory, and the time that a replay would take. When it falls behind by
//! [`FLUSHES_BEHIND_MAX`] flushes, the committer waits.
//!
//! It writes nothing while the disk is too full for it, and begins again with the same map where others filled the disk
//! in the middle of a write. Meanwhile the committer does not wait: the overlay grows by no more than what still fits
//! into the journal.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::index::{Index, IndexError};
use super::journal::is_full;
use super::shared::{Health, Shared};

const FLUSHES_BEHIND_MAX: u64 = 2;

/// It looks this often whether there is room again.
const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Backlog {
    /// Journal bytes that are in no frozen map yet.
    bytes: u64,
    since: Option<Instant>,
    /// Someone waits for a flush.
    asked: bool,
    /// Flushes that have begun, and that have ended.
    begun: u64,
    ended: u64,
    /// The disk is too full to write the index.
    starved: bool,
    closing: bool,
    /// It runs no more.
    over: bool,
}

/// Its schedule, shared with the committer.
#[derive(Debug)]
pub(crate) struct Indexer {
    interval: Duration,
    flush_bytes: u64,
    backlog: Mutex<Backlog>,
    changed: Condvar,
    /// Held from the look at the room to the end of the flush that relies on it.
    writing: Mutex<()>,
}

/// What became of a flush.
enum Written {
    All,
    NoRoom,
}

impl Indexer {
    pub(crate) fn new(interval: Duration, flush_bytes: u64) -> Self {
        Self {
            interval,
            flush_bytes,
            backlog: Mutex::default(),
            changed: Condvar::new(),
            writing: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Told by the committer after each frame.
    pub(crate) fn committed(&self, bytes: u64) {
        let mut backlog = self.lock();
        let had = backlog.bytes;
        backlog.bytes += bytes;
        // Two wake-ups a flush: to start its clock, and when it has enough.
        if had == 0 || (had < self.flush_bytes && backlog.bytes >= self.flush_bytes) {
            backlog.since.get_or_insert_with(Instant::now);
            self.changed.notify_all();
        }
    }

    /// Holds the committer while the index is far behind; a failure lets it go.
    pub(crate) fn wait_while_behind(&self, health: &Health) {
        let mut backlog = self.lock();
        while backlog.bytes > self.flush_bytes.saturating_mul(FLUSHES_BEHIND_MAX)
            && !backlog.starved
            && health.failure().is_none()
        {
            backlog = self.changed.wait(backlog).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all that is in the overlay by now is in the index; answers whether it is.
    pub(crate) fn flush_now(&self) -> bool {
        let mut backlog = self.lock();
        let wanted = backlog.begun + 1;
        backlog.asked = true;
        self.changed.notify_all();
        while backlog.ended < wanted && !backlog.over && !backlog.starved {
            backlog = self.changed.wait(backlog).unwrap_or_else(PoisonError::into_inner);
        }
        backlog.ended >= wanted
    }

    /// Writes what is left, then ends.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// Runs until it is closed or the index fails.
    pub(crate) fn run(&self, shared: &Arc<Shared>) {
        loop {
            let closing = self.wait_until_due(&shared.index);
            let written = self.write(shared);
            if matches!(written, Ok(Written::NoRoom)) && !closing {
                self.wait_for_room();
                continue;
            }
            // What is not written now, the next start finds in the journal.
            if let Err(error) = &written {
                shared.health.index_failed(error);
            }
            let mut backlog = self.lock();
            backlog.ended = backlog.begun;
            if std::mem::take(&mut backlog.starved) {
                tracing::info!("index is written again: disk has room");
            }
            backlog.over = closing || written.is_err();
            // The committer may wait too, for a flush that will not come.
            self.changed.notify_all();
            if backlog.over {
                return;
            }
        }
    }

    /// Writes where there is room for all of it.
    fn write(&self, shared: &Shared) -> Result<Written, IndexError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !shared.room().fits_index() {
            return Ok(Written::NoRoom);
        }
        match flush(shared) {
            Ok(()) => Ok(Written::All),
            Err(IndexError::NoRoom(error)) => {
                tracing::warn!(error = %error, "index found no room; it is tried again");
                Ok(Written::NoRoom)
            }
            Err(error) => Err(error),
        }
    }

    /// It writes no more: whoever waits for it goes on.
    pub(crate) fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    /// While it is held, the index is not written.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_room(&self) {
        let mut backlog = self.lock();
        if !backlog.starved {
            tracing::warn!("index not written: the disk is too full");
        }
        backlog.starved = true;
        backlog.asked = true;
        self.changed.notify_all();
        let wait = self.changed.wait_timeout_while(backlog, LOOK_FOR_ROOM_EVERY, |backlog| !backlog.closing);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }

    /// Answers whether this flush is the last one.
    fn wait_until_due(&self, index: &Index) -> bool {
        let mut backlog = self.lock();
        loop {
            let waited = backlog.since.map(|since| since.elapsed());
            let due =
                waited.is_some_and(|waited| waited >= self.interval) || backlog.bytes >= self.flush_bytes;
            if due || backlog.asked || backlog.closing || index.is_lost() {
                backlog.bytes = 0;
                backlog.since = None;
                backlog.asked = false;
                backlog.begun += 1;
                self.changed.notify_all();
                return backlog.closing;
            }
            // A reader may be the one who finds out that it was lost, and tells nobody.
            let rest = waited.map_or(LOOK_FOR_ROOM_EVERY, |waited| self.interval.saturating_sub(waited));
            let rest = rest.min(LOOK_FOR_ROOM_EVERY);
            backlog = self.changed.wait_timeout(backlog, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Moves everything committed so far into the index, durably.
pub(crate) fn flush(shared: &Shared) -> Result<(), IndexError> {
    if shared.index.is_lost() {
        revive(shared)?;
    }
    // What came since lies behind what was not written the last time.
    if shared.overlay.is_frozen() {
        write_map(shared)?;
    }
    write_map(shared)
}

/// Writes the map that waits, or makes one of what is in the overlay.
fn write_map(shared: &Shared) -> Result<(), IndexError> {
    let Some(frozen) = shared.overlay.freeze() else { return Ok(()) };
    let started = Instant::now();
    if !shared.index.covers(frozen.covered) {
        shared.index.write(&frozen)?;
    }
    let keys = frozen.entries.len();
    // The last handle but the overlay's own, so that its memory goes with the overlay's.
    drop(frozen);
    shared.overlay.drop_frozen();
    // sled writes when it is closed, and ends the process where it can't.
    if shared.room().fits_index() {
        shared.index.recycle_if_grown()?;
    }
    shared.space.measure_index(&shared.index.path());
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(keys, took_ms, "index flushed");
    Ok(())
}

/// Opens an index that was lost. Until that is done, half of it may be where it was and half where it will be.
fn revive(shared: &Shared) -> Result<(), IndexError> {
    let io = |error: std::io::Error| {
        let text = error.to_string();
        if is_full(&error) { IndexError::NoRoom(text) } else { IndexError::Failed(text) }
    };
    shared.health.mark().map_err(io)?;
    shared.index.revive()?;
    shared.health.unmark().map_err(io)?;
    tracing::info!(path = %shared.index.path().display(), "index opened again");
    Ok(())
}
