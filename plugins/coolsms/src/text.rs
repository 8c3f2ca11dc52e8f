//! Text as Korean carriers take it: in EUC-KR (code page 949), counted in bytes.
//!
//! What the encoding can't hold is put in its nearest form where there is one, left out where it only decorates
//! (joiners, variation selectors), and becomes `?` otherwise, as the carriers themselves would do without saying so.

use encoding_rs::EUC_KR;

/// Bytes of an SMS.
pub(crate) const SMS_BYTES_MAX: usize = 90;
/// Bytes of an LMS.
pub(crate) const LMS_BYTES_MAX: usize = 2_000;
/// Bytes of an LMS's subject.
pub(crate) const SUBJECT_BYTES_MAX: usize = 40;

/// A text that the encoding can hold.
#[derive(Debug, PartialEq)]
pub(crate) struct Encodable {
    pub(crate) text: String,
    /// Characters that became `?`.
    pub(crate) replaced: usize,
}

/// Puts `text` into a form that EUC-KR can hold.
pub(crate) fn encodable(text: &str) -> Encodable {
    let mut out = Encodable { text: String::with_capacity(text.len()), replaced: 0 };
    for c in text.replace("\r\n", "\n").chars() {
        match nearest(c) {
            Some(c) if width(c).is_some() => out.text.push(c),
            Some(_) => {
                out.text.push('?');
                out.replaced += 1;
            }
            None => {}
        }
    }
    out
}

fn nearest(c: char) -> Option<char> {
    match c {
        // Zero-width joiners, variation selectors, skin tones, byte-order mark.
        '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{feff}' => None,
        '\u{a0}' | '\t' => Some(' '),
        '\u{2013}' | '\u{2010}' | '\u{2011}' | '\u{2212}' => Some('-'),
        '\u{2014}' => Some('\u{2015}'),
        '\n' => Some('\n'),
        c if c.is_control() => None,
        c => Some(c),
    }
}

/// Its bytes in EUC-KR; none if it has no place there.
fn width(c: char) -> Option<usize> {
    if c.is_ascii() {
        return Some(1);
    }
    let mut buffer = [0; 4];
    let (bytes, _, unmappable) = EUC_KR.encode(c.encode_utf8(&mut buffer));
    (!unmappable).then_some(bytes.len())
}

/// The bytes of an encodable text.
pub(crate) fn bytes(text: &str) -> usize {
    text.chars().filter_map(width).sum()
}

/// As much of an encodable text as fits, never half a character.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += width(c).unwrap_or(0);
        if used > max {
            return text.get(..at).unwrap_or(text);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hangul_takes_two_bytes_and_ascii_one() {
        assert_eq!(bytes("abc 123"), 7);
        assert_eq!(bytes("안녕하세요"), 10);
        assert_eq!(bytes("똠방각하 뷁 漢字 ①"), 19);
        assert_eq!(bytes(&"가".repeat(45)), SMS_BYTES_MAX);
    }

    #[test]
    fn what_has_no_place_is_replaced_or_left_out() {
        let of = |text: &str| {
            let Encodable { text, replaced } = encodable(text);
            (text, replaced)
        };
        assert_eq!(of("결제 💳 실패"), ("결제 ? 실패".to_owned(), 1));
        assert_eq!(of("👍🏽 ❤\u{fe0f}").1, 2);
        assert_eq!(of("a\u{a0}b–c—d\r\ne\u{7}"), ("a b-c―d\ne".to_owned(), 0));
    }

    #[test]
    fn a_cut_never_halves_a_character() {
        assert_eq!(cut("가나다", 5), "가나");
        assert_eq!(cut("a가나", 4), "a가");
        assert_eq!(cut("가나다", 6), "가나다");
        assert_eq!(cut("가", 1), "");
    }
}
