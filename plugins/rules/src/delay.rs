//! Delays as people write them: `90s`, `5m`, `1h30m`, `2d`.

use std::borrow::Cow;

use fanfare_sdk::prelude::*;
use fanfare_sdk::schemars::{Schema, SchemaGenerator, json_schema};

/// The longest delay, 30 days: as long as history is kept.
const MS_MAX: u64 = 30 * 86_400_000;

/// One delay.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(try_from = "String")]
pub(crate) struct Delay {
    pub(crate) ms: u64,
}

impl JsonSchema for Delay {
    fn schema_name() -> Cow<'static, str> {
        "Delay".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$" })
    }
}

impl TryFrom<String> for Delay {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match parse(&text) {
            Some(ms) if ms <= MS_MAX => Ok(Self { ms }),
            Some(_) => Err(format!("the delay {text:?} is longer than 30 days")),
            None => Err(format!("{text:?} is no delay such as \"90s\", \"5m\" or \"1h30m\"")),
        }
    }
}

fn parse(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        for (text, ms) in [
            ("0s", 0),
            ("250ms", 250),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(Delay::try_from(text.to_owned()), Ok(Delay { ms }), "{text}");
        }
    }

    #[test]
    fn what_is_no_delay_is_refused_with_an_example() {
        for text in ["", "5", "m", "5 m", "-5m", "5w", "1.5h", "99999999999999999999s"] {
            assert!(Delay::try_from(text.to_owned()).unwrap_err().contains("1h30m"), "{text}");
        }
        assert!(Delay::try_from("31d".to_owned()).unwrap_err().contains("30 days"));
    }
}
