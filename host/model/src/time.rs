//! Points in time as milliseconds since 1970-01-01T00:00:00Z, and their RFC 3339 text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A point in time, in whole milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

/// The latest instant that the calendar library prints: 9999-12-30T21:59:59.999Z.
const LATEST_MS: u64 = 253_402_207_199_999;

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// From milliseconds since the epoch; later than the year 9999 becomes nearly its end.
    #[must_use]
    pub fn from_ms(ms: u64) -> Self {
        Self(ms.min(LATEST_MS))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn as_ms(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn as_s(self) -> u64 {
        self.0 / 1_000
    }

    /// This instant moved into the future by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self::from_ms(self.0.saturating_add(ms))
    }

    /// This instant moved into the past by `by`, no earlier than the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(ms))
    }

    /// How long after `earlier` this instant is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(ms) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "@{ms}ms"),
        }
    }
}

/// A text that is not an RFC 3339 date and time with an offset.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an RFC 3339 date and time such as 2026-11-21T09:30:00Z")]
pub struct BadTimestamp(pub String);

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        let bad = || BadTimestamp(text.to_owned());
        let instant: jiff::Timestamp = text.parse().map_err(|_| bad())?;
        let ms = u64::try_from(instant.as_millisecond()).map_err(|_| bad())?;
        Ok(Self::from_ms(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_a_round_trip_to_the_millisecond() {
        let at: Timestamp = "2026-11-21T09:30:00.125+09:00".parse().unwrap();
        assert_eq!(at.to_string(), "2026-11-21T00:30:00.125Z");
        assert_eq!(at.to_string().parse(), Ok(at));
    }

    #[test]
    fn a_date_without_an_offset_or_before_1970_is_refused() {
        for text in ["2026-11-21T09:30:00", "2026-11-21", "tomorrow", "", "1960-01-01T00:00:00Z"] {
            assert_eq!(text.parse::<Timestamp>(), Err(BadTimestamp(text.to_owned())));
        }
    }

    #[test]
    fn sums_stay_inside_what_can_be_printed() {
        let end = Timestamp::from_ms(u64::MAX);
        assert_eq!(end.plus(Duration::MAX).to_string(), "9999-12-30T21:59:59.999Z");
        assert_eq!(Timestamp::EPOCH.minus(Duration::from_secs(5)), Timestamp::EPOCH);
    }
}
