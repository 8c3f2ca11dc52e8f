//! The status of a whole notification, which is nowhere stored: it follows from its deliveries.

use super::NotificationState;
use crate::delivery::{Delivery, Phase};
use crate::time::Timestamp;

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

impl NotificationState {
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
            Phase::Held { .. } => true,
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
}

impl Delivery {
    /// A routing step that is over: it is part of the trace, and no longer something to be sent.
    #[must_use]
    pub fn was_routing(&self) -> bool {
        self.channel.is_router() && matches!(self.phase, Phase::Delivered { .. })
    }
}
