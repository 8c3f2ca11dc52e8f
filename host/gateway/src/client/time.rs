//! Points in time on the command line: RFC 3339, or a length of time from now.

use std::time::Duration;

use fanfare_model::clock::{Clock as _, SystemClock};
use fanfare_model::time::Timestamp;

/// A length of time such as `90s`, `15m`, `2h` or `7d`.
pub(super) fn length(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no length of time; write such as 90s, 15m, 2h or 7d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let seconds: u64 = match unit.trim_start() {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// An instant that has passed: RFC 3339, or so long ago.
pub(super) fn past(text: &str) -> Result<Timestamp, String> {
    instant(text, Timestamp::minus)
}

/// An instant to come: RFC 3339, or in so long.
pub(super) fn future(text: &str) -> Result<Timestamp, String> {
    instant(text, Timestamp::plus)
}

fn instant(text: &str, moved: impl FnOnce(Timestamp, Duration) -> Timestamp) -> Result<Timestamp, String> {
    match length(text) {
        Ok(length) => Ok(moved(SystemClock::new().now(), length)),
        Err(_) => text
            .parse()
            .map_err(|_| format!("{text:?} is no time; write such as 2h or 2026-03-01T09:00:00Z (RFC 3339)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_a_length_from_now() {
        let date = "2026-03-01T09:00:00Z";
        assert_eq!(past(date).unwrap(), date.parse().unwrap());
        assert!(past("2h").unwrap() < future("90s").unwrap());
        assert_eq!(length("15m").unwrap(), Duration::from_secs(900));
        for text in ["", "5", "h", "-1h", "2 weeks", "99999999999999999999s", "9999999999999999999d"] {
            assert!(length(text).is_err(), "{text}");
            assert!(past(text).unwrap_err().contains("RFC 3339"), "{text}");
        }
    }
}
