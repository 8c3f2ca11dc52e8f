//! Fallbacks: ways to reach one recipient in an order, each sent only once all before it are dead.
//!
//! A delivery that stands in for others is [`Phase::Held`] and has no due entry. It begins when every lower one of its
//! row has ended without any being delivered, and is suppressed as [`code::FALLBACK_UNNEEDED`] when one was. What
//! began stays begun: replaying a dead letter takes no fallback back.

use super::NotificationState;
use crate::delivery::{Delivery, Fallback, Phase};
use crate::fault::{Fault, code};
use crate::time::Timestamp;
use crate::trace::{TraceEvent, TraceKind};

/// A reason names no more dead deliveries than this.
const NAMED_MAX: usize = 4;

/// What the lower deliveries of a row say about those that are held.
enum Verdict {
    /// There are none.
    First,
    /// One of them may still be delivered.
    Open,
    /// This one was.
    Delivered(String),
    /// None was, and these died.
    Dead(String),
    Expired,
    Cancelled,
    Suppressed,
}

impl NotificationState {
    /// Lets what follows from the end of the delivery `index` happen to its fallbacks.
    pub(super) fn follow(&mut self, index: u16, now: Timestamp) {
        let Some(delivery) = self.delivery(index) else { return };
        // Nearly no delivery has any, and then nothing is copied.
        if delivery.fallbacks.is_empty() || !delivery.phase.is_terminal() {
            return;
        }
        for place in delivery.fallbacks.clone() {
            self.advance_row(place.row, now);
        }
    }

    /// Begins or ends what is held in a row, as its lower deliveries call for.
    pub(super) fn advance_row(&mut self, row: u16, now: Timestamp) {
        let held = self.deliveries.iter().filter(|delivery| matches!(delivery.phase, Phase::Held { .. }));
        let Some(order) = held.filter_map(|delivery| delivery.order_in(row)).min() else { return };
        let verdict = self.verdict(row, order);
        for delivery in &mut self.deliveries {
            let (Phase::Held { due_at }, Some(own)) = (&delivery.phase, delivery.order_in(row)) else {
                continue;
            };
            let due_at = *due_at;
            match &verdict {
                Verdict::Open => return,
                Verdict::First if own == order => delivery.phase = Phase::Waiting { due_at, delay: None },
                Verdict::Dead(which) if own == order => {
                    delivery.phase = Phase::Waiting { due_at: due_at.max(now), delay: None };
                    let why =
                        format!("it is sent because every way before it ended without success: {which}");
                    delivery.note(TraceEvent::new(now, TraceKind::FallbackBegun, why));
                }
                Verdict::First | Verdict::Dead(_) => {}
                // Another recipient may still need it.
                _ if delivery.fallbacks.len() > 1 => delivery.fallbacks.retain(|place| place.row != row),
                Verdict::Delivered(which) => delivery.drop_unneeded(&format!("{which} was delivered"), now),
                Verdict::Suppressed => {
                    delivery.drop_unneeded("what it stands in for is suppressed", now);
                }
                Verdict::Expired => {
                    let detail = "what it stands in for expired, and so does it";
                    delivery.end(Phase::Expired { at: now }, TraceKind::Expired, now, detail);
                }
                Verdict::Cancelled => {
                    let detail = "what it stands in for was cancelled, and so is it";
                    delivery.end(Phase::Cancelled { at: now }, TraceKind::Cancelled, now, detail);
                }
            }
        }
    }

    fn verdict(&self, row: u16, order: u32) -> Verdict {
        let (mut open, mut expired, mut cancelled, mut dead) = (false, false, false, Vec::new());
        let mut lower =
            self.deliveries.iter().filter(|d| d.order_in(row).is_some_and(|own| own < order)).peekable();
        if lower.peek().is_none() {
            return Verdict::First;
        }
        for delivery in lower {
            match &delivery.phase {
                Phase::Delivered { .. } => return Verdict::Delivered(delivery.way()),
                Phase::Waiting { .. } | Phase::Held { .. } => open = true,
                Phase::Dead { fault, .. } if dead.len() < NAMED_MAX => {
                    dead.push(format!("{} ({})", delivery.way(), fault.code));
                }
                Phase::Dead { .. } => {}
                Phase::Expired { .. } => expired = true,
                Phase::Cancelled { .. } => cancelled = true,
                Phase::Suppressed { .. } => {}
            }
        }
        match (open, dead.is_empty()) {
            (true, _) => Verdict::Open,
            (false, false) => Verdict::Dead(dead.join(", ")),
            (false, true) if expired => Verdict::Expired,
            (false, true) if cancelled => Verdict::Cancelled,
            (false, true) => Verdict::Suppressed,
        }
    }
}

impl Delivery {
    fn order_in(&self, row: u16) -> Option<u32> {
        self.fallbacks.iter().find(|place| place.row == row).map(|place| place.order)
    }

    /// Notes its place in a row; of two places in one row the lower counts.
    pub(super) fn join_row(&mut self, place: Fallback) {
        match self.fallbacks.iter_mut().find(|known| known.row == place.row) {
            Some(known) => known.order = known.order.min(place.order),
            None => self.fallbacks.push(place),
        }
    }

    fn way(&self) -> String {
        format!("{} through {}", self.id, self.channel)
    }

    fn drop_unneeded(&mut self, why: &str, now: Timestamp) {
        let fault = Fault::new(code::FALLBACK_UNNEEDED, format!("not needed: {why}"));
        let detail = format!("{}: {}", fault.code, fault.message);
        self.end(Phase::Suppressed { at: now, fault }, TraceKind::Suppressed, now, detail);
    }
}

#[cfg(test)]
mod tests;
