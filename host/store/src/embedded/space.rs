//! Room on the disk: below the reserve, new work is refused and accepted work goes on.
//!
//! The reserve is what settling, reclaim, the index and the next segment live on. It has three floors. Under the
//! first, new work is refused; under a quarter of it settling waits too, so that reclaim has room for its copies;
//! under an eighth (and never more than what a flush may need) the index is not written, because sled does not
//! survive a full disk, and everything is in the journal already. Each goes on by itself when there is room again.
//!
//! Asking costs a system call, so an answer is used for [`CHECK_EVERY`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::files::{Files, Room};
use crate::engine::{Class, CommitError};

const CHECK_EVERY: Duration = Duration::from_millis(100);

const RESERVE_BYTES_MIN: u64 = 12 << 20;
const RESERVE_BYTES_MAX: u64 = 1 << 30;

/// A segment is at most this part of the disk, so that a small one has several, and room to copy one.
const SEGMENTS_A_DISK: u64 = 16;
const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// What a flush of the index writes, at the most: its log, and one leaf for each key.
const FLUSH_BYTES: u64 = 2 << 20;
const LEAF_BYTES: u64 = 4 << 10;

/// Watches the room on one disk.
#[derive(Debug)]
pub(crate) struct Space {
    files: Arc<dyn Files>,
    path: PathBuf,
    reserve: Option<u64>,
    last: Mutex<Option<(Instant, Result<Room, String>)>>,
    refusing: AtomicBool,
}

/// 5 % of the disk, within bounds.
fn reserve_of(room: Room) -> u64 {
    (room.total / 20).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX)
}

impl Space {
    pub(crate) fn new(files: Arc<dyn Files>, path: PathBuf, reserve: Option<u64>) -> Self {
        Self { files, path, reserve, last: Mutex::new(None), refusing: AtomicBool::new(false) }
    }

    /// Why work of a class is refused at the moment.
    pub(crate) fn refusal(&self, class: Class) -> Option<CommitError> {
        let refusal = match (self.room(), class) {
            (Ok(room), _) => self.short_of(room, class),
            (Err(error), Class::Intake) => Some(CommitError::Full(format!("its room is unknown: {error}"))),
            // The journal itself will say so where there is none.
            (Err(_), Class::Settle) => None,
        };
        if class == Class::Intake {
            self.tell(refusal.as_ref());
        }
        refusal
    }

    fn short_of(&self, room: Room, class: Class) -> Option<CommitError> {
        let reserve = self.reserve(room);
        let floor = if class == Class::Intake { reserve } else { reserve / 4 };
        (room.free < floor).then(|| {
            CommitError::Full(format!(
                "{} MiB are free at {}, and {} MiB are kept in reserve",
                room.free >> 20,
                self.path.display(),
                reserve >> 20
            ))
        })
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

    /// Whether space must be given back before anything else: new work is refused, or will be soon.
    pub(crate) fn is_short(&self) -> bool {
        self.room().is_ok_and(|room| room.free < self.reserve(room).saturating_mul(5) / 4)
    }

    /// Whether so many keys can be written to the index without filling the disk. Never an old answer.
    pub(crate) fn index_fits(&self, keys: usize) -> bool {
        match self.files.room(&self.path) {
            Err(_) => false,
            Ok(room) => {
                let most = FLUSH_BYTES.saturating_add(LEAF_BYTES.saturating_mul(keys as u64));
                room.free >= most.min(self.reserve(room) / 8)
            }
        }
    }

    /// How long a segment may be on this disk.
    pub(crate) fn segment_bytes(&self, wanted: u64) -> u64 {
        match self.files.room(&self.path) {
            Err(_) => wanted,
            Ok(room) => wanted.min((room.total / SEGMENTS_A_DISK).max(SEGMENT_BYTES_MIN)),
        }
    }

    fn reserve(&self, room: Room) -> u64 {
        self.reserve.unwrap_or_else(|| reserve_of(room))
    }

    fn room(&self) -> Result<Room, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, room)) = &*last
            && at.elapsed() < CHECK_EVERY
        {
            return room.clone();
        }
        let room = self.files.room(&self.path).map_err(|error| error.to_string());
        *last = Some((Instant::now(), room.clone()));
        room
    }
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

    #[test]
    fn intake_stops_at_the_reserve_and_settling_at_a_quarter_of_it() {
        let space = Space::new(Arc::new(Disk), PathBuf::from("/data"), None);
        let refused = |free_mib: u64, class| {
            space.short_of(Room { free: free_mib << 20, total: 64 << 20 }, class).is_some()
        };
        assert!(!refused(12, Class::Intake) && refused(11, Class::Intake));
        assert!(!refused(3, Class::Settle) && refused(2, Class::Settle));
    }
}
