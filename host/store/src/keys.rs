//! The keys of the layers: two bytes of shard, one of kind, then what orders the records of that kind.
//!
//! | kind | rest of the key | value |
//! | --- | --- | --- |
//! | `B` body | id | the notification, immutable |
//! | `S` state | id, chunk | the head and 16 deliveries in chunk 0, 16 deliveries in each further one |
//! | `D` due | lane, 0, priority, time, id, index | destination and delay |
//! | `L` dead letter | time of death, id, index | channel, code, type: what filters ask for |
//! | `U` user | user, 0, id | empty |
//! | `I`, `K` claims | digest of an idempotency or dedup key | who claimed it, until when |
//! | `I` | digest of an idempotency key, part | what of a long answer does not fit the claim |
//! | `C` counter | name | a sum |
//! | `P` plugins | a part, and its own order (`plugins/keys.rs`) | components, generations, audit |

use std::ops::Range;
use std::time::Duration;

use fanfare_model::digest::Digest;
use fanfare_model::id::{DeliveryId, NotificationId, Shard};
use fanfare_model::name::{ChannelName, UserId};
use fanfare_model::priority::Priority;
use fanfare_model::time::Timestamp;

use crate::engine::Key;

/// Ends a name of variable length; no name contains it.
const END: u8 = 0;

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Body,
    State,
    Due,
    Dead,
    User,
    Idempotency,
    Dedup,
    Counter,
    Plugin,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Body => b'B',
            Self::State => b'S',
            Self::Due => b'D',
            Self::Dead => b'L',
            Self::User => b'U',
            Self::Idempotency => b'I',
            Self::Dedup => b'K',
            Self::Counter => b'C',
            Self::Plugin => b'P',
        }
    }
}

fn prefix(shard: Shard, kind: Kind, room: usize) -> Key {
    let mut key = Vec::with_capacity(3 + room);
    key.extend(shard.number().to_be_bytes());
    key.push(kind.byte());
    key
}

/// Every key of a kind.
pub(crate) fn all(shard: Shard, kind: Kind) -> Range<Key> {
    let start = prefix(shard, kind, 0);
    let mut end = start.clone();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    start..end
}

/// The smallest key after `key`.
pub(crate) fn after(mut key: Key) -> Key {
    key.push(0);
    key
}

pub(crate) fn body(id: NotificationId) -> Key {
    let mut key = prefix(id.shard(), Kind::Body, 16);
    key.extend(id.to_bytes());
    key
}

pub(crate) fn state(id: NotificationId, chunk: u16) -> Key {
    let mut key = prefix(id.shard(), Kind::State, 18);
    key.extend(id.to_bytes());
    key.extend(chunk.to_be_bytes());
    key
}

/// All chunks of one notification's state.
pub(crate) fn chunks(id: NotificationId) -> Range<Key> {
    state(id, 0)..after(state(id, u16::MAX))
}

/// The smallest key that a body or a state of a notification can have that was accepted at `at` or later.
pub(crate) fn floor(shard: Shard, kind: Kind, at: Timestamp) -> Key {
    let mut key = prefix(shard, kind, 16);
    key.extend(NotificationId::floor_of(at).to_bytes());
    key
}

/// The notification of a body or state key.
pub(crate) fn parse_id(key: &[u8]) -> Option<NotificationId> {
    Some(NotificationId::from_bytes(*key.get(3..)?.first_chunk()?))
}

/// Behind the body, or all chunks of the state, of a notification.
pub(crate) fn behind(kind: Kind, id: NotificationId) -> Key {
    match kind {
        Kind::Body => after(body(id)),
        _ => chunks(id).end,
    }
}

/// The notification and the chunk of a state key.
pub(crate) fn parse_state(key: &[u8]) -> Option<(NotificationId, u16)> {
    let rest = key.get(3..)?;
    let id = NotificationId::from_bytes(*rest.first_chunk()?);
    Some((id, u16::from_be_bytes(*rest.get(16..)?.first_chunk()?)))
}

pub(crate) fn user(user: &UserId, id: NotificationId) -> Key {
    let mut key = user_prefix(id.shard(), user, 16);
    key.extend(id.to_bytes());
    key
}

