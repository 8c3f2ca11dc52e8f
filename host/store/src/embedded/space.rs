//! Room on the disk: below the reserve, new work is refused and accepted work goes on.
//!
//! The reserve is what settling, the index and the next segment live on, so that sled never meets a full disk,
//! which it does not survive. Asking costs a system call, so an answer is used for [`CHECK_EVERY`].

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::files::{Files, Room};
use crate::engine::CommitError;

const CHECK_EVERY: Duration = Duration::from_millis(100);

const RESERVE_BYTES_MIN: u64 = 12 << 20;
const RESERVE_BYTES_MAX: u64 = 1 << 30;

/// Watches the room on one disk.
#[derive(Debug)]
pub(crate) struct Space {
    files: Arc<dyn Files>,
    path: PathBuf,
    reserve: Option<u64>,
    last: Mutex<Option<(Instant, Option<CommitError>)>>,
}

/// 5 % of the disk, within bounds.
fn reserve_of(room: Room) -> u64 {
    (room.total / 20).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX)
}

impl Space {
    pub(crate) fn new(files: Arc<dyn Files>, path: PathBuf, reserve: Option<u64>) -> Self {
        Self { files, path, reserve, last: Mutex::new(None) }
    }

    /// Why new work is refused at the moment.
    pub(crate) fn refusal(&self) -> Option<CommitError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, refusal)) = &*last
            && at.elapsed() < CHECK_EVERY
        {
            return refusal.clone();
        }
        let was_refusing = matches!(&*last, Some((_, Some(_))));
        let refusal = self.check();
        if let (Some(error), false) = (&refusal, was_refusing) {
            tracing::warn!(error = %error, path = %self.path.display(), "intake stopped: disk nearly full");
        }
        if refusal.is_none() && was_refusing {
            tracing::info!(path = %self.path.display(), "intake goes on: disk has room again");
        }
        *last = Some((Instant::now(), refusal.clone()));
        refusal
    }

    fn check(&self) -> Option<CommitError> {
        let room = match self.files.room(&self.path) {
            Ok(room) => room,
            Err(error) => return Some(CommitError::Full(format!("its room is unknown: {error}"))),
        };
        let reserve = self.reserve.unwrap_or_else(|| reserve_of(room));
        (room.free < reserve).then(|| {
            CommitError::Full(format!(
                "{} MiB are free at {}, and {} MiB are kept in reserve",
                room.free >> 20,
                self.path.display(),
                reserve >> 20
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_twentieth_within_bounds() {
        let of = |total| reserve_of(Room { free: 0, total });
        assert_eq!(of(1 << 20), RESERVE_BYTES_MIN);
        assert_eq!(of(2 << 30), (2 << 30) / 20);
        assert_eq!(of(1 << 50), RESERVE_BYTES_MAX);
    }
}
