//! Room on the disk: below the reserve, new work is refused and accepted work goes on.
//!
//! The reserve is what settling, reclaim, the index and the next segment live on. What the index has yet to write comes
//! first: sled does not survive a full disk, so it writes only where all of it fits, and nothing else takes that room.
//! On top of it lies the room of reclaim, which can always copy one segment; settling waits below that, because only
//! reclaim makes room again. On top of both lies the reserve, and below it new work is refused. Each goes on by itself
//! when there is room again.
//!
//! The committer asks before each group and counts what the group itself takes: in a tenth of a second a fast disk takes
//! more than the whole reserve. Whoever only wants to know may get an answer that is [`CHECK_EVERY`] old.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::files::{Files, Room};
use super::overlay::Unindexed;
use crate::engine::{Class, CommitError};

const CHECK_EVERY: Duration = Duration::from_millis(100);

const RESERVE_BYTES_MIN: u64 = 12 << 20;
const RESERVE_BYTES_MAX: u64 = 1 << 30;

/// A segment is at most this part of the disk, so that a small one has several, and room to copy one.
const SEGMENTS_A_DISK: u64 = 16;
const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// sled's log of a flush, and the blocks that it begins.
const FLUSH_BYTES: u64 = 1 << 20;

/// What is written of the index for a key that lies alone in its leaf.
const LEAF_BYTES: u64 = 4 << 10;

/// What a write to the journal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Intake,
    Settle,
    /// Reclaim's copies.
    Copy,
}

impl From<Class> for Purpose {
    fn from(class: Class) -> Self {
        match class {
            Class::Intake => Self::Intake,
            Class::Settle => Self::Settle,
        }
    }
}

/// Watches the room on one disk.
#[derive(Debug)]
pub(crate) struct Space {
    files: Arc<dyn Files>,
    path: PathBuf,
    reserve: Option<u64>,
    segment_bytes: u64,
    /// What the index takes up as of its last flush.
    index_bytes: AtomicU64,
    last: Mutex<Option<(Instant, Result<Room, String>)>>,
    refusing: AtomicBool,
}

/// 5 % of the disk, within bounds.
fn reserve_of(room: Room) -> u64 {
    (room.total / 20).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX)
}

/// What was free at one moment, and what of it is for whom.
#[derive(Clone, Debug)]
pub(crate) struct Ration {
    free: Result<u64, String>,
    /// Kept for the next flush of the index.
    index: u64,
    /// Kept for reclaim's copies, on top of that.
    copies: u64,
    reserve: u64,
}

impl Ration {
    /// Why so many bytes may not be written.
    pub(crate) fn refusal(&self, purpose: Purpose, bytes: u64) -> Option<String> {
        match (&self.free, purpose) {
            (Ok(free), _) => {
                let floor = self.floor(purpose);
                (free.saturating_sub(bytes) < floor).then(|| {
                    format!("{} MiB are free, and {} MiB are kept in reserve", free >> 20, floor >> 20)
                })
            }
            (Err(error), Purpose::Intake) => Some(format!("its room is unknown: {error}")),
            // The journal itself will say so where there is none.
            (Err(_), Purpose::Settle | Purpose::Copy) => None,
        }
    }

    fn floor(&self, purpose: Purpose) -> u64 {
        self.index
            + match purpose {
                Purpose::Intake => self.reserve,
                Purpose::Settle => self.copies,
                Purpose::Copy => 0,
            }
    }

    /// Whether space must be given back before anything else: new work is refused, or will be soon.
    pub(crate) fn is_short(&self) -> bool {
        self.free.as_ref().is_ok_and(|free| *free < self.floor(Purpose::Intake).saturating_mul(5) / 4)
    }

    /// Bytes that reclaim may copy. A quarter is kept back for what their places take up in the index.
    pub(crate) fn copy_bytes_max(&self) -> u64 {
        self.free.as_ref().map_or(0, |free| free.saturating_sub(self.index) / 4 * 3)
    }

    /// What is free, and what the index takes, rounded up.
    pub(crate) fn missing_mib(&self) -> (u64, u64) {
        (self.free.as_ref().map_or(0, |free| free >> 20), (self.index >> 20) + 1)
    }

    /// Whether the index can be written without filling the disk.
    pub(crate) fn fits_index(&self) -> bool {
        self.free.as_ref().is_ok_and(|free| *free >= self.index)
    }
}

impl Space {
    /// `segment_bytes` is how long a segment would be on a large disk.
    pub(crate) fn new(
        files: Arc<dyn Files>,
        path: PathBuf,
        reserve: Option<u64>,
        segment_bytes: u64,
    ) -> Self {
        Self {
            files,
            path,
            reserve,
            segment_bytes,
            index_bytes: AtomicU64::new(0),
            last: Mutex::new(None),
            refusing: AtomicBool::new(false),
        }
    }

    /// As of now.
    pub(crate) fn now(&self, unindexed: Unindexed) -> Ration {
        let room = self.look(&mut self.last());
        self.ration(room, unindexed)
    }

    /// As of a moment ago.
    pub(crate) fn lately(&self, unindexed: Unindexed) -> Ration {
        let mut last = self.last();
        let room = match &*last {
            Some((at, room)) if at.elapsed() < CHECK_EVERY => room.clone(),
            _ => self.look(&mut last),
        };
        drop(last);
        self.ration(room, unindexed)
    }

