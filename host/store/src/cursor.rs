//! Cursors: where a list goes on. Opaque to clients, bound to the kind of list.

use std::fmt;
use std::str::FromStr;

use crate::engine::Key;

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    kind: u8,
    key: Key,
}

/// A text that is no cursor of this list.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("this is no cursor of this list; take next_cursor from the page before, unchanged")]
pub struct BadCursor;

impl Cursor {
    pub(crate) fn new(kind: u8, key: Key) -> Self {
        Self { kind, key }
    }

    /// The key that it holds, if it is of this kind of list.
    pub(crate) fn key(&self, kind: u8) -> Option<&Key> {
        (self.kind == kind).then_some(&self.key)
    }

    /// Whether a list of dead letters gave it.
    #[must_use]
    pub fn is_of_dead_letters(&self) -> bool {
        self.kind == DEAD_LETTERS
    }

    /// Whether a list of notifications gave it.
    #[must_use]
    pub fn is_of_notifications(&self) -> bool {
        matches!(self.kind, NOTIFICATIONS | USER)
    }
}

pub(crate) const DEAD_LETTERS: u8 = b'd';
pub(crate) const NOTIFICATIONS: u8 = b'n';
pub(crate) const USER: u8 = b'u';

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(self.kind))?;
        self.key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (kind, rest) = text.as_bytes().split_first().ok_or(BadCursor)?;
        if !matches!(*kind, DEAD_LETTERS | NOTIFICATIONS | USER) || rest.len() % 2 != 0 || rest.len() > 1_024
        {
            return Err(BadCursor);
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(digit(high)? * 16 + digit(low)?),
            _ => None,
        };
        let key: Option<Key> = rest.chunks(2).map(byte).collect();
        let key = key.filter(|key| key.len() >= 3).ok_or(BadCursor)?;
        Ok(Self { kind: *kind, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_their_text_and_others_are_refused() {
        let cursor = Cursor::new(NOTIFICATIONS, vec![0, 0, b'S', 255]);
        assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
        assert_eq!(cursor.key(USER), None);
        for text in ["", "n", "n0", "x0000", "nzz0000", "n00", "é"] {
            assert_eq!(text.parse::<Cursor>(), Err(BadCursor), "{text}");
        }
    }
}
