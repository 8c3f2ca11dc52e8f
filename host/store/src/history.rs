//! Lists: notifications newest first, dead letters latest death first.
//!
//! A list runs in time order or by user; every other filter is a scan of at most [`EXAMINED_MAX`] records a call,
//! after which the page comes back as it is, with a cursor.

use std::collections::BTreeMap;
use std::ops::Range;

use fanfare_model::delivery::Phase;
use fanfare_model::fault::Fault;
use fanfare_model::id::{DeliveryId, NotificationId, Shard};
use fanfare_model::name::{ChannelName, EventType, UserId};
use fanfare_model::state::{NotificationState, NotificationStatus};
use fanfare_model::time::Timestamp;

use crate::cursor::Cursor;
use crate::engine::{Direction, Key, Page, ReadError};
use crate::keys::{self, Kind};
use crate::ledger::Ledger;
use crate::records::{self, DeadRecord};

/// Records that one call looks at.
pub const EXAMINED_MAX: usize = 10_000;

/// Records that one read of the engine brings.
const BATCH: usize = 256;

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// What fits the filter.
    pub items: Vec<T>,
    /// Where the list goes on; none at its end.
    pub next: Option<Cursor>,
}

/// Which notifications.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Submitted for, or delivered to, this user.
    pub user: Option<UserId>,
    /// Of this type.
    pub event_type: Option<EventType>,
    /// In this status.
    pub status: Option<NotificationStatus>,
    /// With a delivery through this channel.
    pub channel: Option<ChannelName>,
    /// Accepted at this time or later.
    pub since: Option<Timestamp>,
}

/// Which dead letters.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterFilter {
    /// Of this channel.
    pub channel: Option<ChannelName>,
    /// With this code.
    pub code: Option<String>,
    /// Of notifications of this type.
    pub event_type: Option<EventType>,
    /// That died at this time or later.
    pub since: Option<Timestamp>,
}

/// A delivery that ended without success.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The delivery.
    pub id: DeliveryId,
    /// Its channel.
    pub channel: ChannelName,
    /// Its notification's type.
    pub event_type: EventType,
    /// The user it was for.
    pub user: Option<UserId>,
    /// What it died of.
    pub fault: Fault,
    /// Attempts made.
    pub attempts: u32,
    /// When the first attempt began; none if it died without one.
    pub first_at: Option<Timestamp>,
    /// When it died.
    pub last_at: Timestamp,
}

impl ListFilter {
    fn fits(&self, state: &NotificationState, now: Timestamp) -> bool {
        self.event_type.as_ref().is_none_or(|wanted| *wanted == state.event_type)
            && self.status.is_none_or(|wanted| wanted == state.status(now))
            && self
                .channel
                .as_ref()
                .is_none_or(|wanted| state.deliveries.iter().any(|delivery| delivery.channel == *wanted))
            && self.since.is_none_or(|since| state.id.created_at() >= since)
    }
}

/// A backward walk over a range of keys, bounded by the records that it examines.
struct Walk {
    range: Range<Key>,
    examined: usize,
}

impl Walk {
    /// Down from `below`, or from the end of the range.
    fn new(mut range: Range<Key>, below: Option<Key>) -> Self {
        if let Some(below) = below {
            range.end = range.end.min(below).max(range.start.clone());
        }
        Self { range, examined: 0 }
    }

    async fn next(&mut self, ledger: &Ledger) -> Result<Page, ReadError> {
        if self.examined >= EXAMINED_MAX || self.is_over() {
            return Ok(Page::new());
        }
        let page = ledger.engine.scan(self.range.clone(), BATCH, Direction::Backward).await?;
        self.examined += page.len();
        match page.last() {
            Some((key, _)) if page.len() == BATCH => self.range.end.clone_from(key),
            _ => self.range.end.clone_from(&self.range.start),
        }
        Ok(page)
    }

    fn is_over(&self) -> bool {
        self.range.start >= self.range.end
    }
}

