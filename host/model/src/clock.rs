//! The one door for time: a wall clock and a monotonic clock, behind a trait so that tests can move both.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::time::Timestamp;

/// What time it is, twice: on the wall, where it can jump, and since some start, where it can't.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary start; never goes back.
    fn elapsed(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the door that the lint points to")]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp::EPOCH.plus(since_epoch.unwrap_or_default())
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that moves only when it is told to.
#[derive(Debug)]
pub struct ManualClock {
    at: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    /// A clock standing at `now`, with its monotonic side at zero.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { at: Mutex::new((now, Duration::ZERO)) }
    }

    /// Moves both sides forward.
    pub fn advance(&self, by: Duration) {
        let mut at = self.at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *at = (at.0.plus(by), at.1 + by);
    }

    /// Steps the wall clock alone, as an administrator or NTP would.
    pub fn step_wall(&self, to: Timestamp) {
        self.at.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0 = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.at.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0
    }

    fn elapsed(&self) -> Duration {
        self.at.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1
    }
}
