//! What clients see of notifications, deliveries and dead letters.
//!
//! Bounded: [`PAGE`] deliveries at a time, with counts of all of them and a cursor for the rest.

use std::collections::BTreeMap;
use std::fmt::Display;

use fanfare_model::delivery::{Delivery, DeliveryStatus, Phase};
use fanfare_model::fault::Fault;
use fanfare_model::id::{DeliveryId, NotificationId};
use fanfare_model::json::JsonObject;
use fanfare_model::notification::{Dedup, Notification, Target};
use fanfare_model::state::NotificationState;
use fanfare_model::time::Timestamp;
use fanfare_store::DeadLetter;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::pages::DeliveryCursor;
use crate::desk::Desk;

/// Deliveries of one notification on a page.
pub(super) const PAGE: usize = 100;

/// Routing steps are part of the trace; they show as deliveries only while they fail.
fn shown(delivery: &&Delivery) -> bool {
    !delivery.channel.is_router()
        || matches!(delivery.phase, Phase::Dead { .. })
        || delivery.attempts_total > 0 && !delivery.was_routing()
}

pub(super) fn fault(fault: &Fault) -> Value {
    json!({ "code": fault.code.as_str(), "message": fault.message, "status": fault.status })
}

fn text(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| at.to_string().into())
}

/// The answer to a submission: `{id, status, deliveries}`; with counts and a cursor when there are more than a page.
#[derive(Serialize)]
pub(super) struct Accepted<'a> {
    id: Text<NotificationId>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<Text<NotificationId>>,
    deliveries: Vec<AcceptedDelivery<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<Value>,
}

#[derive(Serialize)]
struct AcceptedDelivery<'a> {
    id: Text<DeliveryId>,
    channel: &'a str,
    recipient: Option<&'a str>,
    status: &'static str,
}

/// A value by its text. Submissions are answered by types, and not by [`Value`]s, because there are many of them.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// What the submitter of `state` is told.
pub(super) fn accepted(state: &NotificationState, now: Timestamp) -> Accepted<'_> {
    let mut all = state.deliveries.iter().filter(shown);
    let deliveries = all.by_ref().take(PAGE).map(|delivery| AcceptedDelivery {
        id: Text(delivery.id),
        channel: delivery.channel.as_str(),
        recipient: delivery.recipient(),
        status: delivery.status(now).as_str(),
    });
    let deliveries: Vec<_> = deliveries.collect();
    let (counts, next_cursor) = match (all.next(), deliveries.last()) {
        (Some(_), Some(last)) => (
            Some(counts(state, |delivery| delivery.status(now))),
            Some(DeliveryCursor(last.id.0.index).print(state.id).into()),
        ),
        _ => (None, None),
    };
    let suppression = state.suppressed.as_ref();
    Accepted {
        id: Text(state.id),
        status: state.status(now).as_str(),
        reason: suppression.map(|suppression| fault(&suppression.fault)),
        duplicate_of: suppression.and_then(|suppression| suppression.duplicate_of).map(Text),
        deliveries,
        counts,
        next_cursor,
    }
}

/// Where the deliveries go on behind `last`.
fn behind(state: &NotificationState, last: Option<&Delivery>) -> Value {
    last.map_or(Value::Null, |last| DeliveryCursor(last.id.index).print(state.id).into())
}

/// A notification in a list.
pub(super) fn listed(state: &NotificationState, now: Timestamp, desk: &Desk) -> Value {
    let mut view = head(state, now);
    view.insert("counts".to_owned(), counts(state, |delivery| desk.delivery_status(delivery)));
    Value::Object(view)
}