fn user_prefix(shard: Shard, user: &UserId, room: usize) -> Key {
    let mut key = prefix(shard, Kind::User, user.as_str().len() + 1 + room);
    key.extend(user.as_str().bytes());
    key.push(END);
    key
}

/// All notifications of one user.
pub(crate) fn of_user(shard: Shard, user: &UserId) -> Range<Key> {
    let start = user_prefix(shard, user, 0);
    let mut end = start.clone();
    if let Some(last) = end.last_mut() {
        *last = END + 1;
    }
    start..end
}

/// The notification at the end of a user key.
pub(crate) fn parse_user(key: &[u8]) -> Option<NotificationId> {
    key.last_chunk().map(|id| NotificationId::from_bytes(*id))
}

pub(crate) fn claim(shard: Shard, kind: Kind, digest: &Digest) -> Key {
    let mut key = prefix(shard, kind, 32);
    key.extend(digest.as_bytes());
    key
}

/// A further part of the answer that is kept under an idempotency key.
pub(crate) fn answer_part(shard: Shard, digest: &Digest, number: u16) -> Key {
    let mut key = claim(shard, Kind::Idempotency, digest);
    key.extend(number.to_be_bytes());
    key
}

/// All parts behind an idempotency key.
pub(crate) fn answer_parts(shard: Shard, digest: &Digest) -> Range<Key> {
    answer_part(shard, digest, 0)..after(answer_part(shard, digest, u16::MAX))
}

/// Whether a key under the idempotency keys is a part of an answer.
pub(crate) fn is_answer_part(key: &[u8]) -> bool {
    key.len() > 3 + 32
}

pub(crate) fn counter(shard: Shard, name: &str) -> Key {
    let mut key = prefix(shard, Kind::Counter, name.len());
    key.extend(name.bytes());
    key
}

/// The name of a counter key.
pub(crate) fn parse_counter(key: &[u8]) -> Option<String> {
    String::from_utf8(key.get(3..)?.to_vec()).ok()
}

pub(crate) fn dead(at: Timestamp, id: DeliveryId) -> Key {
    let mut key = prefix(id.notification.shard(), Kind::Dead, 26);
    key.extend(at.as_ms().to_be_bytes());
    key.extend(id.notification.to_bytes());
    key.extend(id.index.to_be_bytes());
    key
}

/// The time of death and the delivery of a dead letter's key.
pub(crate) fn parse_dead(key: &[u8]) -> Option<(Timestamp, DeliveryId)> {
    let rest = key.get(3..)?;
    let at = Timestamp::from_ms(u64::from_be_bytes(*rest.first_chunk()?));
    Some((at, parse_delivery(rest.get(8..)?)?))
}

fn parse_delivery(bytes: &[u8]) -> Option<DeliveryId> {
    let notification = NotificationId::from_bytes(*bytes.first_chunk()?);
    Some(DeliveryId { notification, index: u16::from_be_bytes(*bytes.get(16..)?.first_chunk()?) })
}

/// A delivery that waits, and when it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueEntry {
    /// The channel it waits for.
    pub lane: ChannelName,
    /// How urgent it is.
    pub priority: Priority,
    /// When it is due, by the wall clock.
    pub due_at: Timestamp,
    /// The delivery.
    pub delivery: DeliveryId,
    /// For a retry: how long it waits at the most, whatever the wall clock does.
    pub delay: Option<Duration>,
    /// Where it goes, as [`fanfare_model::destination::destination_key`] gives it.
    pub destination: u64,
}

impl DueEntry {
    /// Its place among the entries of one lane and priority.
    #[must_use]
    pub fn order(&self) -> (Timestamp, DeliveryId) {
        (self.due_at, self.delivery)
    }

    pub(crate) fn key(&self) -> Key {
        let mut key = lane(self.delivery.notification.shard(), &self.lane, 27);
        key.push(self.priority.rank());
        key.extend(self.due_at.as_ms().to_be_bytes());
        key.extend(self.delivery.notification.to_bytes());
        key.extend(self.delivery.index.to_be_bytes());
        key
    }

