//! One notification to one recipient through one channel, and the attempts made for it.

use std::fmt;
use std::time::Duration;

use crate::fault::Fault;
use crate::id::DeliveryId;
use crate::name::{ChannelName, UserId};
use crate::outcome::{Outcome, Receipt};
use crate::time::Timestamp;
use crate::trace::TraceEvent;

/// Attempts and events kept for one delivery; older ones of a long history make room, the counts stay.
pub const HISTORY_MAX: usize = 64;

/// A delivery with its whole history.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its id, which is also the key that every attempt repeats to the receiver.
    pub id: DeliveryId,
    /// The channel that carries it; [`ChannelName::router`] while the notification waits for its routing.
    pub channel: ChannelName,
    /// The user it is for, if it is for one.
    pub user: Option<UserId>,
    /// Replaces the channel's own destination.
    pub address: Option<String>,
    /// Where in its life it stands.
    pub phase: Phase,
    /// The chain of attempts it is in; a replay begins a new one.
    pub chain: Chain,
    /// Attempts made in all chains.
    pub attempts_total: u32,
    /// When the very first attempt began.
    pub first_attempt_at: Option<Timestamp>,
    /// The latest attempts, oldest first, [`HISTORY_MAX`] at most.
    pub attempts: Vec<Attempt>,
    /// The latest decisions about it, oldest first, [`HISTORY_MAX`] at most.
    pub events: Vec<TraceEvent>,
    /// Its places in rows of fallbacks; empty unless a router asked for some.
    pub fallbacks: Vec<Fallback>,
}

/// A place in a row of ways to reach one recipient, of which a later one is sent only once all before it are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Which row of the notification; one for each recipient.
    pub row: u16,
    /// Its order in the row, as the router gave it.
    pub order: u32,
}

/// A row of attempts that share one budget of retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// 0 for the first, one more for each replay.
    pub number: u32,
    /// Attempts made in it.
    pub attempts: u32,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
}

/// Where in its life a delivery stands, as far as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has exactly one due entry.
    Waiting {
        /// When it is due, by the wall clock.
        due_at: Timestamp,
        /// For a retry: how long it waits at the most, whatever the wall clock does.
        delay: Option<Duration>,
    },
    /// It stands in for others, and is sent only if they die; it has no due entry.
    Held {
        /// Not before this instant, by the wall clock.
        due_at: Timestamp,
    },
    /// The receiver took it.
    Delivered {
        /// When.
        at: Timestamp,
    },
    /// It ended without success, and waits for a person.
    Dead {
        /// When.
        at: Timestamp,
        /// Why.
        fault: Fault,
    },
    /// It was cancelled, or its dead letter discarded.
    Cancelled {
        /// When.
        at: Timestamp,
    },
    /// Its time was over before it was sent.
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Nothing was sent, on purpose.
    Suppressed {
        /// When.
        at: Timestamp,
        /// Why.
        fault: Fault,
    },
}

impl Phase {
    /// Whether it is one of the five ends.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Held { .. })
    }
}

/// One call of a channel plugin for a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first of all chains.
    pub number: u32,
    /// The chain it belongs to.
    pub chain: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The generation of the channel that made it.
    pub generation: u64,
    /// How it ended.
    pub outcome: AttemptOutcome,
}

/// How an attempt ended, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The receiver took it.
    Delivered(Receipt),
    /// It failed.
    Failed {
        /// What went wrong.
        fault: Fault,
        /// Whether it could have worked later.
        transient: bool,
    },
}

impl From<&Outcome> for AttemptOutcome {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered(receipt) => Self::Delivered(receipt.clone()),
            Outcome::Transient { fault, .. } => Self::Failed { fault: fault.clone(), transient: true },
            Outcome::Permanent(fault) => Self::Failed { fault: fault.clone(), transient: false },
        }
    }
}

/// A delivery's status as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// Waits for its `send_at`, or for the deliveries that it stands in for.
    Scheduled,
    /// Waits for its turn.
    Queued,
    /// An attempt is under way.
    Sending,
    /// Waits for its next attempt.
    Retrying,
    /// Its channel is not there or is suspended.
    Parked,
    /// The receiver took it.
    Delivered,
    /// It ended without success.
    Dead,
    /// It was cancelled.
    Cancelled,
    /// Its time was over.
    Expired,
    /// Nothing was sent, on purpose.
    Suppressed,
}

impl DeliveryStatus {
    /// Its word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Retrying => "retrying",
            Self::Parked => "parked",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Suppressed => "suppressed",
        }
    }
}

impl fmt::Display for DeliveryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Delivery {
    /// Its status by what the store knows; `Sending` and `Parked` are known to dispatch alone.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> DeliveryStatus {
        match &self.phase {
            Phase::Waiting { .. } if self.chain.attempts > 0 => DeliveryStatus::Retrying,
            Phase::Waiting { due_at, .. } if *due_at > now => DeliveryStatus::Scheduled,
            Phase::Waiting { .. } => DeliveryStatus::Queued,
            Phase::Held { .. } => DeliveryStatus::Scheduled,
            Phase::Delivered { .. } => DeliveryStatus::Delivered,
            Phase::Dead { .. } => DeliveryStatus::Dead,
            Phase::Cancelled { .. } => DeliveryStatus::Cancelled,
            Phase::Expired { .. } => DeliveryStatus::Expired,
            Phase::Suppressed { .. } => DeliveryStatus::Suppressed,
        }
    }

    /// The fault of the latest failed attempt, or what it died of.
    #[must_use]
    pub fn last_fault(&self) -> Option<&Fault> {
        if let Phase::Dead { fault, .. } | Phase::Suppressed { fault, .. } = &self.phase {
            return Some(fault);
        }
        match &self.attempts.last()?.outcome {
            AttemptOutcome::Failed { fault, .. } => Some(fault),
            AttemptOutcome::Delivered(_) => None,
        }
    }

    /// Who receives it, for people: the user, else the address.
    #[must_use]
    pub fn recipient(&self) -> Option<&str> {
        self.user.as_ref().map(UserId::as_str).or(self.address.as_deref())
    }

    pub(crate) fn note(&mut self, event: TraceEvent) {
        push_bounded(&mut self.events, event);
    }

    pub(crate) fn record(&mut self, attempt: Attempt) {
        push_bounded(&mut self.attempts, attempt);
    }
}

/// Keeps the first half and the latest half: how it began and where it is now matter most.
fn push_bounded<T>(history: &mut Vec<T>, item: T) {
    if history.len() >= HISTORY_MAX {
        history.remove(HISTORY_MAX / 2);
    }
    history.push(item);
}
