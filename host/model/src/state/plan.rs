//! From a plan to deliveries: what intake or a router wants sent, and routing that is put off.

use super::{Misfit, NotificationState};
use crate::delivery::{Chain, Delivery, Phase};
use crate::fault::{Fault, code};
use crate::id::DeliveryId;
use crate::name::{ChannelName, UserId};
use crate::time::Timestamp;
use crate::trace::{TraceEvent, TraceKind};

/// A notification makes no more deliveries than this.
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
    /// Why, for the trace.
    pub reason: String,
}

impl NotificationState {
    /// Adds the deliveries of a plan; the same channel, user and address twice is one delivery.
    ///
    /// # Errors
    /// [`Misfit::TooManyDeliveries`], and then nothing has changed.
    pub fn plan(&mut self, planned: Vec<Planned>, now: Timestamp) -> Result<(), Misfit> {
        let mut fresh = Vec::new();
        for target in planned {
            let same = |channel: &ChannelName, user: &Option<UserId>, address: &Option<String>| {
                *channel == target.channel
                    && *address == target.address
                    // Two users at one address are one recipient; without addresses they are two.
                    && (address.is_some() || *user == target.user)
            };
            let known = self.deliveries.iter().any(|d| same(&d.channel, &d.user, &d.address))
                || fresh.iter().any(|p: &Planned| same(&p.channel, &p.user, &p.address));
            if !known {
                fresh.push(target);
            }
        }
        if self.deliveries.len() + fresh.len() > DELIVERIES_MAX {
            return Err(Misfit::TooManyDeliveries);
        }
        for target in fresh {
            self.push_delivery(target, now);
        }
        Ok(())
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
        });
    }

    /// Makes the notification wait for its router until `due_at`, as a delivery of the reserved channel.
    pub fn defer_routing(&mut self, due_at: Timestamp, now: Timestamp, why: &str) {
        self.events.push(TraceEvent::new(now, TraceKind::RoutingDeferred, why));
        let channel = ChannelName::router();
        self.push_delivery(
            Planned { channel, user: None, address: None, due_at, reason: why.to_owned() },
            now,
        );
    }

    /// Notes what a router decided about the notification as a whole.
    pub fn routed(&mut self, now: Timestamp, detail: impl Into<String>) {
        self.events.push(TraceEvent::new(now, TraceKind::Routed, detail));
    }

    /// Turns the routing delivery `index` into the deliveries that a router gave, or into a suppression when
    /// it gave none.
    ///
    /// # Errors
    /// [`Misfit`] when it is not waiting or the plan is too large, and then nothing has changed.
    pub fn route(
        &mut self,
        index: u16,
        planned: Vec<Planned>,
        detail: &str,
        now: Timestamp,
    ) -> Result<(), Misfit> {
        self.waiting(index)?;
        self.plan(planned, now)?;
        self.routed(now, detail);
        let only_routing = self.deliveries.iter().all(|delivery| delivery.channel.is_router());
        self.waiting(index)?.end(Phase::Delivered { at: now }, TraceKind::Routed, now, detail);
        if only_routing {
            self.suppress(Fault::new(code::ROUTE_EMPTY, detail), None, now);
        }
        Ok(())
    }
}
