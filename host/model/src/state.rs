//! The life of a notification as a pure state machine: every change of its deliveries is one function here.
//!
//! Invariants, which the store relies on when it derives its indexes from a state:
//! - a delivery that is [`Phase::Waiting`] has exactly one due entry, any other has none;
//! - a delivery that is [`Phase::Held`] begins or ends with the last of those that it stands in for;
//! - a delivery that is [`Phase::Dead`] is in the dead letters, any other is not;
//! - a terminal delivery changes only by a replay or a discard of its dead letter;
//! - the number of deliveries only grows, so that a [`crate::id::DeliveryId`] stays valid.

mod ends;
mod fallback;
mod fan_out;
mod plan;
mod settle;
mod status;

pub use self::fan_out::{FAN_OUT_MAX, FAN_OUT_PART, FanOut, Routing};
pub use self::plan::{DELIVERIES_MAX, Planned};
pub use self::settle::{Cost, Settled, Settlement};
pub use self::status::NotificationStatus;
use crate::delivery::{Delivery, Phase};
use crate::fault::Fault;
use crate::id::NotificationId;
use crate::name::{EventType, UserId};
use crate::notification::Notification;
use crate::priority::Priority;
use crate::time::Timestamp;
use crate::trace::{TraceEvent, TraceKind};

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
    /// Set while a large plan of the router is carried out in parts.
    pub fan_out: Option<FanOut>,
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
    #[error("a notification makes at most 1000 deliveries at once")]
    TooManyDeliveries,
    /// The router's plan is larger than any fan-out may be.
    #[error("a router makes at most 5000 deliveries of one notification")]
    FanOutTooLarge,
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
            fan_out: None,
            events: vec![TraceEvent::new(notification.created_at, TraceKind::Accepted, detail)],
            deliveries: Vec::new(),
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
        if matches!(delivery.phase, Phase::Waiting { .. }) { Ok(delivery) } else { Err(Misfit::NotWaiting) }
    }

    fn dead(&mut self, index: u16) -> Result<&mut Delivery, Misfit> {
        let delivery = self.at(index)?;
        if matches!(delivery.phase, Phase::Dead { .. }) { Ok(delivery) } else { Err(Misfit::NotDead) }
    }
}

impl Delivery {
    fn end(&mut self, phase: Phase, kind: TraceKind, now: Timestamp, detail: impl Into<String>) {
        self.phase = phase;
        self.note(TraceEvent::new(now, kind, detail));
    }
}

#[cfg(test)]
mod tests;
