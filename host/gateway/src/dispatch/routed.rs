//! Routing that was put off: asks the router, and makes the deliveries of its plan, a large one in parts.

use std::sync::Arc;

use fanfare_model::fault::{Fault, code};
use fanfare_model::outcome::Outcome;
use fanfare_model::retry::RetryPolicy;
use fanfare_model::state::{Cost, Routing, Settlement};
use fanfare_model::time::Timestamp;
use fanfare_store::Changed;

use super::Dispatch;
use super::attempt::{Ready, durable, end, finish, refuse, settle};
use super::hall::Picked;
use super::job::Hot;
use super::lane::Health;
use crate::intake::routing;
use crate::registry::Setup;

/// Asks the router again for a notification that was accepted unrouted.
pub(super) async fn route(dispatch: &Dispatch, setup: &Setup, picked: &Picked, ready: Ready) {
    let Ready { hot, delivery } = ready;
    let clock = Arc::clone(dispatch.shared.clock());
    let (started_at, began) = (clock.now(), clock.elapsed());
    // A plan that is carried out in part was made for an earlier moment, and is asked for as of then.
    let asked_at = hot.cell.read(|state| state.fan_out.map_or(started_at, |fan_out| fan_out.planned_at));
    let routed = routing::route(setup, &hot.notification, asked_at).await;
    let failed = match routed {
        Ok(routed) => match carry_out(dispatch, picked, &hot, &routed, asked_at).await {
            Ok(()) => return,
            Err(fault) => fault,
        },
        Err(fault) => fault,
    };
    let outcome = Outcome::Transient { fault: failed, retry_after: None };
    let settlement = Settlement {
        started_at,
        took: clock.elapsed().saturating_sub(began),
        generation: setup.router.as_ref().map_or(0, |router| router.number),
        outcome: &outcome,
        policy: &RetryPolicy::default(),
        now: clock.now(),
        chance: rand::random(),
    };
    let settled = settle(dispatch, None, &hot.cell, &delivery, (&settlement, Cost::Retry));
    dispatch.shared.give_back(picked, Health::Unknown);
    match settled {
        Ok(ticket) => {
            let fault = outcome.fault();
            tracing::warn!(
                notification = %hot.cell.id(),
                code = fault.map(|fault| fault.code.as_str()),
                message = fault.map(|fault| fault.message.as_str()),
                "routing failed"
            );
            finish(dispatch, picked, ticket, settlement.now).await;
        }
        Err(error) => refuse(dispatch, picked, &error),
    }
}

/// Makes the deliveries of a plan. Each part is on disk, and handed over, before the next one is made.
async fn carry_out(
    dispatch: &Dispatch,
    picked: &Picked,
    hot: &Hot,
    routed: &routing::Routed,
    asked_at: Timestamp,
) -> Result<(), Fault> {
    let index = picked.job.entry.delivery.index;
    loop {
        let now = dispatch.shared.clock().now();
        let changed = hot.cell.change(|state| {
            state.route(index, &routed.planned, &routed.detail, asked_at, now).map(Changed::only)
        });
        let ticket = changed.map_err(|error| Fault::new(code::ROUTE_INVALID, error.to_string()))?;
        if ticket.value == Routing::Done {
            dispatch.shared.give_back(picked, Health::Answered);
            tracing::info!(notification = %hot.cell.id(), detail = %routed.detail, "routed");
            end(dispatch, picked, ticket).await;
            dispatch.offer(&hot.cell, Some(&hot.notification));
            return Ok(());
        }
        if !durable(picked, ticket).await {
            dispatch.shared.give_back(picked, Health::Unknown);
            return Ok(());
        }
        dispatch.offer(&hot.cell, Some(&hot.notification));
    }
}
