//! What a transaction writes for a notification: its records, and the entries of the indexes.
//!
//! No index is written by hand. [`Marks`] is what the indexes ought to say of a state; a change writes the
//! difference between the marks before and after, so that an entry exists exactly when the state calls for it.
//! Of the state itself only the records that changed are written, each no larger than the engine takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::delivery::{Delivery, Phase};
use fanfare_model::destination::destination_key;
use fanfare_model::notification::Notification;
use fanfare_model::state::{FanOut, NotificationState};
use fanfare_model::time::Timestamp;

use crate::engine::{Ceilings, Change, Transaction, Value};
use crate::keys::{self, DueEntry};
use crate::observe::LETTERS;
use crate::records::{self, CHUNK, DeadRecord};

/// A state record larger than this share of a transaction keeps less history, so that a change of all records of a
/// notification with up to 1,000 deliveries fits into one transaction. Those of a larger one have smaller shares.
const SHARE_OF_TRANSACTION: usize = 128;

/// The entry in the due index of a delivery that waits.
pub(crate) fn due_entry(state: &NotificationState, delivery: &Delivery) -> Option<DueEntry> {
    let Phase::Waiting { due_at, delay } = delivery.phase else { return None };
    Some(DueEntry {
        lane: delivery.channel.clone(),
        priority: state.priority,
        due_at,
        delivery: delivery.id,
        delay,
        destination: destination_key(delivery.address.as_deref()),
    })
}

/// What the indexes say about one delivery, and enough to see whether it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    indexed: Indexed,
    chain: u32,
    attempts: u32,
    events: usize,
    fallbacks: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Indexed {
    Due(Timestamp, Option<Duration>),
    Dead(Timestamp),
    /// Not in an index yet.
    Held,
    No,
}

/// What the indexes say about one notification.
#[derive(Debug)]
pub(crate) struct Marks {
    deliveries: Vec<Mark>,
    head: HeadMark,
}

/// Enough to see whether the head changed.
#[derive(Debug, PartialEq, Eq)]
struct HeadMark {
    events: usize,
    cancelled_at: Option<Timestamp>,
    suppressed: bool,
    deliveries: usize,
    fan_out: Option<FanOut>,
}

impl Marks {
    pub(crate) fn of(state: &NotificationState) -> Self {
        Self { deliveries: state.deliveries.iter().map(Mark::of).collect(), head: HeadMark::of(state) }
    }
}

impl HeadMark {
    fn of(state: &NotificationState) -> Self {
        Self {
            events: state.events.len(),
            cancelled_at: state.cancelled_at,
            suppressed: state.suppressed.is_some(),
            deliveries: state.deliveries.len(),
            fan_out: state.fan_out,
        }
    }
}

impl Mark {
    /// Every transition of the model either makes an attempt, begins a chain, ends the phase or leaves a row; the count of
    /// events alone would not do, because a full history stays as long as it is.
    fn of(delivery: &Delivery) -> Self {
        let indexed = match &delivery.phase {
            Phase::Waiting { due_at, delay } => Indexed::Due(*due_at, *delay),
            Phase::Dead { at, .. } => Indexed::Dead(*at),
            Phase::Held { .. } => Indexed::Held,
            _ => Indexed::No,
        };
        Self {
            indexed,
            chain: delivery.chain.number,
            attempts: delivery.attempts_total,
            events: delivery.events.len(),
            fallbacks: delivery.fallbacks.len(),
        }
    }
}

/// The changes of one transaction, with counters added up, since no key may change twice.
pub(crate) struct Writes {
    changes: Vec<Change>,
    counters: BTreeMap<Vec<u8>, i64>,
    ceilings: Ceilings,
}

impl Writes {
    pub(crate) fn new(ceilings: &Ceilings) -> Self {
        Self { changes: Vec::new(), counters: BTreeMap::new(), ceilings: *ceilings }
    }

    /// A record of a state with so many deliveries keeps less history beyond this.
    fn record_bytes_max(&self, deliveries: usize) -> usize {
        let share = SHARE_OF_TRANSACTION.max(2 * deliveries.div_ceil(CHUNK));
        self.ceilings.value_bytes_max.min(self.ceilings.transaction_bytes_max / share)
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, value: Value) {
        self.changes.push(Change::Put(key, value));
    }

    /// Everything of a notification that was never stored.
    pub(crate) fn accept(&mut self, notification: &Notification, state: &NotificationState) {
        self.put(keys::body(state.id), records::encode_notification(notification));
        self.put_head(state);
        for (place, chunk) in state.deliveries.chunks(CHUNK).enumerate().skip(1) {
            self.put_chunk(state, place, chunk);
        }
        for delivery in &state.deliveries {
            self.index(state, delivery);
        }
        let mut users: Vec<_> = state.users.iter().collect();
        users.extend(state.deliveries.iter().filter_map(|delivery| delivery.user.as_ref()));
        users.sort_unstable();
        users.dedup();
        for user in users {
            self.put(keys::user(user, state.id), Arc::from([]));
        }
        self.count(state, "accepted");
    }

    fn put_head(&mut self, state: &NotificationState) {
        let bytes_max = self.record_bytes_max(state.deliveries.len());
        let value = records::fitting(bytes_max, |history| records::encode_head(state, history));
        self.put(keys::state(state.id, 0), value);
    }

    fn put_chunk(&mut self, state: &NotificationState, place: usize, deliveries: &[Delivery]) {
        let bytes_max = self.record_bytes_max(state.deliveries.len());
        let value = records::fitting(bytes_max, |history| records::encode_chunk(deliveries, history));
        self.put(keys::state(state.id, u16::try_from(place).unwrap_or(u16::MAX)), value);
    }

