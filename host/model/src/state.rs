//! The life of a notification as a pure state machine: every change of its deliveries is one function here.
//!
//! Invariants, which the store relies on when it derives its indexes from a state:
//! - a delivery that is [`Phase::Waiting`] has exactly one due entry, any other has none;
//! - a delivery that is [`Phase::Dead`] is in the dead letters, any other is not;
//! - a terminal delivery changes only by a replay or a discard of its dead letter;
//! - the number of deliveries only grows, so that a [`crate::id::DeliveryId`] stays valid.

use std::time::Duration;

use crate::delivery::{Attempt, AttemptOutcome, Chain, Delivery, Phase};
use crate::fault::{Fault, code};
use crate::id::{DeliveryId, NotificationId};
use crate::name::{ChannelName, EventType, UserId};
use crate::notification::Notification;
use crate::outcome::Outcome;
use crate::priority::Priority;
use crate::retry::{ChainPosition, RetryDecision, RetryPolicy};
use crate::time::Timestamp;
use crate::trace::{TraceEvent, TraceKind};

/// A notification makes no more deliveries than this.
pub const DELIVERIES_MAX: usize = 1_000;

/// All that changes about a notification.
#[derive(Clone, Debug, PartialEq)]
pub struct NotificationState {
    /// The notification.
    pub id: NotificationId,
    /// Copied from the notification, which is kept for a shorter time.
    pub event_type: EventType,
    /// Copied from the notification.
    pub priority: Priority,
    /// Copied from the notification.
    pub expires_at: Option<Timestamp>,
    /// When a client cancelled it.
    pub cancelled_at: Option<Timestamp>,
    /// Why nothing is sent at all, and when that was decided.
    pub suppressed: Option<Suppression>,
    /// The gateway's own alerts never cause alerts.
    pub is_alert: bool,
    /// The users it was submitted for, for the index by user.
    pub users: Vec<UserId>,
    /// Decisions about the notification as a whole, oldest first.
    pub events: Vec<TraceEvent>,
    /// Its deliveries; the place is the index in their ids.
    pub deliveries: Vec<Delivery>,
}

/// Why a notification is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// When that was decided.
    pub at: Timestamp,
    /// The reason.
    pub fault: Fault,
    /// The notification that it repeats.
    pub duplicate_of: Option<NotificationId>,
}

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

/// A notification's status as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotificationStatus {
    /// Nothing of it is due yet.
    Scheduled,
    /// It waits for its router.
    Routing,
    /// Some delivery is under way.
    Active,
    /// All deliveries have ended.
    Done,
    /// Nothing was sent, on purpose.
    Suppressed,
    /// It was cancelled before anything was sent.
    Cancelled,
    /// Its time was over before anything was sent.
    Expired,
}

impl NotificationStatus {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Routing,
        Self::Active,
        Self::Done,
        Self::Suppressed,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Its word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Routing => "routing",
            Self::Active => "active",
            Self::Done => "done",
            Self::Suppressed => "suppressed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether nothing more will happen without a person.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Done | Self::Suppressed | Self::Cancelled | Self::Expired)
    }
}

/// What became of a delivery when an attempt was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The receiver took it.
    Delivered,
    /// It is tried again after this delay.
    Retry(Duration),
    /// It is a dead letter now.
    Dead(Fault),
    /// It was cancelled while the attempt ran, and is not tried again.
    Cancelled,
    /// It would expire before its next attempt.
    Expired,
}

/// An attempt that ended, and what is needed to decide what follows.
#[derive(Clone, Debug)]
pub struct Settlement<'a> {
    /// When the attempt began.
    pub started_at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The generation that made it.
    pub generation: u64,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// The channel's retry policy.
    pub policy: &'a RetryPolicy,
    /// Now.
    pub now: Timestamp,
    /// Uniform in [0, 1), for jitter.
    pub chance: f64,
}

/// A change that does not fit the delivery's phase.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Misfit {
    /// There is no such delivery.
    #[error("the notification has no such delivery")]
    NoSuchDelivery,
    /// The delivery has ended already.
    #[error("the delivery has ended already")]
    NotWaiting,
    /// The delivery is no dead letter.
    #[error("the delivery is not a dead letter")]
    NotDead,
    /// The plan would make more deliveries than a notification may have.
    #[error("a notification makes at most 1000 deliveries")]
    TooManyDeliveries,
}

