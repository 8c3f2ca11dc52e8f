//! Integers that JSON can spell and no reader here could carry: above 64 bits they would go on as the nearest float.

use serde_json::{Map, Value};

use super::invalid;
use crate::api::problem::Problem;

/// No integer beyond 64 bits is nearer to zero: the least of them is -2^63.
const SUSPECT: f64 = 9_223_372_036_854_775_808.0;

/// Refuses an integer of more than 64 bits anywhere in `object`, which stands at `pointer` of `json`.
pub(super) fn refuse_lost(
    json: &[u8],
    pointer: &'static str,
    object: Option<&Map<String, Value>>,
) -> Result<(), Problem> {
    // Nearly always there is none, and then the text need not be looked at.
    let mut suspects = Vec::new();
    object.into_iter().flat_map(Map::values).for_each(|value| large_floats(value, &mut suspects));
    if suspects.is_empty() {
        return Ok(());
    }
    let came_here = |text: &&str| text.parse::<f64>().is_ok_and(|float| suspects.contains(&float));
    let Some(integer) = integers(json).filter(|text| is_lost(text)).find(came_here) else { return Ok(()) };
    let shown: String = integer.chars().take(40).collect();
    let more = if shown.len() < integer.len() { "..." } else { "" };
    let why = format!(
        "{shown}{more} is an integer of more than 64 bits, and would lose digits on its way: send it as a string"
    );
    Err(invalid(pointer, why))
}

fn large_floats(value: &Value, found: &mut Vec<f64>) {
    match value {
        Value::Number(number) if number.is_f64() => {
            found.extend(number.as_f64().filter(|float| float.abs() >= SUSPECT));
        }
        Value::Array(items) => items.iter().for_each(|item| large_floats(item, found)),
        Value::Object(members) => members.values().for_each(|member| large_floats(member, found)),
        _ => {}
    }
}

fn is_lost(integer: &str) -> bool {
    integer.parse::<u64>().is_err() && integer.parse::<i64>().is_err()
}

/// The integers of a text that is JSON: numbers without a fraction or an exponent, outside of strings.
fn integers(json: &[u8]) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        loop {
            let (first, after) = rest.split_first()?;
            match first {
                b'"' => rest = after_string(after),
                b'-' | b'0'..=b'9' => {
                    let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                    let end = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
                    let (number, after) = rest.split_at(end);
                    rest = after;
                    if !number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
                        return std::str::from_utf8(number).ok();
                    }
                }
                _ => rest = after,
            }
        }
    })
}

/// What comes after the string whose quote was just passed.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'"' => return after,
            b'\\' => after.get(1..).unwrap_or_default(),
            _ => after,
        };
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> Option<String> {
        let object: Map<String, Value> = serde_json::from_str(json).unwrap();
        let refused = refuse_lost(json.as_bytes(), "/data", Some(&object));
        refused.err().map(|problem| problem.detail().to_owned())
    }

    #[test]
    fn integers_above_64_bits_are_refused_wherever_they_are() {
        for integer in
            ["18446744073709551616", "-9223372036854775809", "123456789012345678901234567890123456789012345"]
        {
            for json in [
                format!(r#"{{"n":{integer}}}"#),
                format!(r#"{{"a":"\\","b":[1e300,{{"n": {integer} }}]}}"#),
                format!(r#"{{"12":"\"-3","n":[-{integer}]}}"#).replace("--", "-"),
            ] {
                let why = refused(&json).unwrap_or_else(|| panic!("{json} was taken"));
                assert!(why.contains("send it as a string"), "{why}");
            }
        }
    }

    #[test]
    fn what_loses_nothing_is_taken() {
        for json in [
            r#"{"n":18446744073709551615,"m":-9223372036854775808}"#,
            r#"{"n":1e30,"m":-2.5e300,"o":18446744073709551616.0}"#,
            r#"{"n":1e30,"s":"18446744073709551616","t":"\"18446744073709551616"}"#,
            r#"{"18446744073709551616":1e30}"#,
        ] {
            assert_eq!(refused(json), None, "{json}");
        }
    }
}
