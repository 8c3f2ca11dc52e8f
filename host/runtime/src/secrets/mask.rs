//! Finds secret values in what comes back, in the forms a server is likely to echo them, and masks them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::Secret;
use super::encode::{self, Hex, UNRESERVED};

const MASK: &[u8] = b"***";
/// Shorter values are looked for as they are only: their encoded forms would match by chance.
const ENCODED_FORMS_FROM_BYTES: usize = 6;

/// The forms to look for, longest first, so that no form hides a longer one that contains it.
#[derive(Clone, Default)]
pub(super) struct Masks {
    forms: Vec<Vec<u8>>,
}

/// The forms are the secrets, so only their number shows.
impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masks({})", self.forms.len())
    }
}

impl Masks {
    pub(super) fn of<'s>(secrets: impl Iterator<Item = &'s Secret>) -> Self {
        let mut forms: Vec<Vec<u8>> = secrets.flat_map(|secret| forms(secret.expose())).collect();
        forms.retain(|form| !form.is_empty());
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { forms }
    }

    pub(super) fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        for form in &self.forms {
            if find(&bytes, form).is_some() {
                bytes = replaced(&bytes, form);
            }
        }
        bytes
    }
}

fn forms(value: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_owned()];
    // What a client trims, a server may echo trimmed.
    forms.push(value.trim().to_owned());
    if value.len() >= ENCODED_FORMS_FROM_BYTES {
        forms.push(encode::json(value));
        forms.push(encode::json(value).replace('/', "\\/"));
        forms.push(encode::form(value));
        for hex in [Hex::Upper, Hex::Lower] {
            forms.push(encode::percent(value, UNRESERVED, hex));
            forms.push(encode::percent(value, b"-._~!$&'()*+,;=:@/", hex));
        }
        forms.extend(base64_forms(value));
    }
    forms.into_iter().map(String::into_bytes).collect()
}

/// A value inside a longer text that was encoded as a whole looks different for each of three alignments. The
/// first and last characters of each depend on the neighbours, and are left out.
fn base64_forms(value: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for shift in 0..3_usize {
        let mut bytes = vec![0; shift];
        bytes.extend_from_slice(value.as_bytes());
        let whole = bytes.len() / 3 * 4;
        let skipped = if shift == 0 { 0 } else { 4 };
        for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
            if shift == 0 {
                forms.push(text.clone());
            }
            forms.extend(text.get(skipped..whole).map(str::to_owned));
        }
    }
    forms
}

fn find(bytes: &[u8], form: &[u8]) -> Option<usize> {
    let (first, rest) = form.split_first()?;
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| byte == first) {
        let start = from + at;
        if bytes.get(start + 1..)?.starts_with(rest) {
            return Some(start);
        }
        from = start + 1;
    }
    None
}

fn replaced(bytes: &[u8], form: &[u8]) -> Vec<u8> {
    let mut masked = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = find(rest, form) {
        let (before, after) = rest.split_at(at);
        masked.extend_from_slice(before);
        masked.extend_from_slice(MASK);
        rest = after.get(form.len()..).unwrap_or_default();
    }
    masked.extend_from_slice(rest);
    masked
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn masked(value: &str, text: &str) -> String {
        let secret = Secret::new(value);
        let masks = Masks::of(std::iter::once(&secret));
        String::from_utf8(masks.apply(text.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn a_value_is_masked_wherever_it_stands() {
        assert_eq!(masked("hunter2!", "a hunter2!hunter2! b hunter2"), "a ****** b hunter2");
        assert_eq!(masked("", "nothing"), "nothing");
        assert_eq!(masked("abc", "YWJj abc"), "YWJj ***");
    }

    #[test]
    fn encoded_forms_are_masked_too() {
        let value = "s3cr3t/ \"k\"";
        for echo in [
            "%73 s3cr3t%2F%20%22k%22",
            "s3cr3t%2f%20%22k%22",
            "s3cr3t%2F+%22k%22",
            "s3cr3t/ \\\"k\\\"",
            "s3cr3t\\/ \\\"k\\\"",
        ] {
            assert!(masked(value, echo).contains("***"), "{echo}: {}", masked(value, echo));
        }
    }

    #[test]
    fn base64_of_a_longer_text_leaks_at_most_a_character_or_two_at_the_edges() {
        let value = "correct-horse-battery-staple";
        for before in ["", "u", "us", "use", "user:"] {
            let echo = STANDARD.encode(format!("{before}{value}tail"));
            let text = masked(value, &echo);
            assert!(text.contains("***"), "{echo}");
            assert!(text.len() < 26, "{before:?}: {text}");
        }
    }
}