impl NotificationState {
    /// The state of a notification that was just accepted, without deliveries.
    #[must_use]
    pub fn accepted(notification: &Notification) -> Self {
        let by = notification.submitted_by.as_deref();
        let detail = by.map_or_else(|| "on disk".to_owned(), |key| format!("on disk, from key {key}"));
        Self {
            id: notification.id,
            event_type: notification.event_type.clone(),
            priority: notification.priority,
            expires_at: notification.expires_at,
            cancelled_at: None,
            suppressed: None,
            is_alert: notification.alert_about.is_some(),
            users: notification.users().cloned().collect(),
            events: vec![TraceEvent::new(notification.created_at, TraceKind::Accepted, detail)],
            deliveries: Vec::new(),
        }
    }

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

    /// Ends the notification without sending anything.
    pub fn suppress(&mut self, fault: Fault, duplicate_of: Option<NotificationId>, now: Timestamp) {
        self.events.push(TraceEvent::new(now, TraceKind::Suppressed, fault.message.clone()));
        self.suppressed = Some(Suppression { at: now, fault, duplicate_of });
    }

    /// Ends an attempt: delivered, another try, or a dead letter.
    ///
    /// # Errors
    /// [`Misfit`] when the delivery is not waiting, and then nothing has changed.
    pub fn settle(&mut self, index: u16, settlement: &Settlement<'_>) -> Result<Settled, Misfit> {
        let cancelled = self.cancelled_at.is_some();
        let expires_at = self.expires_at;
        let delivery = self.waiting(index)?;
        let Settlement { started_at, now, outcome, .. } = *settlement;
        delivery.attempts_total += 1;
        delivery.first_attempt_at.get_or_insert(started_at);
        delivery.chain.attempts += 1;
        let chain_started_at = *delivery.chain.started_at.get_or_insert(started_at);
        delivery.record(Attempt {
            number: delivery.attempts_total,
            chain: delivery.chain.number,
            started_at,
            took: settlement.took,
            generation: settlement.generation,
            outcome: AttemptOutcome::from(outcome),
        });
        let (fault, retry_after) = match outcome {
            Outcome::Delivered(_) => {
                delivery.end(Phase::Delivered { at: now }, TraceKind::Delivered, now, "the receiver took it");
                return Ok(Settled::Delivered);
            }
            Outcome::Permanent(fault) => return Ok(delivery.die(fault.clone(), now)),
            Outcome::Transient { fault, retry_after } => (fault, *retry_after),
        };
        if cancelled {
            delivery.end(
                Phase::Cancelled { at: now },
                TraceKind::Cancelled,
                now,
                "cancelled while it was sent",
            );
            return Ok(Settled::Cancelled);
        }
        let position = ChainPosition { attempts: delivery.chain.attempts, started_at: chain_started_at, now };
        match settlement.policy.decide(position, retry_after, settlement.chance) {
            RetryDecision::After(delay) => Ok(delivery.wait_for_retry(delay, retry_after, now, expires_at)),
            RetryDecision::Exhausted => Ok(delivery.die(fault.clone(), now)),
            RetryDecision::Expired => {
                let message =
                    format!("gave up after {:?}: {}", settlement.policy.give_up_after, fault.message);
                Ok(delivery.die(Fault::new(code::RETRY_EXPIRED, message).with_status(fault.status), now))
            }
        }
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

    /// Cancels every waiting delivery that `in_flight` does not claim; those under way end by their attempt.
    /// Answers how many were cancelled.
    pub fn cancel(&mut self, now: Timestamp, in_flight: impl Fn(u16) -> bool) -> usize {
        self.cancelled_at.get_or_insert(now);
        let mut cancelled = 0;
        for delivery in &mut self.deliveries {
            if !delivery.phase.is_terminal() && !in_flight(delivery.id.index) {
                delivery.end(
                    Phase::Cancelled { at: now },
                    TraceKind::Cancelled,
                    now,
                    "cancelled by a client",
                );
                cancelled += 1;
            }
        }
        cancelled
    }

    /// Ends a waiting delivery whose notification's time is over.
    ///
    /// # Errors
    /// [`Misfit`] when the delivery is not waiting.
    pub fn expire(&mut self, index: u16, now: Timestamp) -> Result<(), Misfit> {
        let delivery = self.waiting(index)?;
        delivery.end(
            Phase::Expired { at: now },
            TraceKind::Expired,
            now,
            "expires_at passed before it was sent",
        );
        Ok(())
    }

    /// Begins a new chain of attempts for a dead letter, due at once, with its history kept.
    ///
    /// # Errors
    /// [`Misfit`] when the delivery is no dead letter.
    pub fn replay(&mut self, index: u16, now: Timestamp, by: &str) -> Result<(), Misfit> {
        let delivery = self.dead(index)?;
        delivery.chain = Chain { number: delivery.chain.number + 1, attempts: 0, started_at: None };
        delivery.phase = Phase::Waiting { due_at: now, delay: None };
        delivery.note(TraceEvent::new(now, TraceKind::Replayed, format!("sent again by {by}")));
        Ok(())
    }

    /// Takes a dead letter out of the list for good.
    ///
    /// # Errors
    /// [`Misfit`] when the delivery is no dead letter.
    pub fn discard(&mut self, index: u16, now: Timestamp, by: &str) -> Result<(), Misfit> {
        let detail = format!("discarded by {by}");
        self.dead(index)?.end(Phase::Cancelled { at: now }, TraceKind::Discarded, now, detail);
        Ok(())
    }

    /// The notification's status by what the store knows.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> NotificationStatus {
        if self.suppressed.is_some() {
            return NotificationStatus::Suppressed;
        }
        let waiting = |delivery: &&Delivery| !delivery.phase.is_terminal();
        if self.deliveries.iter().any(|delivery| waiting(&delivery)) {
            return self.open_status(now);
        }
        let all =
            |want: fn(&Phase) -> bool| self.deliveries.iter().all(|d| want(&d.phase) || d.was_routing());
        if self.cancelled_at.is_some() && all(|phase| matches!(phase, Phase::Cancelled { .. })) {
            NotificationStatus::Cancelled
        } else if !self.deliveries.is_empty() && all(|phase| matches!(phase, Phase::Expired { .. })) {
            NotificationStatus::Expired
        } else {
            NotificationStatus::Done
        }
    }

