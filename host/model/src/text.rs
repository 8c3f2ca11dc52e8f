//! Text of plugins and receivers, made fit to be shown.
//!
//! It stands in answers, logs and terminals beside the gateway's own words, so it must not be able to move the cursor, to begin
//! a line, or to show itself in another order than it is read.

use std::any::Any;

/// The text with a space in the place of each control character, line or paragraph separator, and mark that turns the direction
/// of what follows. What joins the parts of a letter or an emoji stays.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { ' ' }).collect()
}

/// What a panic said, as far as it said it in words.
#[must_use]
pub fn of_panic(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it did not say why")
}

fn is_plain(c: char) -> bool {
    let separates = matches!(c, '\u{2028}' | '\u{2029}');
    let turns =
        matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !(c.is_control() || separates || turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_turns_the_text_becomes_a_space_and_every_language_stays() {
        assert_eq!(plain("a\u{1b}[2J\r\nb\u{0}\u{85}\u{2028}c"), "a [2J  b   c");
        assert_eq!(
            plain("from \u{202e}moc.elpmaxe\u{202c} \u{2067}x\u{2069}\u{200f}"),
            "from  moc.elpmaxe   x  "
        );
        for text in ["결제 실패", "שלום", "مرحبا", "क्ष\u{200d}", "👩\u{200d}🚀", "naïve"]
        {
            assert_eq!(plain(text), text);
        }
    }
}
