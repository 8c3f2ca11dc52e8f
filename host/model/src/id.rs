//! Ids: UUIDv7 for notifications, with the shard inside, and a notification's id plus an index for its
//! deliveries, so that a delivery is found without an index of its own.
//!
//! Layout of the 128 bits: 48 of milliseconds, 4 of version, 12 of shard (`rand_a`), 2 of variant, 22 of a
//! counter within the millisecond, 40 of chance. The generator never goes back: when the wall clock does,
//! it stays at the last millisecond and counts on.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use uuid::Uuid;

use crate::time::Timestamp;

/// One of 4,096 parts of the store, each owned by one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Shard(u16);

impl Shard {
    /// How many shards an id can name.
    pub const COUNT: u16 = 4_096;
    /// The only shard of the embedded engine.
    pub const EMBEDDED: Self = Self(0);

    /// The shard of this number, modulo [`Self::COUNT`].
    #[must_use]
    pub fn new(number: u16) -> Self {
        Self(number % Self::COUNT)
    }

    /// Its number, 0 to 4,095.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

/// The id of a notification. Ordered by time of acceptance within a shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NotificationId(Uuid);

impl NotificationId {
    /// From its 16 bytes, as they are stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its 16 bytes, big-endian: byte order is time order.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// The smallest id of a given millisecond, for ranges over time.
    #[must_use]
    pub fn floor_of(at: Timestamp) -> Self {
        Self(Uuid::from_u128((u128::from(at.as_ms()) & 0xffff_ffff_ffff) << 80))
    }

    /// When it was made, by the wall clock of its maker.
    #[must_use]
    pub fn created_at(self) -> Timestamp {
        Timestamp::from_ms(u64::try_from(self.0.as_u128() >> 80).unwrap_or(0))
    }

    /// The shard that holds the notification.
    #[must_use]
    pub fn shard(self) -> Shard {
        Shard(u16::try_from((self.0.as_u128() >> 64) & 0xfff).unwrap_or(0))
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not an id of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an id; ids look like 019aa3b2-7c1e-7000-8000-0242ac120002")]
pub struct BadId(pub String);

impl FromStr for NotificationId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId(text.to_owned());
        // One spelling only, so that an id is equal to another exactly when their texts are.
        let uuid = Uuid::parse_str(text).map_err(|_| bad())?;
        if uuid.get_version_num() != 7 || uuid.hyphenated().to_string() != text {
            return Err(bad());
        }
        Ok(Self(uuid))
    }
}

/// The id of a delivery: its notification's id and its index there, as in `019aa3b2-...-0002-3`.
///
/// It is the key that every attempt repeats to the receiver, and holds no dot, because Standard Webhooks
/// signs `id.timestamp.body`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The notification it belongs to.
    pub notification: NotificationId,
    /// Its place among the notification's deliveries, from 0.
    pub index: u16,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.notification, self.index)
    }
}

impl fmt::Debug for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DeliveryId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId(text.to_owned());
        let (notification, index) = text.rsplit_once('-').ok_or_else(bad)?;
        let id = Self {
            notification: notification.parse().map_err(|_| bad())?,
            index: index.parse().map_err(|_| bad())?,
        };
        if id.to_string() == text { Ok(id) } else { Err(bad()) }
    }
}

/// Makes ids that never go back, even when the wall clock does.
#[derive(Debug, Default)]
pub struct IdGenerator {
    last: Mutex<(u64, u32)>,
}

/// 22 bits count the ids of one millisecond; the next one borrows from the future.
const COUNTER_MAX: u32 = (1 << 22) - 1;

impl IdGenerator {
    /// A generator that continues after `last`, the newest id in the store, if there is one.
    #[must_use]
    pub fn after(last: Option<NotificationId>) -> Self {
        let ms = last.map_or(0, |id| id.created_at().as_ms());
        Self { last: Mutex::new((ms, COUNTER_MAX)) }
    }

    /// The next id in `shard` at wall-clock time `now`.
    #[must_use]
    pub fn next(&self, shard: Shard, now: Timestamp) -> NotificationId {
        let (ms, counter) = self.tick(now.as_ms());
        let chance: u64 = rand::random::<u64>() & 0xff_ffff_ffff;
        let high = (u128::from(ms) << 80) | (0x7 << 76) | (u128::from(shard.number()) << 64);
        let low = (0b10 << 62) | (u128::from(counter) << 40) | u128::from(chance);
        NotificationId(Uuid::from_u128(high | low))
    }

    fn tick(&self, now_ms: u64) -> (u64, u32) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *last = match *last {
            (ms, _) if now_ms > ms => (now_ms, 0),
            (ms, COUNTER_MAX) => (ms + 1, 0),
            (ms, counter) => (ms, counter + 1),
        };
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_never_go_back_when_the_clock_does() {
        let generator = IdGenerator::default();
        let mut last = None;
        for ms in [1_000, 1_000, 900, 1, 1_001, 1_001, 0] {
            let id = generator.next(Shard::new(7), Timestamp::from_ms(ms));
            assert!(Some(id) > last, "{id} after {last:?}");
            assert_eq!(id.shard(), Shard::new(7));
            last = Some(id);
        }
    }

    #[test]
    fn a_generator_continues_after_the_newest_id_of_the_store() {
        let old = IdGenerator::default().next(Shard::EMBEDDED, Timestamp::from_ms(5_000));
        let new = IdGenerator::after(Some(old)).next(Shard::EMBEDDED, Timestamp::from_ms(10));
        assert!(new > old);
    }

    #[test]
    fn text_that_is_nearly_an_id_is_refused() {
        let id = IdGenerator::default().next(Shard::EMBEDDED, Timestamp::from_ms(1_000));
        let upper = id.to_string().to_uppercase().replace('-', "");
        for text in ["", "1", "x", upper.as_str(), "6ba7b810-9dad-11d1-80b4-00c04fd430c8"] {
            assert!(text.parse::<NotificationId>().is_err(), "{text}");
        }
        for text in [format!("{id}-01"), format!("{id}-70000"), format!("{id}-"), id.to_string()] {
            assert!(text.parse::<DeliveryId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn ids_carry_time_and_shard_through_text_and_bytes(ms in 0u64..253_402_207_199_000, shard in 0u16..4096, index: u16) {
            let id = IdGenerator::default().next(Shard::new(shard), Timestamp::from_ms(ms + 1));
            prop_assert_eq!(id.created_at().as_ms(), ms + 1);
            prop_assert_eq!(id.shard().number(), shard);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(NotificationId::from_bytes(id.to_bytes()), id);
            prop_assert!(NotificationId::floor_of(Timestamp::from_ms(ms + 1)) <= id);
            let delivery = DeliveryId { notification: id, index };
            prop_assert_eq!(delivery.to_string().parse(), Ok(delivery));
        }
    }
}