    fn open_status(&self, now: Timestamp) -> NotificationStatus {
        let open = || self.deliveries.iter().filter(|delivery| !delivery.phase.is_terminal());
        let untouched = |delivery: &Delivery| match delivery.phase {
            Phase::Waiting { due_at, .. } => due_at > now && delivery.attempts_total == 0,
            _ => false,
        };
        if self.deliveries.iter().all(|d| untouched(d) || d.was_routing()) {
            NotificationStatus::Scheduled
        } else if open().any(|delivery| delivery.channel.is_router()) {
            NotificationStatus::Routing
        } else {
            NotificationStatus::Active
        }
    }

    /// The delivery at `index`.
    #[must_use]
    pub fn delivery(&self, index: u16) -> Option<&Delivery> {
        self.deliveries.get(usize::from(index))
    }

    fn at(&mut self, index: u16) -> Result<&mut Delivery, Misfit> {
        self.deliveries.get_mut(usize::from(index)).ok_or(Misfit::NoSuchDelivery)
    }

    fn waiting(&mut self, index: u16) -> Result<&mut Delivery, Misfit> {
        let delivery = self.at(index)?;
        if delivery.phase.is_terminal() { Err(Misfit::NotWaiting) } else { Ok(delivery) }
    }

    fn dead(&mut self, index: u16) -> Result<&mut Delivery, Misfit> {
        let delivery = self.at(index)?;
        if matches!(delivery.phase, Phase::Dead { .. }) { Ok(delivery) } else { Err(Misfit::NotDead) }
    }
}

impl Delivery {
    /// A routing step that is over: it is part of the trace, and no longer something to be sent.
    #[must_use]
    pub fn was_routing(&self) -> bool {
        self.channel.is_router() && matches!(self.phase, Phase::Delivered { .. })
    }

    fn end(&mut self, phase: Phase, kind: TraceKind, now: Timestamp, detail: impl Into<String>) {
        self.phase = phase;
        self.note(TraceEvent::new(now, kind, detail));
    }

    fn die(&mut self, fault: Fault, now: Timestamp) -> Settled {
        let detail = format!("{}: {}", fault.code, fault.message);
        self.end(Phase::Dead { at: now, fault: fault.clone() }, TraceKind::Dead, now, detail);
        Settled::Dead(fault)
    }

    fn wait_for_retry(
        &mut self,
        delay: Duration,
        retry_after: Option<Duration>,
        now: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Settled {
        let due_at = now.plus(delay);
        if expires_at.is_some_and(|end| end <= due_at) {
            let detail = "expires_at comes before the next attempt";
            self.end(Phase::Expired { at: now }, TraceKind::Expired, now, detail);
            return Settled::Expired;
        }
        let why = match retry_after {
            Some(floor) => format!("in {delay:.1?}; the receiver asked for {floor:.1?}"),
            None => format!("in {delay:.1?}"),
        };
        self.end(Phase::Waiting { due_at, delay: Some(delay) }, TraceKind::RetryScheduled, now, why);
        Settled::Retry(delay)
    }
}

#[cfg(test)]
mod tests;
