//! One job from its slot to its settle: look, call the plugin or the router, settle, hand on.

use std::sync::Arc;
use std::time::Duration;

use fanfare_model::delivery::Delivery;
use fanfare_model::fault::code;
use fanfare_model::notification::Notification;
use fanfare_model::outcome::Outcome;
use fanfare_model::state::{Cost, Misfit, NotificationState, Settled, Settlement};
use fanfare_model::time::Timestamp;
use fanfare_runtime::{AttemptInput, AttemptReport, CallEnd, RecipientInfo};
use fanfare_store::{Cell, Changed, Ticket};
use tokio::sync::OwnedSemaphorePermit;

use super::hall::Picked;
use super::job::Hot;
use super::lane::Health;
use super::{Dispatch, LOOK_EVERY, alert, is_current, routed};
use crate::registry::{Channel, Lineup, Made, Setup, State};
use crate::telemetry::AttemptFacts;

/// What an attempt begins with.
pub(super) struct Ready {
    pub(super) hot: Hot,
    pub(super) delivery: Delivery,
}

/// Why no attempt is made.
enum NothingToDo {
    /// It can't be read now.
    Unread,
    /// The store does not have it, or takes no end of it.
    Lost,
    /// It ended, or waits for another time than the job was made for.
    Moved(Hot),
    /// Its time is over; the settle says so.
    Ended(Hot, Ticket<()>),
}

/// Runs one job. The permit counts its settle, and is given back once that is durable.
pub(super) async fn run(dispatch: &Dispatch, picked: Picked, permit: OwnedSemaphorePermit) {
    let ready = match look(dispatch, &picked).await {
        Ok(ready) => ready,
        Err(why) => return pass(dispatch, &picked, why).await,
    };
    let setup = dispatch.shared.options.setup.borrow().clone();
    if picked.lane.is_router() {
        routed::route(dispatch, &setup, &picked, ready).await;
    } else if let Some((channel, lineup)) = open(&setup, &picked) {
        send(dispatch, channel, lineup, &picked, ready).await;
    } else {
        // The channel stopped or went away after the job was picked.
        dispatch.leave(&picked, &setup);
    }
    drop(permit);
}

/// Ends a job without an attempt.
async fn pass(dispatch: &Dispatch, picked: &Picked, why: NothingToDo) {
    let (shared, delivery) = (&dispatch.shared, picked.job.entry.delivery);
    shared.give_back(picked, Health::Unknown);
    match why {
        NothingToDo::Unread => shared.hall().put_off(picked, LOOK_EVERY, shared.now()),
        NothingToDo::Lost => shared.forget(&picked.lane, delivery),
        NothingToDo::Moved(hot) => {
            shared.forget(&picked.lane, delivery);
            // While the job was in memory, the place where it waits now was passed by.
            dispatch.offer(&hot.cell, Some(&hot.notification));
        }
        NothingToDo::Ended(hot, ticket) => {
            if end(dispatch, picked, ticket).await {
                begin_fallbacks(dispatch, picked, &hot);
            }
        }
    }
}

/// Reads what is needed and makes sure that the delivery is still to be sent.
async fn look(dispatch: &Dispatch, picked: &Picked) -> Result<Ready, NothingToDo> {
    let id = picked.job.entry.delivery;
    let store = &dispatch.shared.options.store;
    let hot = match &picked.job.hot {
        Some(hot) => hot.clone(),
        None => load(dispatch, picked).await?,
    };
    let now = store.clock().now();
    let delivery = hot.cell.read(|state| state.delivery(id.index).cloned());
    let Some(delivery) = delivery.filter(|delivery| is_current(delivery, &picked.job)) else {
        return Err(NothingToDo::Moved(hot));
    };
    let (expired, cancelled) =
        hot.cell.read(|state| (state.expires_at.is_some_and(|at| at <= now), state.cancelled_at.is_some()));
    if expired {
        let expire = hot.cell.change(|state| state.expire(id.index, now).map(Changed::only));
        return Err(expire.map_or(NothingToDo::Lost, |ticket| NothingToDo::Ended(hot, ticket)));
    }
    if cancelled {
        let cancel = hot.cell.change(|state| {
            state.cancel(now, |index| index != id.index);
            Ok::<_, Misfit>(Changed::only(()))
        });
        return Err(cancel.map_or(NothingToDo::Lost, |ticket| NothingToDo::Ended(hot, ticket)));
    }
    Ok(Ready { hot, delivery })
}