pub(crate) async fn notifications(
    ledger: &Ledger,
    filter: &ListFilter,
    cursor: Option<&Cursor>,
    limit: usize,
    now: Timestamp,
) -> Result<Listing<NotificationState>, ReadError> {
    let below = cursor.map(|cursor| cursor.notification().ok_or_else(foreign)).transpose()?;
    let (mut range, below) = match &filter.user {
        Some(user) => (keys::of_user(Shard::EMBEDDED, user), below.map(|id| keys::user(user, id))),
        None => (keys::all(Shard::EMBEDDED, Kind::State), below.map(|id| keys::state(id, 0))),
    };
    if let Some(since) = filter.since {
        range.start.extend(NotificationId::floor_of(since).to_bytes());
    }
    let mut walk = Walk::new(range, below);
    let (mut items, mut last) = (Vec::new(), None);
    loop {
        let page = walk.next(ledger).await?;
        if page.is_empty() {
            let next = last.filter(|_| !walk.is_over()).map(Cursor::behind_notification);
            return Ok(Listing { items, next });
        }
        for (key, record) in page {
            let state = if filter.user.is_some() {
                let Some(id) = keys::parse_user(&key) else { continue };
                last = Some(id);
                ledger.read(id).await?
            } else {
                // Further chunks belong to a head that comes later in a backward walk.
                let Some((id, 0)) = keys::parse_state(&key) else { continue };
                last = Some(id);
                ledger.complete(id, &record).await?
            };
            items.extend(state.filter(|state| filter.fits(state, now)));
            if items.len() >= limit {
                return Ok(Listing { items, next: last.map(Cursor::behind_notification) });
            }
        }
    }
}

/// The API refuses such a cursor before it gets here.
fn foreign() -> ReadError {
    ReadError("the cursor is another list's".to_owned())
}

pub(crate) async fn dead_letters(
    ledger: &Ledger,
    filter: &DeadLetterFilter,
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<Listing<DeadLetter>, ReadError> {
    let below = cursor.map(|cursor| cursor.dead_letter().ok_or_else(foreign)).transpose()?;
    let mut range = keys::all(Shard::EMBEDDED, Kind::Dead);
    if let Some(since) = filter.since {
        range.start.extend(since.as_ms().to_be_bytes());
    }
    let mut walk = Walk::new(range, below.map(|(died_at, id)| keys::dead(died_at, id)));
    let (mut items, mut last) = (Vec::new(), None);
    let cursor = |(died_at, id)| Cursor::behind_dead_letter(died_at, id);
    loop {
        let page = walk.next(ledger).await?;
        if page.is_empty() {
            return Ok(Listing { items, next: last.filter(|_| !walk.is_over()).map(cursor) });
        }
        for (key, record) in page {
            let Some((died_at, id)) = keys::parse_dead(&key) else { continue };
            last = Some((died_at, id));
            let summary: DeadRecord<'_> = records::decode("dead letter", &record.value)?;
            if !filter.fits(&summary) {
                continue;
            }
            // The state says the same as the index, unless it changed a moment ago: then it is right.
            let state = ledger.read(id.notification).await?;
            items.extend(state.and_then(|state| letter(&state, id)));
            if items.len() >= limit {
                return Ok(Listing { items, next: last.map(cursor) });
            }
        }
    }
}

/// How many of the latest [`EXAMINED_MAX`] dead letters each channel has, and whether there are more.
pub(crate) async fn dead_by_channel(
    ledger: &Ledger,
) -> Result<(BTreeMap<ChannelName, usize>, bool), ReadError> {
    let mut walk = Walk::new(keys::all(Shard::EMBEDDED, Kind::Dead), None);
    let mut counts = BTreeMap::new();
    loop {
        let page = walk.next(ledger).await?;
        if page.is_empty() {
            return Ok((counts, !walk.is_over()));
        }
        for (_, record) in page {
            let letter: DeadRecord<'_> = records::decode("dead letter", &record.value)?;
            let channel = ChannelName::stored(letter.channel);
            let channel = channel.ok_or_else(|| records::damaged("dead letter", &"a channel's name"))?;
            *counts.entry(channel).or_default() += 1;
        }
    }
}

impl DeadLetterFilter {
    fn fits(&self, letter: &DeadRecord<'_>) -> bool {
        self.channel.as_ref().is_none_or(|wanted| wanted.as_str() == letter.channel)
            && self.code.as_ref().is_none_or(|wanted| wanted == letter.code)
            && self.event_type.as_ref().is_none_or(|wanted| wanted.as_str() == letter.event_type)
    }
}

fn letter(state: &NotificationState, id: DeliveryId) -> Option<DeadLetter> {
    let delivery = state.delivery(id.index)?;
    let Phase::Dead { at, fault } = &delivery.phase else { return None };
    Some(DeadLetter {
        id,
        channel: delivery.channel.clone(),
        event_type: state.event_type.clone(),
        user: delivery.user.clone(),
        fault: fault.clone(),
        attempts: delivery.attempts_total,
        first_at: delivery.first_attempt_at,
        last_at: *at,
    })
}
