//! How a value is written so that it means itself in the place where it stands.

use std::fmt::Write as _;

/// Where a marker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A URL's path. Slashes stay, because whole paths such as Slack's are secrets.
    Path,
    /// A URL's query.
    Query,
    /// A header's value: as it is, and refused with a line break or NUL.
    Header,
    /// A body.
    Body(BodyKind),
}

/// What a body is, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// JSON: the value is escaped as inside a string.
    Json,
    /// A form: the value is percent-encoded.
    Form,
    /// Anything else: the value as it is.
    Raw,
}

/// The value, written for its place; `None` where it can't stand there at all.
pub(super) fn written(value: &str, place: Place) -> Option<String> {
    match place {
        Place::Path => Some(percent(value, b"-._~!$&'()*+,;=:@/", Hex::Upper)),
        Place::Query => Some(percent(value, UNRESERVED, Hex::Upper)),
        Place::Header => (!value.contains(['\r', '\n', '\0'])).then(|| value.to_owned()),
        Place::Body(BodyKind::Json) => Some(json(value)),
        Place::Body(BodyKind::Form) => Some(form(value)),
        Place::Body(BodyKind::Raw) => Some(value.to_owned()),
    }
}

/// RFC 3986, section 2.3, besides letters and digits.
pub(super) const UNRESERVED: &[u8] = b"-._~";

#[derive(Clone, Copy)]
pub(super) enum Hex {
    Upper,
    Lower,
}

/// Percent-encodes all but letters, digits and `kept`.
pub(super) fn percent(value: &str, kept: &[u8], hex: Hex) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            text.push(char::from(byte));
            continue;
        }
        // Writing to a string can't fail.
        let _ = match hex {
            Hex::Upper => write!(text, "%{byte:02X}"),
            Hex::Lower => write!(text, "%{byte:02x}"),
        };
    }
    text
}

pub(super) fn form(value: &str) -> String {
    percent(value, b"-._*", Hex::Upper).replace("%20", "+")
}

/// As inside the quotes of a JSON string.
pub(super) fn json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).map_or_else(String::new, str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_own_writing() {
        let value = "a b/c?d\"é%";
        assert_eq!(written(value, Place::Path).unwrap(), "a%20b/c%3Fd%22%C3%A9%25");
        assert_eq!(written(value, Place::Query).unwrap(), "a%20b%2Fc%3Fd%22%C3%A9%25");
        assert_eq!(written(value, Place::Header).unwrap(), value);
        assert_eq!(written(value, Place::Body(BodyKind::Json)).unwrap(), "a b/c?d\\\"é%");
        assert_eq!(written(value, Place::Body(BodyKind::Form)).unwrap(), "a+b%2Fc%3Fd%22%C3%A9%25");
        assert_eq!(written(value, Place::Body(BodyKind::Raw)).unwrap(), value);
    }

    #[test]
    fn a_line_break_can_not_stand_in_a_header() {
        for value in ["a\r", "a\nb", "\0"] {
            assert_eq!(written(value, Place::Header), None);
        }
    }
}
