//! Where the deliveries of one notification, or the steps of its trace, go on: opaque to clients, bound to both.
//!
//! A cursor names the last item that was shown, not a number of items, so that a page neither repeats nor leaves out
//! anything while attempts come in. It is refused unless every character of it is one that we would print.

use std::fmt::Write as _;

use fanfare_model::id::NotificationId;
use fanfare_model::time::Timestamp;

use super::problem::Problem;
use super::query::bad_cursor;

/// Deliveries of one notification go on behind this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeliveryCursor(pub(super) u16);

/// The place of a step in a trace: by time; within one millisecond by what follows from what; then by who.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StepCursor {
    pub(super) at: Timestamp,
    pub(super) rank: u8,
    /// 0 is the notification itself, `n + 1` its delivery `n`.
    pub(super) of: u16,
    /// Which one of several that are equal up to here.
    pub(super) nth: u16,
}

impl DeliveryCursor {
    pub(super) fn print(self, id: NotificationId) -> String {
        print('v', id, &[(u64::from(self.0), 4)])
    }

    pub(super) fn parse(text: &str, id: NotificationId) -> Result<Self, Problem> {
        let [index] = parse(text, [4])?;
        let cursor = Self(narrow(index)?);
        if cursor.print(id) == text { Ok(cursor) } else { Err(bad_cursor()) }
    }
}

impl StepCursor {
    pub(super) fn print(self, id: NotificationId) -> String {
        let Self { at, rank, of, nth } = self;
        print('t', id, &[(at.as_ms(), 16), (rank.into(), 2), (of.into(), 4), (nth.into(), 4)])
    }

    pub(super) fn parse(text: &str, id: NotificationId) -> Result<Self, Problem> {
        let [at, rank, of, nth] = parse(text, [16, 2, 4, 4])?;
        let at = Timestamp::from_ms(at);
        let cursor = Self { at, rank: narrow(rank)?, of: narrow(of)?, nth: narrow(nth)? };
        if cursor.print(id) == text { Ok(cursor) } else { Err(bad_cursor()) }
    }
}

fn print(kind: char, id: NotificationId, numbers: &[(u64, usize)]) -> String {
    let mut text = format!("{kind}{:032x}", u128::from_be_bytes(id.to_bytes()));
    for (number, digits) in numbers {
        // Writing to a string does not fail.
        let _ = write!(text, "{number:0digits$x}");
    }
    text
}

/// The numbers behind kind and id, which the caller checks by printing again.
fn parse<const N: usize>(text: &str, digits: [usize; N]) -> Result<[u64; N], Problem> {
    let mut rest = text.get(33..).ok_or_else(bad_cursor)?;
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let (field, behind) = rest.split_at_checked(digits).ok_or_else(bad_cursor)?;
        *number = u64::from_str_radix(field, 16).map_err(|_| bad_cursor())?;
        rest = behind;
    }
    Ok(numbers)
}

fn narrow<T: TryFrom<u64>>(number: u64) -> Result<T, Problem> {
    T::try_from(number).map_err(|_| bad_cursor())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_model::id::{IdGenerator, Shard};

    #[test]
    fn cursors_survive_their_text_and_are_good_for_their_own_notification_only() {
        let ids = IdGenerator::default();
        let [id, other] = [1, 2].map(|ms| ids.next(Shard::EMBEDDED, Timestamp::from_ms(ms)));
        let step = StepCursor { at: Timestamp::from_ms(77), rank: 4, of: 1_000, nth: 3 };
        assert_eq!(StepCursor::parse(&step.print(id), id).unwrap(), step);
        assert_eq!(DeliveryCursor::parse(&DeliveryCursor(999).print(id), id).unwrap(), DeliveryCursor(999));
        let good = DeliveryCursor(7).print(id);
        let nearly = [
            String::new(),
            "v".to_owned(),
            "100".to_owned(),
            "é".repeat(30),
            format!("{good}0"),
            good.to_uppercase(),
            good[..36].to_owned(),
            good.replacen('v', "t", 1),
            good.replace("0007", "+007"),
            DeliveryCursor(7).print(other),
            step.print(id),
        ];
        for text in nearly {
            assert_eq!(DeliveryCursor::parse(&text, id).unwrap_err().code(), "request.bad-cursor", "{text}");
        }
        for text in [&good, &step.print(other)] {
            assert_eq!(StepCursor::parse(text, id).unwrap_err().code(), "request.bad-cursor", "{text}");
        }
    }
}
