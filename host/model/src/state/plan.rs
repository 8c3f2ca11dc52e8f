//! From a plan to deliveries: what intake or a router wants sent, and routing that is put off.

use std::collections::HashMap;

use super::{Misfit, NotificationState};
use crate::delivery::{Chain, Delivery, Fallback, Phase};
use crate::id::DeliveryId;
use crate::name::{ChannelName, UserId};
use crate::time::Timestamp;
use crate::trace::{TraceEvent, TraceKind};

/// A notification makes no more deliveries than this at once; a router may make more in parts.
pub const DELIVERIES_MAX: usize = 1_000;

/// What intake or a router wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Through which channel.
    pub channel: ChannelName,
    /// For which user.
    pub user: Option<UserId>,
    /// To which destination, in place of the channel's own.
    pub address: Option<String>,
    /// Not before this instant.
    pub due_at: Timestamp,
    /// Its place among the ways to reach its user: the lowest is sent, a higher one only if all lower ones die.
    pub fallback_order: u32,
    /// Why, for the trace.
    pub reason: String,
}

impl NotificationState {
    /// Adds the deliveries of a plan; the same channel, user and address twice is one delivery.
    ///
    /// # Errors
    /// [`Misfit::TooManyDeliveries`], and then nothing has changed.
    pub fn plan(&mut self, planned: Vec<Planned>, now: Timestamp) -> Result<(), Misfit> {
        let places = self.places(&planned);
        let count = places.iter().map(|place| place + 1).max().unwrap_or(0);
        if count.max(self.deliveries.len()) > DELIVERIES_MAX {
            return Err(Misfit::TooManyDeliveries);
        }
        let rows = rows(&planned);
        self.make(planned, rows, now);
        Ok(())
    }

    /// Makes the deliveries of `planned` that are not there yet. `rows` are their places in rows of fallbacks; none at
    /// all where there are no rows.
    pub(super) fn make(&mut self, planned: Vec<Planned>, rows: Vec<Option<Fallback>>, now: Timestamp) {
        let places = self.places(&planned);
        for (order, (target, place)) in planned.into_iter().zip(places).enumerate() {
            let row = rows.get(order).copied().flatten();
            if place >= self.deliveries.len() {
                self.push_delivery(target, now);
                if let (Some(_), Some(delivery)) = (row, self.deliveries.last_mut())
                    && let Phase::Waiting { due_at, .. } = delivery.phase
                {
                    delivery.phase = Phase::Held { due_at };
                }
            }
            if let (Some(fallback), Some(delivery)) = (row, self.deliveries.get_mut(place)) {
                delivery.join_row(fallback);
            }
        }
        let mut numbers: Vec<u16> = rows.into_iter().flatten().map(|fallback| fallback.row).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for row in numbers {
            self.advance_row(row, now);
        }
    }

    /// The index that each target's delivery has or will have. Two users at one address are one recipient; without
    /// addresses they are two.
    fn places(&self, planned: &[Planned]) -> Vec<usize> {
        if let ([_], true) = (planned, self.deliveries.is_empty()) {
            return vec![0];
        }
        let mut known = HashMap::with_capacity(self.deliveries.len() + planned.len());
        for (place, d) in self.deliveries.iter().enumerate() {
            known.entry(key(&d.channel, d.user.as_ref(), d.address.as_deref())).or_insert(place);
        }
        let (mut next, mut places) = (self.deliveries.len(), Vec::with_capacity(planned.len()));
        for target in planned {
            let place = *known
                .entry(key(&target.channel, target.user.as_ref(), target.address.as_deref()))
                .or_insert(next);
            next += usize::from(place == next);
            places.push(place);
        }
        places
    }

    fn push_delivery(&mut self, planned: Planned, now: Timestamp) {
        let index = u16::try_from(self.deliveries.len()).unwrap_or(u16::MAX);
        self.deliveries.push(Delivery {
            id: DeliveryId { notification: self.id, index },
            channel: planned.channel,
            user: planned.user,
            address: planned.address,
            phase: Phase::Waiting { due_at: planned.due_at, delay: None },
            chain: Chain::default(),
            attempts_total: 0,
            first_attempt_at: None,
            attempts: Vec::new(),
            events: vec![TraceEvent::new(now, TraceKind::Planned, planned.reason)],
            fallbacks: Vec::new(),
        });
    }

    /// Makes the notification wait for its router until `due_at`, as a delivery of the reserved channel.
    pub fn defer_routing(&mut self, due_at: Timestamp, now: Timestamp, why: &str) {
        self.events.push(TraceEvent::new(now, TraceKind::RoutingDeferred, why));
        let channel = ChannelName::router();
        self.push_delivery(
            Planned { channel, user: None, address: None, due_at, fallback_order: 0, reason: why.to_owned() },
            now,
        );
    }

    /// Notes what a router decided about the notification as a whole.
    pub fn routed(&mut self, now: Timestamp, detail: impl Into<String>) {
        self.events.push(TraceEvent::new(now, TraceKind::Routed, detail));
    }
}

/// What tells one delivery of a notification from another.
fn key<'a>(
    channel: &'a ChannelName,
    user: Option<&'a UserId>,
    address: Option<&'a str>,
) -> (&'a ChannelName, Option<&'a UserId>, Option<&'a str>) {
    (channel, if address.is_some() { None } else { user }, address)
}

/// Each target's place in the row of its user; nothing at all when there are no fallbacks. One plan is all that a
/// notification gets from its router, so that the numbers of its rows are its own.
pub(super) fn rows(planned: &[Planned]) -> Vec<Option<Fallback>> {
    if planned.iter().all(|target| target.fallback_order == 0) {
        return Vec::new();
    }
    let mut next = 0;
    let mut of_user: HashMap<Option<&UserId>, (u16, bool)> = HashMap::new();
    let mut first: HashMap<Option<&UserId>, u32> = HashMap::new();
    for target in planned {
        let user = target.user.as_ref();
        let order = *first.entry(user).or_insert(target.fallback_order);
        let (_, several) = of_user.entry(user).or_insert_with(|| {
            next += 1;
            (next - 1, false)
        });
        *several |= order != target.fallback_order;
    }
    let place = |target: &Planned| {
        let (row, several) = *of_user.get(&target.user.as_ref())?;
        several.then_some(Fallback { row, order: target.fallback_order })
    };
    planned.iter().map(place).collect()
}
