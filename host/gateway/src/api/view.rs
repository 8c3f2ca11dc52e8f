//! What clients see of notifications, deliveries and dead letters.
//!
//! Bounded: [`PAGE`] deliveries at a time, with counts of all of them and a cursor for the rest.

#![allow(clippy::indexing_slicing, reason = "a JSON value that lacks a member gives null, and never panics")]

use std::collections::BTreeMap;

use fanfare_model::delivery::{Attempt, AttemptOutcome, Delivery, Phase};
use fanfare_model::fault::Fault;
use fanfare_model::json::JsonObject;
use fanfare_model::notification::Notification;
use fanfare_model::state::NotificationState;
use fanfare_model::time::Timestamp;
use fanfare_store::DeadLetter;
use serde_json::{Map, Value, json};

use crate::desk::Desk;

/// Deliveries of one notification on a page.
pub(super) const PAGE: usize = 100;

/// Routing steps are part of the trace; they show as deliveries only while they fail.
fn shown(delivery: &&Delivery) -> bool {
    !delivery.channel.is_router()
        || matches!(delivery.phase, Phase::Dead { .. })
        || delivery.attempts_total > 0 && !delivery.was_routing()
}

fn fault(fault: &Fault) -> Value {
    json!({ "code": fault.code.as_str(), "message": fault.message, "status": fault.status })
}

fn text(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| at.to_string().into())
}

/// The answer to a submission: `{id, status, deliveries}`.
pub(super) fn accepted(state: &NotificationState, now: Timestamp) -> Value {
    let delivery = |delivery: &Delivery| {
        json!({
            "id": delivery.id.to_string(),
            "channel": delivery.channel.as_str(),
            "recipient": delivery.recipient(),
            "status": delivery.status(now).as_str(),
        })
    };
    let deliveries: Vec<Value> = state.deliveries.iter().filter(shown).take(PAGE).map(delivery).collect();
    let mut view = Map::new();
    view.insert("id".to_owned(), state.id.to_string().into());
    view.insert("status".to_owned(), state.status(now).as_str().into());
    if let Some(suppression) = &state.suppressed {
        view.insert("reason".to_owned(), fault(&suppression.fault));
        if let Some(first) = suppression.duplicate_of {
            view.insert("duplicate_of".to_owned(), first.to_string().into());
        }
    }
    view.insert("deliveries".to_owned(), deliveries.into());
    Value::Object(view)
}

/// A notification in a list.
pub(super) fn listed(state: &NotificationState, now: Timestamp, desk: &Desk) -> Value {
    let mut view = head(state, now);
    view.insert("counts".to_owned(), counts(state, desk));
    Value::Object(view)
}

/// A notification with its deliveries from `first` on.
pub(super) fn notification(
    state: &NotificationState,
    body: Option<&Notification>,
    first: usize,
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
    }
    view.insert("counts".to_owned(), counts(state, desk));
    let all: Vec<&Delivery> = state.deliveries.iter().filter(shown).collect();
    let page: Vec<Value> = all.iter().skip(first).take(PAGE).map(|one| delivery(one, desk)).collect();
    let next = first + page.len();
    view.insert("deliveries".to_owned(), page.into());
    let cursor = (next < all.len()).then(|| next.to_string());
    view.insert("next_cursor".to_owned(), cursor.into());
    Value::Object(view)
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

fn counts(state: &NotificationState, desk: &Desk) -> Value {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for delivery in state.deliveries.iter().filter(shown) {
        *counts.entry(desk.delivery_status(delivery).as_str()).or_default() += 1;
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

/// Everything decided about a notification, in the order of time.
pub(super) fn trace(state: &NotificationState, now: Timestamp) -> Value {
    let mut events: Vec<(Timestamp, Value)> = Vec::new();
    for event in &state.events {
        let view = json!({ "at": event.at.to_string(), "kind": event.kind.as_str(), "detail": event.detail });
        events.push((event.at, view));
    }
    for delivery in &state.deliveries {
        for tried in &delivery.attempts {
            let at = tried.started_at.plus(tried.took);
            events.push((at, attempt(delivery, tried, at)));
        }
        for event in &delivery.events {
            let view = json!({
                "at": event.at.to_string(), "kind": event.kind.as_str(), "detail": event.detail,
                "delivery": delivery.id.to_string(), "channel": delivery.channel.as_str(),
            });
            events.push((event.at, view));
        }
    }
    // Within one millisecond: planned, attempted, and then what followed from that.
    events.sort_by_key(|(at, view)| (*at, rank(&view["kind"])));
    let events: Vec<Value> = events.into_iter().map(|(_, view)| view).collect();
    json!({ "id": state.id.to_string(), "status": state.status(now).as_str(), "events": events })
}

fn rank(kind: &Value) -> u8 {
    match kind.as_str() {
        Some("accepted") => 0,
        Some("routed" | "routing-deferred") => 1,
        Some("planned") => 2,
        Some("attempted") => 3,
        _ => 4,
    }
}

fn attempt(delivery: &Delivery, attempt: &Attempt, at: Timestamp) -> Value {
    let (outcome, detail, what) = match &attempt.outcome {
        AttemptOutcome::Delivered(receipt) => {
            let status = receipt.status.map_or_else(String::new, |status| format!(" with {status}"));
            let view = json!({ "provider_id": receipt.provider_id, "status": receipt.status, "detail": receipt.detail });
            ("delivered", format!("attempt {} was taken{status}", attempt.number), ("receipt", view))
        }
        AttemptOutcome::Failed { fault: failed, transient } => {
            let word = if *transient { "transient" } else { "permanent" };
            let detail = format!("attempt {} failed: {}: {}", attempt.number, failed.code, failed.message);
            (word, detail, ("fault", fault(failed)))
        }
    };
    let mut facts = json!({
        "number": attempt.number,
        "chain": attempt.chain,
        "started_at": attempt.started_at.to_string(),
        "duration_ms": u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        "generation": attempt.generation,
        "outcome": outcome,
    });
    if let Some(facts) = facts.as_object_mut() {
        facts.insert(what.0.to_owned(), what.1);
    }
    json!({
        "at": at.to_string(), "kind": "attempted", "detail": detail,
        "delivery": delivery.id.to_string(), "channel": delivery.channel.as_str(), "attempt": facts,
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