async fn load(dispatch: &Dispatch, picked: &Picked) -> Result<Hot, NothingToDo> {
    let id = picked.job.entry.delivery.notification;
    let store = &dispatch.shared.options.store;
    match (store.cell(id).await, store.notification(id).await) {
        (Ok(Some(cell)), Ok(Some(notification))) => Ok(Hot { cell, notification }),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(notification = %id, error = %error, "a due delivery could not be read");
            Err(NothingToDo::Unread)
        }
        _ => {
            tracing::error!(notification = %id, "a due entry has no notification");
            Err(NothingToDo::Lost)
        }
    }
}

/// The channel and what makes its attempts, if one may begin.
fn open<'a>(setup: &'a Setup, picked: &Picked) -> Option<(&'a Channel, &'a Lineup)> {
    let channel = setup.channels.get(&picked.lane)?;
    match &channel.state {
        State::Open(lineup) if channel.vigil.admits() => Some((channel, lineup)),
        State::Open(_) | State::Halted(_) => None,
    }
}

async fn send(dispatch: &Dispatch, channel: &Channel, lineup: &Lineup, picked: &Picked, ready: Ready) {
    let Ready { hot, delivery } = ready;
    let clock = Arc::clone(dispatch.shared.clock());
    let started_at = clock.now();
    let input = input(dispatch, &hot.notification, &delivery);
    let Made { report, generation, fell_back } = lineup.attempt(&channel.vigil, input).await;
    if let Some((candidate, fault)) = fell_back {
        tracing::warn!(
            delivery = %delivery.id, channel = %picked.lane, candidate, code = %fault.code, message = fault.message,
            "the candidate failed; the generation that serves was tried"
        );
    }
    let outcome = &report.outcome;
    let settlement = Settlement {
        started_at,
        took: report.usage.wall,
        generation,
        outcome,
        policy: &channel.retry,
        now: clock.now(),
        chance: rand::random(),
    };
    let cost = cost(channel, &report);
    let settled = settle(dispatch, Some(channel), &hot.cell, &delivery, (&settlement, cost));
    dispatch.shared.give_back(picked, health(outcome));
    match settled {
        Ok(ticket) => {
            note(dispatch, &hot, &delivery, &report, &settlement, &ticket.value);
            if finish(dispatch, picked, ticket, settlement.now).await && !delivery.fallbacks.is_empty() {
                begin_fallbacks(dispatch, picked, &hot);
            }
        }
        Err(error) => refuse(dispatch, picked, &error),
    }
}

fn input(dispatch: &Dispatch, notification: &Arc<Notification>, delivery: &Delivery) -> AttemptInput {
    let setup = dispatch.shared.options.setup.borrow().clone();
    let user = delivery.user.as_ref().and_then(|id| setup.users.get(id));
    AttemptInput {
        delivery: delivery.id,
        number: delivery.attempts_total + 1,
        notification: Arc::clone(notification),
        recipient: RecipientInfo {
            user: delivery.user.as_ref().map(ToString::to_string),
            display_name: user.and_then(|user| user.name.clone()),
            locale: user.and_then(|user| user.locale.clone()),
            zone: user.and_then(|user| user.zone.clone()),
        },
        address: delivery.address.clone(),
        traceparent: notification.traceparent.clone(),
    }
}

