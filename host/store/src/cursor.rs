//! Cursors: where a list goes on. Opaque to clients, bound to the kind of list.
//!
//! A cursor names the last item that was looked at, not a page, so that it stays good while items come and
//! go. It holds nothing but ids and times, and is refused unless every byte of it is one that we would print.

use std::fmt;
use std::str::FromStr;

use fanfare_model::id::{DeliveryId, NotificationId};
use fanfare_model::time::Timestamp;

/// Where a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(Place);

/// The last item that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Notification(NotificationId),
    DeadLetter(Timestamp, DeliveryId),
}

/// A text that is no cursor of this list.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("this is no cursor of this list; take next_cursor from the page before, unchanged")]
pub struct BadCursor;

const NOTIFICATION: char = 'n';
const DEAD_LETTER: char = 'd';

impl Cursor {
    pub(crate) fn behind_notification(id: NotificationId) -> Self {
        Self(Place::Notification(id))
    }

    pub(crate) fn behind_dead_letter(died_at: Timestamp, id: DeliveryId) -> Self {
        Self(Place::DeadLetter(died_at, id))
    }

    pub(crate) fn notification(self) -> Option<NotificationId> {
        match self.0 {
            Place::Notification(id) => Some(id),
            Place::DeadLetter(..) => None,
        }
    }

    pub(crate) fn dead_letter(self) -> Option<(Timestamp, DeliveryId)> {
        match self.0 {
            Place::DeadLetter(died_at, id) => Some((died_at, id)),
            Place::Notification(_) => None,
        }
    }

    /// Whether a list of dead letters gave it.
    #[must_use]
    pub fn is_of_dead_letters(&self) -> bool {
        self.dead_letter().is_some()
    }

    /// Whether a list of notifications gave it.
    #[must_use]
    pub fn is_of_notifications(&self) -> bool {
        self.notification().is_some()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Place::Notification(id) => {
                write!(f, "{NOTIFICATION}{:032x}", u128::from_be_bytes(id.to_bytes()))
            }
            Place::DeadLetter(died_at, id) => {
                let notification = u128::from_be_bytes(id.notification.to_bytes());
                write!(f, "{DEAD_LETTER}{:016x}{notification:032x}{:04x}", died_at.as_ms(), id.index)
            }
        }
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let part = |range: std::ops::Range<usize>| text.get(range).ok_or(BadCursor);
        let number = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| BadCursor);
        let id = |digits: &str| {
            let number = u128::from_str_radix(digits, 16).map_err(|_| BadCursor)?;
            Ok(NotificationId::from_bytes(number.to_be_bytes()))
        };
        let place = match text.chars().next() {
            Some(NOTIFICATION) => Place::Notification(id(part(1..33)?)?),
            Some(DEAD_LETTER) => {
                let index = u16::try_from(number(part(49..53)?)?).map_err(|_| BadCursor)?;
                let delivery = DeliveryId { notification: id(part(17..49)?)?, index };
                Place::DeadLetter(Timestamp::from_ms(number(part(1..17)?)?), delivery)
            }
            _ => return Err(BadCursor),
        };
        // One spelling only: this also refuses what follows the last digit, signs, and capitals.
        let cursor = Self(place);
        if cursor.to_string() == text { Ok(cursor) } else { Err(BadCursor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_model::id::{IdGenerator, Shard};

    #[test]
    fn cursors_survive_their_text() {
        let notification = IdGenerator::default().next(Shard::EMBEDDED, Timestamp::from_ms(77));
        let id = DeliveryId { notification, index: 999 };
        let of_list = Cursor::behind_notification(notification);
        let of_dead = Cursor::behind_dead_letter(Timestamp::from_ms(5), id);
        for cursor in [of_list, of_dead] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        assert!(of_list.is_of_notifications() && !of_list.is_of_dead_letters());
        assert!(of_dead.is_of_dead_letters() && !of_dead.is_of_notifications());
    }

    #[test]
    fn text_that_is_nearly_a_cursor_is_refused() {
        let id = IdGenerator::default().next(Shard::EMBEDDED, Timestamp::from_ms(0xabcd));
        let good = Cursor::behind_notification(id).to_string();
        let signed = format!("n+{}", &good[2..]);
        let bad = [
            String::new(),
            "n".to_owned(),
            "d".to_owned(),
            "é".to_owned(),
            "né".repeat(20),
            format!("{good}0"),
            good[..32].to_owned(),
            good.to_uppercase(),
            good.replacen('n', "d", 1),
            good.replacen('n', "x", 1),
            signed,
        ];
        for text in bad {
            assert_eq!(text.parse::<Cursor>(), Err(BadCursor), "{text}");
        }
    }
}
