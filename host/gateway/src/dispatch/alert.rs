//! The alert about a dead letter: a notification of its own, accepted in the transaction that ends the delivery.
//!
//! At most one a channel and minute, and never about an alert.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanfare_model::delivery::Delivery;
use fanfare_model::fault::Fault;
use fanfare_model::json::JsonObject;
use fanfare_model::name::{ChannelName, EventType};
use fanfare_model::notification::{Notification, Target};
use fanfare_model::priority::Priority;
use fanfare_model::state::{NotificationState, Planned};
use fanfare_model::time::Timestamp;
use fanfare_store::{NewNotification, Store};
use serde_json::json;

/// Alerts about one channel are this far apart.
const APART: Duration = Duration::from_secs(60);

/// When each channel's dead letters were last told of.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    last: Mutex<HashMap<ChannelName, Duration>>,
}

impl Limiter {
    /// Whether an alert about `channel` may go out at `elapsed`; if so, the next one has to wait.
    pub(super) fn admits(&self, channel: &ChannelName, elapsed: Duration) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(channel).is_some_and(|at| elapsed < *at + APART) {
            return false;
        }
        last.insert(channel.clone(), elapsed);
        true
    }
}

/// The alert about `dead`, through `channel`.
pub(super) fn about(
    store: &Store,
    dead: &Delivery,
    event_type: &EventType,
    fault: &Fault,
    channel: &ChannelName,
    now: Timestamp,
) -> Option<NewNotification> {
    let facts = json!({
        "delivery": dead.id.to_string(),
        "notification": dead.id.notification.to_string(),
        "channel": dead.channel.as_str(),
        "type": event_type.as_str(),
        "code": fault.code.as_str(),
        "message": fault.message,
        "attempts": dead.attempts_total,
    });
    let data = facts.as_object().cloned().map(JsonObject::from).unwrap_or_default();
    let notification = Notification {
        to: vec![Target::Channel { channel: channel.clone(), address: None }],
        title: Some(format!("A delivery through {} is dead", dead.channel)),
        body: Some(format!(
            "{} ended after {} attempts: {} ({}). Send it again with POST /api/v1/admin/dlq/{}/retry.",
            dead.id, dead.attempts_total, fault.message, fault.code, dead.id
        )),
        data,
        priority: Priority::High,
        alert_about: Some(dead.id),
        ..Notification::new(store.next_id(), "fanfare.delivery.dead".parse().ok()?, now)
    };
    let mut state = NotificationState::accepted(&notification);
    let reason = format!("alert_channel of {}", dead.channel);
    let planned = Planned {
        channel: channel.clone(),
        user: None,
        address: None,
        due_at: now,
        fallback_order: 0,
        reason,
    };
    state.plan(vec![planned], now).ok()?;
    Some(NewNotification { notification: Arc::new(notification), state, dedup: None })
}
