//! Patterns in which `*` stands for any run of characters, dots included; everything else stands for itself.

use fanfare_sdk::prelude::*;

/// One pattern.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(transparent)]
pub(crate) struct Glob(String);

impl Glob {
    /// Whether it matches all of `text`. Linear in the text for each star: no pattern makes it slow.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == text };
        let Some(mut text) = text.strip_prefix(first) else { return false };
        let mut pieces: Vec<&str> = rest.split('*').collect();
        let last = pieces.pop().unwrap_or_default();
        for piece in pieces {
            let Some((_, after)) = text.split_once(piece) else { return false };
            text = after;
        }
        text.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters_dots_included() {
        let matches = |pattern: &str, text: &str| Glob(pattern.to_owned()).matches(text);
        for (pattern, text) in [
            ("payment.*", "payment.failed"),
            ("payment.*", "payment.card.failed"),
            ("payment.*", "payment."),
            ("*", ""),
            ("*.failed", "payment.card.failed"),
            ("a*b*c", "a.b.b.c"),
            ("*결제*", "x결제y"),
            ("exact", "exact"),
            ("**", "x"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("payment.*", "payment"),
            ("a*b", "a"),
            ("ab*ba", "aba"),
            ("exact", "exact.ly"),
            ("", "x"),
            ("a.c", "abc"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
