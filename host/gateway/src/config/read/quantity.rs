//! Durations and sizes as people write them: `"500ms"`, `"1s"`, `"24h"`; `"256 KiB"`.

use std::time::Duration;

/// Units of time in milliseconds, the longest first.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A duration with its unit; whole numbers only.
pub(in crate::config) fn duration(text: &str) -> Option<Duration> {
    amount(text, &TIME_UNITS).map(Duration::from_millis)
}

/// A size in bytes with its unit.
pub(in crate::config) fn size(text: &str) -> Option<u64> {
    amount(text, &SIZE_UNITS)
}

fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A duration as it would be written.
pub(in crate::config) fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &TIME_UNITS, "ms", "")
}

/// A size as it would be written.
pub(in crate::config) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZE_UNITS, "B", " ")
}

fn show(amount: u64, units: &[(&str, u64)], smallest: &str, gap: &str) -> String {
    // "1m" for a minute, but "90s" for a minute and a half.
    let whole = units.iter().find(|(_, factor)| amount > 0 && amount.is_multiple_of(*factor));
    let (unit, factor) = whole.copied().unwrap_or((smallest, 1));
    format!("{}{gap}{unit}", amount / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_carry_their_unit() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1s"), Some(Duration::from_secs(1)));
        assert_eq!(duration("5 m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("24h"), Some(Duration::from_secs(86_400)));
        assert_eq!(size("256 KiB"), Some(262_144));
        assert_eq!(size("16MiB"), Some(16 << 20));
        for text in ["", "1", "s", "1.5s", "-1s", "1 week", "99999999999999999999s", "999999999999999999d"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for ms in [0, 1, 999, 1_000, 90_000, 3_600_000, 86_400_000] {
            let duration_shown = show_duration(Duration::from_millis(ms));
            assert_eq!(duration(&duration_shown), Some(Duration::from_millis(ms)), "{duration_shown}");
        }
        assert_eq!(show_size(262_144), "256 KiB");
        assert_eq!(show_duration(Duration::from_secs(86_400)), "1d");
    }
}
