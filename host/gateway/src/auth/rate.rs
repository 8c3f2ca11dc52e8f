//! How fast one API key may submit: a token bucket of its own, counted in notifications.
//!
//! Kept as one instant (the generic cell rate algorithm): when the bucket will be full again. Nothing runs in the
//! background, and a refusal changes nothing. Written here, and not taken from a crate, because it has to follow our
//! clock and outlive a reload, and is all of a dozen lines.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What one key may submit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Notifications a second, on average.
    pub per_second: f64,
    /// Notifications at once after a pause.
    pub burst: u32,
}

/// Why a request is refused; nothing was taken for it.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum Limited {
    /// It would pass later.
    #[error("the key {key} may submit {per_second} notifications a second, and {burst} at once")]
    Wait {
        /// The key's name.
        key: String,
        /// Its rate.
        per_second: f64,
        /// Its burst.
        burst: u32,
        /// When it would pass, if nothing else came.
        retry_after: Duration,
    },
    /// It would never pass.
    #[error(
        "the key {key} may submit {burst} notifications at once; this batch has {count}: send smaller ones"
    )]
    Never {
        /// The key's name.
        key: String,
        /// Its burst.
        burst: u32,
        /// What was asked for.
        count: usize,
    },
}

/// The bucket of one key.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// On the monotonic clock.
    full_at: Mutex<Duration>,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, full_at: Mutex::default() }
    }

    /// What it was made with.
    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes `count` at `now`, all of it or nothing.
    pub(super) fn take(&self, key: &str, count: usize, now: Duration) -> Result<(), Limited> {
        let Rate { per_second, burst } = self.rate;
        let count_or_most = u32::try_from(count).unwrap_or(u32::MAX);
        if count_or_most > burst {
            return Err(Limited::Never { key: key.to_owned(), burst, count });
        }
        let room = Duration::from_secs_f64(f64::from(burst) / per_second);
        let cost = Duration::from_secs_f64(f64::from(count_or_most) / per_second);
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*full_at).max(now) + cost;
        match next.checked_sub(now + room) {
            Some(wait) if !wait.is_zero() => {
                Err(Limited::Wait { key: key.to_owned(), per_second, burst, retry_after: wait })
            }
            _ => {
                *full_at = next;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(result: Result<(), Limited>) -> Option<Duration> {
        match result {
            Ok(()) => None,
            Err(Limited::Wait { retry_after, .. }) => Some(retry_after),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_its_rate() {
        let bucket = Bucket::new(Rate { per_second: 2.0, burst: 3 });
        let at = |ms: u64| Duration::from_secs(100) + Duration::from_millis(ms);
        for _ in 0..3 {
            assert_eq!(wait(bucket.take("ci", 1, at(0))), None);
        }
        assert_eq!(wait(bucket.take("ci", 1, at(0))), Some(Duration::from_millis(500)));
        assert_eq!(wait(bucket.take("ci", 1, at(499))), Some(Duration::from_millis(1)));
        assert_eq!(wait(bucket.take("ci", 1, at(500))), None);
        // However long the pause, no more than the burst.
        assert_eq!(wait(bucket.take("ci", 3, at(900_000))), None);
        assert_eq!(wait(bucket.take("ci", 1, at(900_000))), Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_batch_passes_whole_or_not_at_all() {
        let bucket = Bucket::new(Rate { per_second: 1.0, burst: 10 });
        assert_eq!(wait(bucket.take("ci", 8, Duration::ZERO)), None);
        assert_eq!(wait(bucket.take("ci", 5, Duration::ZERO)), Some(Duration::from_secs(3)));
        // The refusal took nothing.
        assert_eq!(wait(bucket.take("ci", 2, Duration::ZERO)), None);
    }

    #[test]
    fn a_batch_that_could_never_pass_is_told_so() {
        let bucket = Bucket::new(Rate { per_second: 1.0, burst: 10 });
        let refused = bucket.take("ci", 11, Duration::ZERO).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the key ci may submit 10 notifications at once; this batch has 11: send smaller ones"
        );
    }
}