    /// Why work of a class is refused at the moment.
    pub(crate) fn refusal(&self, class: Class, unindexed: Unindexed) -> Option<CommitError> {
        let refusal = self.lately(unindexed).refusal(class.into(), 0).map(|why| self.full(&why));
        if class == Class::Intake {
            self.tell(refusal.as_ref());
        }
        refusal
    }

    pub(crate) fn full(&self, why: &str) -> CommitError {
        CommitError::Full(format!("{}: {why}", self.path.display()))
    }

    fn tell(&self, refusal: Option<&CommitError>) {
        let was_refusing = self.refusing.swap(refusal.is_some(), Ordering::Relaxed);
        if let (Some(error), false) = (refusal, was_refusing) {
            tracing::warn!(error = %error, path = %self.path.display(), "intake stopped: disk nearly full");
        }
        if refusal.is_none() && was_refusing {
            tracing::info!(path = %self.path.display(), "intake goes on: disk has room again");
        }
    }

    /// Measures what the index takes up: a flush may write all of it again before it lets go of the old.
    pub(crate) fn measure_index(&self, index: &Path) {
        self.index_bytes.store(bytes_below(index), Ordering::Relaxed);
    }

    /// How long a segment may be on this disk.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.look(&mut self.last()).map_or(self.segment_bytes, |room| self.segment_bytes_of(room))
    }

    fn segment_bytes_of(&self, room: Room) -> u64 {
        self.segment_bytes.min((room.total / SEGMENTS_A_DISK).max(SEGMENT_BYTES_MIN))
    }

    fn ration(&self, room: Result<Room, String>, unindexed: Unindexed) -> Ration {
        let leaves = LEAF_BYTES.saturating_mul(unindexed.keys);
        let rewritten = leaves.min(self.index_bytes.load(Ordering::Relaxed));
        let index = FLUSH_BYTES.saturating_add(rewritten).saturating_add(unindexed.bytes);
        let reserve = self.reserve.unwrap_or_else(|| room.as_ref().map_or(0, |room| reserve_of(*room)));
        // What reclaim may copy is three quarters of this, and must be one segment.
        let segment = room.as_ref().map_or(0, |room| self.segment_bytes_of(*room)) / 3 * 4;
        Ration { free: room.map(|room| room.free), index, copies: segment.min(reserve / 2), reserve }
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, Result<Room, String>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, last: &mut Option<(Instant, Result<Room, String>)>) -> Result<Room, String> {
        let room = self.files.room(&self.path).map_err(|error| error.to_string());
        *last = Some((Instant::now(), room.clone()));
        room
    }
}

/// What the files below a directory take up; those that vanish meanwhile take nothing.
fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::files::Disk;

    #[test]
    fn the_reserve_is_a_twentieth_within_bounds() {
        let of = |total| reserve_of(Room { free: 0, total });
        assert_eq!(of(1 << 20), RESERVE_BYTES_MIN);
        assert_eq!(of(2 << 30), (2 << 30) / 20);
        assert_eq!(of(1 << 50), RESERVE_BYTES_MAX);
    }

    fn ration(free_kib: u64, keys: u64, bytes: u64) -> Ration {
        let space = Space::new(Arc::new(Disk), PathBuf::from("/data"), None, 64 << 20);
        space.index_bytes.store(1 << 20, Ordering::Relaxed);
        let room = Room { free: free_kib << 10, total: 64 << 20 };
        space.ration(Ok(room), Unindexed { keys, bytes })
    }

    #[test]
    fn new_work_is_refused_before_settling_and_settling_before_copies() {
        let refused = |free_mib: u64, purpose| ration(free_mib << 10, 0, 0).refusal(purpose, 0).is_some();
        assert!(!refused(13, Purpose::Intake) && refused(12, Purpose::Intake));
        assert!(!refused(7, Purpose::Settle) && refused(6, Purpose::Settle));
        assert!(!refused(1, Purpose::Copy) && refused(0, Purpose::Copy));
    }

    #[test]
    fn what_is_about_to_be_written_counts() {
        let ration = ration(14 << 10, 0, 0);
        assert!(ration.refusal(Purpose::Intake, 1 << 20).is_none());
        assert!(ration.refusal(Purpose::Intake, 2 << 20).is_some());
    }

    #[test]
    fn what_the_index_has_yet_to_write_is_nobody_elses() {
        let owing = ration(14 << 10, 100_000, 1 << 20);
        assert!(owing.refusal(Purpose::Intake, 0).is_some());
        // The log, the leaves that are there, and what is new: 3 MiB.
        assert!(ration(3 << 10, 100_000, 1 << 20).fits_index());
        assert!(!ration((3 << 10) - 1, 100_000, 1 << 20).fits_index());
    }

    #[test]
    fn a_segment_can_be_copied_where_settling_has_to_wait() {
        let least = ration((1 << 10) + (64 << 10) / 12 + 1, 0, 0);
        assert!(least.refusal(Purpose::Settle, 0).is_none());
        assert!(least.copy_bytes_max() >= 4 << 20, "{least:?}");
    }
}