    /// Version, destination, and the delay in milliseconds plus one; 0 means none.
    pub(crate) fn value(&self) -> [u8; 17] {
        let delay =
            self.delay.map_or(0, |delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX - 1) + 1);
        let mut value = [1; 17];
        let parts = self.destination.to_le_bytes().into_iter().chain(delay.to_le_bytes());
        for (place, byte) in value.iter_mut().skip(1).zip(parts) {
            *place = byte;
        }
        value
    }

    pub(crate) fn parse(key: &[u8], value: &[u8]) -> Option<Self> {
        let rest = key.get(3..)?;
        let end = rest.iter().position(|byte| *byte == END)?;
        let lane = ChannelName::stored(std::str::from_utf8(rest.get(..end)?).ok()?)?;
        let rest = rest.get(end + 1..)?;
        let priority = Priority::from_rank(*rest.first()?)?;
        let due_at = Timestamp::from_ms(u64::from_be_bytes(*rest.get(1..)?.first_chunk()?));
        let delivery = parse_delivery(rest.get(9..)?)?;
        if *value.first()? != 1 {
            return None;
        }
        let destination = u64::from_le_bytes(*value.get(1..)?.first_chunk()?);
        let delay = u64::from_le_bytes(*value.get(9..)?.first_chunk()?);
        let delay = delay.checked_sub(1).map(Duration::from_millis);
        Some(Self { lane, priority, due_at, delivery, delay, destination })
    }
}

fn lane(shard: Shard, lane: &ChannelName, room: usize) -> Key {
    let mut key = prefix(shard, Kind::Due, lane.as_str().len() + 1 + room);
    key.extend(lane.as_str().bytes());
    key.push(END);
    key
}

/// The due entries of one lane and priority.
pub(crate) fn due_range(shard: Shard, name: &ChannelName, priority: Priority) -> Range<Key> {
    let mut start = lane(shard, name, 1);
    let mut end = start.clone();
    start.push(priority.rank());
    end.push(priority.rank() + 1);
    start..end
}

/// The first key behind every due entry of a lane.
pub(crate) fn behind_lane(shard: Shard, name: &ChannelName) -> Key {
    let mut key = lane(shard, name, 0);
    if let Some(last) = key.last_mut() {
        *last = END + 1;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_model::id::IdGenerator;

    #[test]
    fn due_entries_survive_their_key_and_value_and_keep_their_order() {
        let notification = IdGenerator::default().next(Shard::EMBEDDED, Timestamp::from_ms(77));
        let entry = |due_ms, delay| DueEntry {
            lane: ChannelName::router(),
            priority: Priority::High,
            due_at: Timestamp::from_ms(due_ms),
            delivery: DeliveryId { notification, index: 300 },
            delay,
            destination: 9,
        };
        let one = entry(5, None);
        let two = entry(256, Some(Duration::from_millis(0)));
        for entry in [&one, &two] {
            assert_eq!(DueEntry::parse(&entry.key(), &entry.value()).as_ref(), Some(entry));
        }
        assert!(one.key() < two.key());
        let range = due_range(Shard::EMBEDDED, &one.lane, Priority::High);
        assert!(range.contains(&one.key()) && range.contains(&two.key()));
        assert!(behind_lane(Shard::EMBEDDED, &one.lane) > two.key());
        assert_eq!(DueEntry::parse(&one.key(), &[]), None);
        assert_eq!(DueEntry::parse(b"xx", &one.value()), None);
    }

    #[test]
    fn a_user_whose_name_begins_with_anothers_is_apart() {
        let id = IdGenerator::default().next(Shard::EMBEDDED, Timestamp::from_ms(77));
        let (ann, anna): (UserId, UserId) = ("ann".parse().unwrap(), "anna".parse().unwrap());
        assert!(of_user(Shard::EMBEDDED, &ann).contains(&user(&ann, id)));
        assert!(!of_user(Shard::EMBEDDED, &ann).contains(&user(&anna, id)));
        assert_eq!(parse_user(&user(&anna, id)), Some(id));
    }
}