/// Ends the attempt in the state; a dead letter takes its alert along.
pub(super) fn settle(
    dispatch: &Dispatch,
    channel: Option<&Channel>,
    cell: &Cell,
    delivery: &Delivery,
    (settlement, cost): (&Settlement<'_>, Cost),
) -> Result<Ticket<Settled>, fanfare_store::ChangeError<Misfit>> {
    let shared = &dispatch.shared;
    cell.change(|state| {
        let settled = state.settle_at(delivery.id.index, settlement, cost)?;
        let mut alongside = Vec::new();
        if let (Settled::Dead(fault), Some(alerts), false) =
            (&settled, channel.and_then(|channel| channel.alert_channel.as_ref()), state.is_alert)
            && shared.alerts.admits(&delivery.channel, shared.clock().elapsed())
            && let Some(dead) = state.delivery(delivery.id.index)
        {
            let event_type = &state.event_type;
            let alert = alert::about(&shared.options.store, dead, event_type, fault, alerts, settlement.now);
            alongside.extend(alert);
        }
        Ok(Changed { value: settled, alongside })
    })
}

/// A suspended channel's probe takes whichever delivery comes: that it traps again says nothing of that one.
fn cost(channel: &Channel, report: &AttemptReport) -> Cost {
    if channel.vigil.is_probe() && report.end == CallEnd::Trapped { Cost::Nothing } else { Cost::Retry }
}

fn health(outcome: &Outcome) -> Health {
    match outcome {
        Outcome::Delivered(_) | Outcome::Permanent(_) => Health::Answered,
        Outcome::Transient { fault, .. } if fault.code.as_str().starts_with("plugin.") => {
            // A slow receiver is what a timeout is about; a trap says nothing of it.
            if fault.code == code::PLUGIN_TIMEOUT { Health::Troubled(None) } else { Health::Unknown }
        }
        Outcome::Transient { retry_after, .. } => Health::Troubled(*retry_after),
    }
}

/// Hands over what stood in for a delivery that ended, where it is sent now.
fn begin_fallbacks(dispatch: &Dispatch, picked: &Picked, hot: &Hot) {
    let index = picked.job.entry.delivery.index;
    let stands_for_it = |state: &NotificationState| {
        state.delivery(index).is_some_and(|d| d.phase.is_terminal() && !d.fallbacks.is_empty())
    };
    // What is known of the others already is not taken in twice.
    if hot.cell.read(stands_for_it) {
        dispatch.offer(&hot.cell, Some(&hot.notification));
    }
}

/// Waits until the settle is durable, and lets what follows from it begin. Answers whether it is.
pub(super) async fn finish(
    dispatch: &Dispatch,
    picked: &Picked,
    ticket: Ticket<Settled>,
    settled_at: Timestamp,
) -> bool {
    let settled = ticket.value.clone();
    let alerts: Vec<_> = ticket.alongside.clone();
    if !durable(picked, ticket).await {
        return false;
    }
    let shared = &dispatch.shared;
    let delivery = picked.job.entry.delivery;
    if let Settled::Retry(delay) = settled {
        // The same instant that the state holds, so that the job is recognised as current.
        let job = picked.job.for_retry(settled_at.plus(delay), delay);
        shared.hall().rest(&picked.lane, job, delay, shared.now());
        shared.stirred.notify_one();
    } else {
        shared.forget(&picked.lane, delivery);
    }
    shared.waiters.poke(delivery.notification);
    for alert in alerts {
        dispatch.offer(&alert.cell, Some(&alert.notification));
    }
    true
}

/// Waits until an end is durable. Answers whether it is.
pub(super) async fn end<T>(dispatch: &Dispatch, picked: &Picked, ticket: Ticket<T>) -> bool {
    let durable = durable(picked, ticket).await;
    if durable {
        dispatch.shared.forget(&picked.lane, picked.job.entry.delivery);
        dispatch.shared.waiters.poke(picked.job.entry.delivery.notification);
    }
    durable
}

/// Whether the settle reached the disk. If not, the engine takes no more writes: the delivery stays known, so
/// that it is not sent again by this process, and the next start sends it once more.
pub(super) async fn durable<T>(picked: &Picked, ticket: Ticket<T>) -> bool {
    let committed = ticket.durable.await;
    if let Err(error) = &committed {
        tracing::error!(delivery = %picked.job.entry.delivery, error = %error, "an outcome could not be stored");
    }
    committed.is_ok()
}

pub(super) fn refuse(dispatch: &Dispatch, picked: &Picked, error: &fanfare_store::ChangeError<Misfit>) {
    tracing::error!(delivery = %picked.job.entry.delivery, error = %error, "an outcome was not taken");
    dispatch.shared.forget(&picked.lane, picked.job.entry.delivery);
}

/// The one line and the counts of an outcome.
fn note(
    dispatch: &Dispatch,
    hot: &Hot,
    delivery: &Delivery,
    report: &AttemptReport,
    settlement: &Settlement<'_>,
    settled: &Settled,
) {
    let fault = report.outcome.fault();
    let (next, retry_in_ms) = match settled {
        Settled::Delivered => ("delivered", None),
        Settled::Retry(delay) => ("retrying", Some(millis(*delay))),
        Settled::Dead(_) => ("dead", None),
        Settled::Cancelled => ("cancelled", None),
        Settled::Expired => ("expired", None),
    };
    tracing::info!(
        delivery = %delivery.id,
        channel = %delivery.channel,
        attempt = delivery.attempts_total + 1,
        generation = settlement.generation,
        status = next,
        code = fault.map(|fault| fault.code.as_str()),
        receiver_status = fault.and_then(|fault| fault.status),
        took_ms = millis(settlement.took),
        retry_in_ms,
        traceparent = hot.notification.traceparent.as_deref(),
        "attempt ended"
    );
    let facts = AttemptFacts {
        outcome: report.outcome.as_str(),
        code: fault.map(|fault| fault.code.as_str()),
        status: next,
        took: settlement.took,
    };
    dispatch.shared.options.metrics.attempt(&delivery.channel, facts);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
