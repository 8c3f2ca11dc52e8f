//! The trace of one notification: everything decided about it, in the order of time, a page at a time.
//!
//! Bounded by `limit` steps a page. A notification has up to a thousand deliveries with a history each, so only the
//! steps of the page are written out.

use fanfare_model::delivery::{Attempt, AttemptOutcome, Delivery};
use fanfare_model::state::NotificationState;
use fanfare_model::time::Timestamp;
use fanfare_model::trace::{TraceEvent, TraceKind};
use serde_json::{Value, json};

use super::pages::StepCursor;
use super::view::fault;

#[derive(Clone, Copy)]
enum Step<'a> {
    /// Of the notification, or of one delivery.
    Event(&'a TraceEvent, Option<&'a Delivery>),
    Attempt(&'a Attempt, &'a Delivery),
}

impl Step<'_> {
    /// Its place, but for those that are equal up to here.
    fn place(&self) -> StepCursor {
        let (at, rank, delivery) = match self {
            Self::Event(event, delivery) => (event.at, rank(event.kind), *delivery),
            Self::Attempt(attempt, delivery) => {
                (ended_at(attempt), rank(TraceKind::Attempted), Some(*delivery))
            }
        };
        let of = delivery.map_or(0, |delivery| delivery.id.index.saturating_add(1));
        StepCursor { at, rank, of, nth: 0 }
    }

    fn view(&self) -> Value {
        match self {
            Self::Event(event, None) => {
                json!({ "at": event.at.to_string(), "kind": event.kind.as_str(), "detail": event.detail })
            }
            Self::Event(event, Some(delivery)) => json!({
                "at": event.at.to_string(), "kind": event.kind.as_str(), "detail": event.detail,
                "delivery": delivery.id.to_string(), "channel": delivery.channel.as_str(),
            }),
            Self::Attempt(tried, delivery) => attempt(delivery, tried, ended_at(tried)),
        }
    }
}

/// Within one millisecond: planned, attempted, and then what followed from that.
fn rank(kind: TraceKind) -> u8 {
    match kind {
        TraceKind::Accepted => 0,
        TraceKind::Routed | TraceKind::RoutingDeferred => 1,
        TraceKind::Planned => 2,
        TraceKind::Attempted => 3,
        _ => 4,
    }
}

fn ended_at(attempt: &Attempt) -> Timestamp {
    attempt.started_at.plus(attempt.took)
}

/// The steps behind `after`, `limit` at most.
pub(super) fn page(
    state: &NotificationState,
    now: Timestamp,
    after: Option<StepCursor>,
    limit: usize,
) -> Value {
    let steps = ordered(state);
    let first = after.map_or(0, |after| steps.partition_point(|(place, _)| *place <= after));
    let rest = steps.get(first..).unwrap_or_default();
    let page = rest.get(..limit).unwrap_or(rest);
    let next = page.last().filter(|_| page.len() < rest.len()).map(|(place, _)| place.print(state.id));
    let items: Vec<Value> = page.iter().map(|(_, step)| step.view()).collect();
    json!({
        "id": state.id.to_string(),
        "status": state.status(now).as_str(),
        "items": items,
        "next_cursor": next,
    })
}

fn ordered(state: &NotificationState) -> Vec<(StepCursor, Step<'_>)> {
    let of_deliveries = state.deliveries.iter().flat_map(|delivery| {
        let attempts = delivery.attempts.iter().map(move |attempt| Step::Attempt(attempt, delivery));
        attempts.chain(delivery.events.iter().map(move |event| Step::Event(event, Some(delivery))))
    });
    let own = state.events.iter().map(|event| Step::Event(event, None));
    let mut steps: Vec<_> = own.chain(of_deliveries).map(|step| (step.place(), step)).collect();
    steps.sort_by_key(|(place, _)| *place);
    let mut before: Option<StepCursor> = None;
    for (place, _) in &mut steps {
        if let Some(before) = before
            && (StepCursor { nth: 0, ..before }) == *place
        {
            place.nth = before.nth.saturating_add(1);
        }
        before = Some(*place);
    }
    steps
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