/// A notification with a page of its deliveries, those behind `after`.
pub(super) fn notification(
    state: &NotificationState,
    body: Option<&Notification>,
    after: Option<DeliveryCursor>,
    now: Timestamp,
    desk: &Desk,
) -> Value {
    let mut view = head(state, now);
    if let Some(body) = body {
        let object = |object: &JsonObject| Value::Object(object.to_map());
        view.insert("title".to_owned(), body.title.clone().into());
        view.insert("body".to_owned(), body.body.clone().into());
        view.insert("data".to_owned(), object(&body.data));
        view.insert("metadata".to_owned(), object(&body.metadata));
        view.insert("send_at".to_owned(), text(body.send_at));
        view.insert("traceparent".to_owned(), body.traceparent.clone().into());
        view.insert("to".to_owned(), body.to.iter().map(target).collect());
        view.insert("dedup".to_owned(), body.dedup.as_ref().map_or(Value::Null, dedup));
        view.insert("submitted_by".to_owned(), body.submitted_by.clone().into());
    }
    view.insert("counts".to_owned(), counts(state, |delivery| desk.delivery_status(delivery)));
    let fresh = |delivery: &&Delivery| after.is_none_or(|after| delivery.id.index > after.0);
    let mut rest = state.deliveries.iter().filter(shown).filter(fresh);
    let page: Vec<&Delivery> = rest.by_ref().take(PAGE).collect();
    let next = rest.next().map_or(Value::Null, |_| behind(state, page.last().copied()));
    let page: Vec<Value> = page.into_iter().map(|one| delivery(one, desk)).collect();
    view.insert("deliveries".to_owned(), page.into());
    view.insert("next_cursor".to_owned(), next);
    Value::Object(view)
}

fn target(target: &Target) -> Value {
    match target {
        Target::Channel { channel, address: None } => json!({ "channel": channel.as_str() }),
        Target::Channel { channel, address } => json!({ "channel": channel.as_str(), "address": address }),
        Target::User { user } => json!({ "user": user.as_str() }),
    }
}

fn dedup(dedup: &Dedup) -> Value {
    json!({ "key": dedup.key, "window_s": dedup.window.as_secs() })
}

fn head(state: &NotificationState, now: Timestamp) -> Map<String, Value> {
    let mut view = Map::new();
    view.insert("id".to_owned(), state.id.to_string().into());
    view.insert("type".to_owned(), state.event_type.as_str().into());
    view.insert("status".to_owned(), state.status(now).as_str().into());
    view.insert("priority".to_owned(), state.priority.as_str().into());
    view.insert("created_at".to_owned(), state.id.created_at().to_string().into());
    view.insert("expires_at".to_owned(), text(state.expires_at));
    view.insert("cancelled_at".to_owned(), text(state.cancelled_at));
    if let Some(suppression) = &state.suppressed {
        view.insert("reason".to_owned(), fault(&suppression.fault));
        view.insert("duplicate_of".to_owned(), suppression.duplicate_of.map(|id| id.to_string()).into());
    }
    view
}

fn counts(state: &NotificationState, status: impl Fn(&Delivery) -> DeliveryStatus) -> Value {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for delivery in state.deliveries.iter().filter(shown) {
        *counts.entry(status(delivery).as_str()).or_default() += 1;
    }
    json!(counts)
}

fn delivery(delivery: &Delivery, desk: &Desk) -> Value {
    let next = match &delivery.phase {
        Phase::Waiting { due_at, .. } => Some(*due_at),
        _ => None,
    };
    json!({
        "id": delivery.id.to_string(),
        "channel": delivery.channel.as_str(),
        "recipient": delivery.recipient(),
        "status": desk.delivery_status(delivery).as_str(),
        "attempts": delivery.attempts_total,
        "last_fault": delivery.last_fault().map(fault),
        "next_attempt_at": text(next),
    })
}

/// A dead letter in a list.
pub(super) fn dead_letter(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id.to_string(),
        "notification_id": letter.id.notification.to_string(),
        "channel": letter.channel.as_str(),
        "type": letter.event_type.as_str(),
        "user": letter.user.as_ref().map(ToString::to_string),
        "fault": fault(&letter.fault),
        "attempts": letter.attempts,
        "first_at": text(letter.first_at),
        "last_at": letter.last_at.to_string(),
    })
}
