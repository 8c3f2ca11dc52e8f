//! Routing: asks the router what to do with a notification, and turns its plan into deliveries.
//!
//! Used at acceptance for what is due at once, and by dispatch for what was put off.

use std::time::Duration;

use fanfare_model::fault::{Fault, bounded, code};
use fanfare_model::name::{ChannelName, UserId};
use fanfare_model::notification::{ADDRESS_BYTES_MAX, Notification, Target};
use fanfare_model::state::Planned;
use fanfare_model::time::Timestamp;
use fanfare_runtime::{Contact, Person, Plan, PlanTarget};
use std::sync::Arc;

use crate::registry::{Setup, User};

/// A router can't put a delivery off for longer.
const DELAY_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The trace of a plan names no more of its reasons; each delivery has its own.
const REASONS_NAMED: usize = 16;

/// What routing gave: deliveries to make, and why.
#[derive(Debug)]
pub struct Routed {
    /// The deliveries.
    pub planned: Vec<Planned>,
    /// A sentence for the trace.
    pub detail: String,
}

/// Asks the router. Its own deadline bounds the call.
///
/// # Errors
/// The router's fault, or the reason why its plan can't be carried out.
pub async fn route(setup: &Setup, notification: &Arc<Notification>, now: Timestamp) -> Result<Routed, Fault> {
    let Some(router) = &setup.router else {
        let detail = "no router is configured: add a [routers.default] section".to_owned();
        return Ok(Routed { planned: Vec::new(), detail });
    };
    let people = people(setup, notification)?;
    let generation = router.generation.as_ref().map_err(|halt| {
        Fault::new(code::ROUTE_FAILED, format!("the router is suspended: {} ({})", halt.message, halt.code))
    })?;
    let asked = generation.route(Arc::clone(notification), people, now);
    let plan = tokio::time::timeout(router.deadline, asked).await.map_err(|_| {
        Fault::new(code::PLUGIN_TIMEOUT, format!("the router took longer than {:?}", router.deadline))
    })??;
    carry_out(setup, notification, plan, now)
}

fn people(setup: &Setup, notification: &Notification) -> Result<Vec<Person>, Fault> {
    let known = |id: &UserId| {
        let user = setup.users.get(id).ok_or_else(|| {
            Fault::new(code::ROUTE_INVALID, format!("user {id} is not in the configuration any more"))
        })?;
        Ok(person(id, user))
    };
    notification.users().map(known).collect()
}

fn person(id: &UserId, user: &User) -> Person {
    let contact = |(channel, address): &(ChannelName, Option<String>)| Contact {
        channel: channel.clone(),
        address: address.clone(),
    };
    Person {
        user: id.clone(),
        display_name: user.name.clone(),
        locale: user.locale.clone(),
        zone: user.zone.clone(),
        contacts: user.contacts.iter().map(contact).collect(),
    }
}

fn carry_out(
    setup: &Setup,
    notification: &Notification,
    plan: Plan,
    now: Timestamp,
) -> Result<Routed, Fault> {
    let planned = plan.targets.into_iter().map(|target| resolve(setup, notification, target, now));
    let planned = planned.collect::<Result<Vec<_>, _>>()?;
    let mut reasons: Vec<&str> = Vec::new();
    for planned in &planned {
        if reasons.len() < REASONS_NAMED && !reasons.contains(&planned.reason.as_str()) {
            reasons.push(&planned.reason);
        }
    }
    let mut detail = if reasons.is_empty() { "no target".to_owned() } else { reasons.join("; ") };
    for note in &plan.notes {
        detail.push_str("; ");
        detail.push_str(note);
    }
    // It lies in one record, whatever the router says.
    let detail = bounded(detail);
    Ok(Routed { planned, detail })
}

fn resolve(
    setup: &Setup,
    notification: &Notification,
    target: PlanTarget,
    now: Timestamp,
) -> Result<Planned, Fault> {
    let invalid = |message: String| Fault::new(code::ROUTE_INVALID, message);
    let unknown =
        |_| invalid(format!("the router chose channel {:?}, which is not configured", target.channel));
    let channel: ChannelName = target.channel.parse().map_err(unknown)?;
    if !setup.channels.contains_key(&channel) {
        return Err(invalid(format!("the router chose channel {channel:?}, which is not configured")));
    }
    if target.address.as_ref().is_some_and(|address| address.len() > ADDRESS_BYTES_MAX) {
        let message =
            format!("the router gave an address for {channel} of more than {ADDRESS_BYTES_MAX} bytes");
        return Err(invalid(message));
    }
    let user = match target.user {
        None => None,
        Some(name) => {
            let named = notification.to.iter().find_map(|entry| match entry {
                Target::User { user } if user.as_str() == name => Some(user.clone()),
                _ => None,
            });
            Some(named.ok_or_else(|| {
                invalid(format!("the router chose user {name:?}, whom the notification does not name"))
            })?)
        }
    };
    let contact = user.as_ref().and_then(|user| setup.users.get(user)?.address(&channel));
    Ok(Planned {
        channel,
        user,
        address: target.address.or(contact),
        due_at: notification.due_at().max(now).plus(target.delay.min(DELAY_MAX)),
        fallback_order: target.fallback_order,
        reason: target.reason,
    })
}
