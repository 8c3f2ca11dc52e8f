//! What a client submits, once. It never changes after it was accepted.

use std::time::Duration;

use crate::id::{DeliveryId, NotificationId};
use crate::json::JsonObject;
use crate::name::{ChannelName, EventType, UserId};
use crate::priority::Priority;
use crate::time::Timestamp;

/// A notification as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its id, made at acceptance.
    pub id: NotificationId,
    /// What kind of event it tells of.
    pub event_type: EventType,
    /// When it was accepted, by the wall clock.
    pub created_at: Timestamp,
    /// Whom it is for; empty means that the router decides.
    pub to: Vec<Target>,
    /// A headline.
    pub title: Option<String>,
    /// The message.
    pub body: Option<String>,
    /// Structured facts for templates, rules and receivers.
    pub data: JsonObject,
    /// How urgent it is.
    pub priority: Priority,
    /// Not before this instant.
    pub send_at: Option<Timestamp>,
    /// Not after this instant.
    pub expires_at: Option<Timestamp>,
    /// Suppresses later ones with the same key.
    pub dedup: Option<Dedup>,
    /// The submitter's own remarks; never interpreted.
    pub metadata: JsonObject,
    /// The W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The name of the API key that submitted it.
    pub submitted_by: Option<String>,
    /// Set on the gateway's own alert about a dead letter, so that none is ever made about an alert.
    pub alert_about: Option<DeliveryId>,
}

/// Longer addresses are refused, of a client and of a router: longer than any of the first-party channels, of which
/// URLs are the longest.
pub const ADDRESS_BYTES_MAX: usize = 4 * 1_024;

/// One entry of `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Exactly one delivery through this channel; never routed.
    Channel {
        /// The channel.
        channel: ChannelName,
        /// Replaces the channel's own destination.
        address: Option<String>,
    },
    /// A user, whose channels the router chooses.
    User {
        /// The user.
        user: UserId,
    },
}

/// A key and the time during which it suppresses repetitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// The key, compared within one API key.
    pub key: String,
    /// How long after the first acceptance repetitions are suppressed.
    pub window: Duration,
}

impl Notification {
    /// One that says nothing but its type: for nobody in particular, at normal priority, now.
    #[must_use]
    pub fn new(id: NotificationId, event_type: EventType, created_at: Timestamp) -> Self {
        Self {
            id,
            event_type,
            created_at,
            to: Vec::new(),
            title: None,
            body: None,
            data: JsonObject::default(),
            priority: Priority::default(),
            send_at: None,
            expires_at: None,
            dedup: None,
            metadata: JsonObject::default(),
            traceparent: None,
            submitted_by: None,
            alert_about: None,
        }
    }

    /// When it is due: `send_at`, or at once.
    #[must_use]
    pub fn due_at(&self) -> Timestamp {
        self.send_at.unwrap_or(self.created_at)
    }

    /// The users that it names.
    pub fn users(&self) -> impl Iterator<Item = &UserId> {
        self.to.iter().filter_map(|target| match target {
            Target::User { user } => Some(user),
            Target::Channel { .. } => None,
        })
    }

    /// Whether a router has a say: it names users, or nobody at all.
    #[must_use]
    pub fn needs_routing(&self) -> bool {
        self.to.is_empty() || self.users().next().is_some()
    }
}
