//! Windows in the day: `{ from = "22:00", to = "07:00", zone = "Asia/Seoul", days = ["fri", "sat"] }`.
//!
//! `from` is inside, `to` is not. A window that ends before it begins runs over midnight, and belongs to the day on which
//! it began. Zones are IANA names, or offsets such as `+09:00`.

use std::borrow::Cow;

use fanfare_sdk::prelude::*;
use fanfare_sdk::schemars::{Schema, SchemaGenerator, json_schema};
use jiff::tz::{Offset, TimeZone};

const MINUTES_A_DAY: u16 = 1_440;

/// When a rule holds.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    from: Minute,
    to: Minute,
    /// UTC where it says nothing.
    #[serde(default)]
    zone: Zone,
    /// Every day where it says nothing.
    #[serde(default)]
    days: Vec<Day>,
}

/// A day of the week, in the order of the calendar library's Monday-zero offset.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

const WEEK: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];

/// A minute of the day, written `HH:MM`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
struct Minute(u16);

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(try_from = "String")]
struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Window {
    /// Whether `now_ms` is inside.
    pub(crate) fn contains(&self, now_ms: u64) -> bool {
        let instant = i64::try_from(now_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let Some(instant) = instant else { return false };
        let local = instant.to_zoned(self.zone.0.clone());
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let (from, to) = (self.from.0, self.to.0);
        if from < to {
            return (from..to).contains(&minute) && self.holds_on(today);
        }
        (minute >= from && self.holds_on(today)) || (minute < to && self.holds_on(today + 6))
    }

    fn holds_on(&self, day: usize) -> bool {
        self.days.is_empty() || WEEK.get(day % 7).is_some_and(|day| self.days.contains(day))
    }
}

impl TryFrom<String> for Minute {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let two = |digits: &str| -> Option<u16> {
            (digits.len() == 2 && digits.chars().all(|c| c.is_ascii_digit())).then(|| digits.parse().ok())?
        };
        let minute = text.split_once(':').and_then(|(hour, minute)| {
            let (hour, minute) = (two(hour)?, two(minute)?);
            (minute < 60).then_some(hour * 60 + minute)
        });
        // 24:00 is a way to say "until the end of the day".
        let valid = minute.filter(|minute| *minute <= MINUTES_A_DAY);
        valid.map(Self).ok_or_else(|| format!("{text:?} is no time of day such as \"09:00\""))
    }
}

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let zone = if text.starts_with(['+', '-']) { offset(&text) } else { TimeZone::get(&text).ok() };
        zone.map(Self).ok_or_else(|| format!("{text:?} is no time zone such as \"Asia/Seoul\" or \"+09:00\""))
    }
}

fn offset(text: &str) -> Option<TimeZone> {
    let (sign, rest) = text.split_at_checked(1)?;
    let Minute(minutes) = Minute::try_from(rest.to_owned()).ok()?;
    let seconds = i32::from(minutes) * if sign == "-" { -60 } else { 60 };
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

impl JsonSchema for Minute {
    fn schema_name() -> Cow<'static, str> {
        "TimeOfDay".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$" })
    }
}

impl JsonSchema for Zone {
    fn schema_name() -> Cow<'static, str> {
        "TimeZone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "An IANA name, or an offset such as +09:00." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(value: Value) -> Window {
        fanfare_sdk::serde_json::from_value(value).unwrap()
    }

    fn ms(text: &str) -> u64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond().unsigned_abs()
    }

    #[test]
    fn a_window_begins_inside_and_ends_outside() {
        let window = window(json!({ "from": "09:00", "to": "18:00" }));
        for (at, inside) in [("08:59:59", false), ("09:00:00", true), ("17:59:59", true), ("18:00:00", false)]
        {
            assert_eq!(window.contains(ms(&format!("2026-11-21T{at}Z"))), inside, "{at}");
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_began() {
        // 2026-11-20 is a Friday.
        let window = window(json!({ "from": "22:00", "to": "07:00", "days": ["fri"] }));
        assert!(window.contains(ms("2026-11-20T23:00:00Z")));
        assert!(window.contains(ms("2026-11-21T06:59:00Z")));
        assert!(!window.contains(ms("2026-11-21T23:00:00Z")));
        assert!(!window.contains(ms("2026-11-20T06:00:00Z")));
    }

    #[test]
    fn zones_are_names_or_offsets_and_know_summer_time() {
        let nine = |zone: &str| window(json!({ "from": "09:00", "to": "09:01", "zone": zone }));
        assert!(nine("Asia/Seoul").contains(ms("2026-11-21T00:00:00Z")));
        assert!(nine("+09:00").contains(ms("2026-11-21T00:00:00Z")));
        assert!(nine("-03:30").contains(ms("2026-11-21T12:30:00Z")));
        assert!(nine("America/New_York").contains(ms("2026-01-15T14:00:00Z")));
        assert!(nine("America/New_York").contains(ms("2026-07-15T13:00:00Z")));
    }

    #[test]
    fn equal_ends_are_the_whole_day_and_24_00_is_its_end() {
        assert!(window(json!({ "from": "00:00", "to": "00:00" })).contains(ms("2026-11-21T12:00:00Z")));
        assert!(window(json!({ "from": "18:00", "to": "24:00" })).contains(ms("2026-11-21T23:59:59Z")));
    }

    #[test]
    fn bad_times_and_zones_are_refused_with_an_example() {
        let refused =
            |value: Value| fanfare_sdk::serde_json::from_value::<Window>(value).unwrap_err().to_string();
        assert!(refused(json!({ "from": "9:00", "to": "18:00" })).contains("09:00"));
        assert!(refused(json!({ "from": "25:00", "to": "18:00" })).contains("09:00"));
        assert!(refused(json!({ "from": "09:00", "to": "18:60" })).contains("09:00"));
        assert!(
            refused(json!({ "from": "09:00", "to": "18:00", "zone": "Mars/Olympus" })).contains("Asia/Seoul")
        );
    }
}
