//! Between the domain's types and the contract's records.

use std::time::Duration;

use fanfare_model::fault::{Fault, FaultCode};
use fanfare_model::notification::Notification;
use fanfare_model::outcome::{Outcome, Receipt};
use fanfare_model::priority::Priority;
use fanfare_model::text::plain;
use fanfare_model::time::Timestamp;

use crate::bindings::channel::fanfare::types::types as wit;
use crate::bindings::router::exports::fanfare::router::rules;
use crate::guest::cut;
use crate::limits::Limits;
use crate::report::{AttemptInput, Cut, Person, Plan, PlanTarget};

/// A guest's texts are cut here before they are stored.
const TEXT_BYTES_MAX: usize = 1_024;
/// More targets than a notification may have are no plan.
const TARGETS_MAX: usize = fanfare_model::state::FAN_OUT_MAX;
const NOTES_MAX: usize = 100;
/// What is shortened is told of one by one up to here.
const CUTS_MAX: usize = 20;

pub(crate) fn notification(from: &Notification) -> wit::Notification {
    wit::Notification {
        id: from.id.to_string(),
        event_type: from.event_type.to_string(),
        created_at_ms: from.created_at.as_ms(),
        priority: match from.priority {
            Priority::Critical => wit::Priority::Critical,
            Priority::High => wit::Priority::High,
            Priority::Normal => wit::Priority::Normal,
            Priority::Low => wit::Priority::Low,
        },
        title: from.title.clone(),
        body: from.body.clone(),
        data: from.data.as_str().to_owned(),
        metadata: from.metadata.as_str().to_owned(),
        template: None,
        attachments: Vec::new(),
        extensions: Vec::new(),
    }
}

pub(crate) fn attempt(input: &AttemptInput, channel: &str, now: Timestamp, limits: Limits) -> wit::Attempt {
    wit::Attempt {
        delivery_id: input.delivery.to_string(),
        number: input.number,
        channel: channel.to_owned(),
        notification: notification(&input.notification),
        recipient: wit::Recipient {
            user: input.recipient.user.clone(),
            display_name: input.recipient.display_name.clone(),
            locale: input.recipient.locale.clone(),
            zone: input.recipient.zone.clone(),
            extensions: Vec::new(),
        },
        address: input.address.clone(),
        now_ms: now.as_ms(),
        deadline_ms: u64::try_from(limits.wall.as_millis()).unwrap_or(u64::MAX),
        traceparent: input.traceparent.clone(),
        extensions: Vec::new(),
    }
}

/// What of an answer is longer than what is kept of it.
pub(crate) fn cuts(sent: &Result<wit::Receipt, wit::SendError>) -> Vec<Cut> {
    let mut cuts = Vec::new();
    match sent {
        Ok(receipt) => {
            long(&mut cuts, "the receipt's provider id", receipt.provider_id.as_deref().unwrap_or_default());
            long(&mut cuts, "the receipt's detail", receipt.detail.as_deref().unwrap_or_default());
        }
        Err(
            wit::SendError::RetryAfter(wit::RetryAfter { fault, .. })
            | wit::SendError::Transient(fault)
            | wit::SendError::Permanent(fault),
        ) => fault_cuts(&mut cuts, fault),
    }
    cuts
}

fn fault_cuts(cuts: &mut Vec<Cut>, fault: &wit::Fault) {
    long(cuts, "the fault's message", &fault.message);
    let safe = FaultCode::of_plugin(&fault.code);
    let kept = safe.as_str().strip_prefix("channel.").unwrap_or_default();
    if kept != fault.code {
        let what = "the fault's code, which is not kebab-case";
        cuts.push(Cut { what, given: fault.code.len(), kept: kept.len(), unit: "bytes" });
    }
}

/// The same for a router's answer.
pub(crate) fn plan_cuts(decided: &Result<rules::Plan, wit::Fault>) -> Vec<Cut> {
    let mut cuts = Vec::new();
    match decided {
        Ok(plan) => {
            if plan.notes.len() > NOTES_MAX {
                let given = plan.notes.len();
                cuts.push(Cut { what: "the plan's notes", given, kept: NOTES_MAX, unit: "notes" });
            }
            plan.notes.iter().take(NOTES_MAX).for_each(|note| long(&mut cuts, "a note of the plan", note));
            plan.targets.iter().take(TARGETS_MAX).for_each(|target| {
                long(&mut cuts, "a target's channel", &target.channel);
                long(&mut cuts, "a target's reason", &target.reason);
            });
        }
        Err(fault) => fault_cuts(&mut cuts, fault),
    }
    cuts
}

fn long(cuts: &mut Vec<Cut>, what: &'static str, text: &str) {
    if text.len() > TEXT_BYTES_MAX && cuts.len() < CUTS_MAX {
        cuts.push(Cut { what, given: text.len(), kept: TEXT_BYTES_MAX, unit: "bytes" });
    }
}

/// A text of a guest: bounded, and fit to be shown.
fn text(from: &str) -> String {
    plain(&cut(from, TEXT_BYTES_MAX))
}

/// A receiver's status, of HTTP or SMTP; what no receiver can have said is none.
fn status(from: Option<u16>) -> Option<u16> {
    from.filter(|status| (100..=599).contains(status))
}

pub(crate) fn fault(from: &wit::Fault) -> Fault {
    Fault::new(FaultCode::of_plugin(&from.code), text(&from.message)).with_status(status(from.status))
}

pub(crate) fn outcome(sent: Result<wit::Receipt, wit::SendError>) -> Outcome {
    match sent {
        Ok(receipt) => Outcome::Delivered(Receipt {
            provider_id: receipt.provider_id.as_deref().map(text),
            status: status(receipt.status),
            detail: receipt.detail.as_deref().map(text),
        }),
        Err(wit::SendError::RetryAfter(after)) => Outcome::Transient {
            fault: fault(&after.fault),
            retry_after: Some(Duration::from_millis(after.delay_ms)),
        },
        Err(wit::SendError::Transient(why)) => Outcome::Transient { fault: fault(&why), retry_after: None },
        Err(wit::SendError::Permanent(why)) => Outcome::Permanent(fault(&why)),
    }
}

pub(crate) fn person(from: &Person) -> rules::Person {
    let contact = |contact: &crate::report::Contact| rules::Contact {
        channel: contact.channel.to_string(),
        address: contact.address.clone(),
    };
    rules::Person {
        recipient: wit::Recipient {
            user: Some(from.user.to_string()),
            display_name: from.display_name.clone(),
            locale: from.locale.clone(),
            zone: from.zone.clone(),
            extensions: Vec::new(),
        },
        contacts: from.contacts.iter().map(contact).collect(),
        extensions: Vec::new(),
    }
}

/// The plan, or a sentence that says why it is none.
pub(crate) fn plan(from: rules::Plan) -> Result<Plan, String> {
    if from.targets.len() > TARGETS_MAX {
        return Err(format!("the plan has {} targets, and {TARGETS_MAX} are allowed", from.targets.len()));
    }
    let target = |target: rules::Target| PlanTarget {
        channel: text(&target.channel),
        user: target.user,
        address: target.address,
        delay: Duration::from_millis(target.delay_ms),
        fallback_order: target.fallback_order,
        reason: text(&target.reason),
    };
    Ok(Plan {
        targets: from.targets.into_iter().map(target).collect(),
        notes: from.notes.iter().take(NOTES_MAX).map(|note| text(note)).collect(),
    })
}