    fn index(&mut self, state: &NotificationState, delivery: &Delivery) {
        if let Some(entry) = due_entry(state, delivery) {
            self.put(entry.key(), Arc::from(entry.value()));
        }
        if let Phase::Dead { at, fault } = &delivery.phase {
            let record = DeadRecord {
                channel: delivery.channel.as_str(),
                code: fault.code.as_str(),
                event_type: state.event_type.as_str(),
            };
            self.put(keys::dead(*at, delivery.id), records::encode(&record));
            self.count_letter(state, delivery, 1);
        }
    }

    fn count(&mut self, state: &NotificationState, name: &str) {
        *self.counters.entry(keys::counter(state.id.shard(), name)).or_default() += 1;
    }

    /// Keeps the count of the dead letters that there are.
    fn count_letter(&mut self, state: &NotificationState, delivery: &Delivery, more: i64) {
        let key = keys::counter(state.id.shard(), &format!("{LETTERS}{}", delivery.channel));
        *self.counters.entry(key).or_default() += more;
    }

    /// What became of a stored notification since `before`.
    pub(crate) fn difference(&mut self, before: &Marks, after: &NotificationState) {
        let mut changed_chunks = Vec::new();
        for (place, delivery) in after.deliveries.iter().enumerate() {
            let was = before.deliveries.get(place);
            let is = Mark::of(delivery);
            if was == Some(&is) {
                continue;
            }
            let chunk = place / CHUNK;
            if changed_chunks.last() != Some(&chunk) {
                changed_chunks.push(chunk);
            }
            if was.map(|was| was.indexed) != Some(is.indexed) {
                if let Some(was) = was {
                    self.unindex(after, delivery, was.indexed, is.indexed);
                }
                self.index(after, delivery);
                self.count_end(after, delivery);
            }
        }
        if before.head != HeadMark::of(after) || changed_chunks.first() == Some(&0) {
            self.put_head(after);
        }
        for place in changed_chunks.into_iter().filter(|place| *place > 0) {
            if let Some(chunk) = after.deliveries.chunks(CHUNK).nth(place) {
                self.put_chunk(after, place, chunk);
            }
        }
        self.index_new_users(before, after);
    }

    /// Routing may name users that the submitter did not.
    fn index_new_users(&mut self, before: &Marks, after: &NotificationState) {
        let known = after.deliveries.iter().take(before.deliveries.len());
        let fresh = after.deliveries.iter().skip(before.deliveries.len());
        let mut users: Vec<_> = fresh.filter_map(|delivery| delivery.user.as_ref()).collect();
        if users.is_empty() {
            return;
        }
        users.sort_unstable();
        users.dedup();
        let known: Vec<_> = known.filter_map(|delivery| delivery.user.as_ref()).chain(&after.users).collect();
        for user in users.into_iter().filter(|user| !known.contains(user)) {
            self.put(keys::user(user, after.id), Arc::from([]));
        }
    }

    /// Takes back what the index says. Where it is put again under the same key, nothing is deleted, because
    /// no key may change twice.
    fn unindex(&mut self, state: &NotificationState, delivery: &Delivery, was: Indexed, is: Indexed) {
        match (was, is) {
            (Indexed::Due(was, _), Indexed::Due(is, _)) if was == is => {}
            (Indexed::Due(due_at, _), _) => {
                let entry = DueEntry {
                    lane: delivery.channel.clone(),
                    priority: state.priority,
                    due_at,
                    delivery: delivery.id,
                    delay: None,
                    destination: 0,
                };
                self.changes.push(Change::Delete(entry.key()));
            }
            (Indexed::Dead(at), _) => {
                self.changes.push(Change::Delete(keys::dead(at, delivery.id)));
                self.count_letter(state, delivery, -1);
            }
            (Indexed::Held | Indexed::No, _) => {}
        }
    }

    fn count_end(&mut self, state: &NotificationState, delivery: &Delivery) {
        let end = match delivery.phase {
            // A routing step that is over sent nothing.
            Phase::Delivered { .. } if delivery.channel.is_router() => return,
            Phase::Delivered { .. } => "delivered",
            Phase::Dead { .. } => "dead",
            Phase::Expired { .. } => "expired",
            Phase::Cancelled { .. } => "cancelled",
            Phase::Waiting { .. } | Phase::Held { .. } | Phase::Suppressed { .. } => return,
        };
        self.count(state, &format!("{end}/{}", delivery.channel));
    }

    /// The changes as transactions that are committed together. Nearly always it is one. A change of a very large
    /// notification may be more, and then each record goes with some of the indexes: all reach the disk in one call.
    pub(crate) fn into_transactions(self) -> Vec<Transaction> {
        let room = self.ceilings.transaction_bytes_max / 2;
        let (mut transactions, mut bytes) = (Vec::new(), 0);
        let mut current = Transaction::default();
        for change in self.into_changes() {
            let more = change.bytes();
            if bytes + more > room && !current.changes.is_empty() {
                transactions.push(std::mem::take(&mut current));
                bytes = 0;
            }
            bytes += more;
            current.changes.push(change);
        }
        transactions.push(current);
        transactions
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        let mut changes = self.changes;
        let changed = self.counters.into_iter().filter(|(_, n)| *n != 0);
        changes.extend(changed.map(|(key, n)| Change::Add(key, n)));
        changes
    }
}
