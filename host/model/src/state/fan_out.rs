//! Routing that was put off, carried out: at once where it is small, else in parts of [`FAN_OUT_PART`] deliveries, each
//! stored with a cursor, so that neither one commit nor a crash has to take all of it.

use super::plan::rows;
use super::{Misfit, NotificationState, Planned};
use crate::delivery::Phase;
use crate::fault::{Fault, code};
use crate::time::Timestamp;
use crate::trace::TraceKind;

/// A router makes no more deliveries of one notification than this.
pub const FAN_OUT_MAX: usize = 5_000;

/// Deliveries of a plan that are made at once.
pub const FAN_OUT_PART: usize = 1_000;

/// How far a large plan has been carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanOut {
    /// The moment that the router was asked for, and is asked for again after a crash: it then gives the same plan.
    pub planned_at: Timestamp,
    /// Targets of the plan that are deliveries, lowest fallback orders first.
    pub done: u32,
}

/// What a step of routing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// Every delivery of the plan is made, and the routing delivery has ended.
    Done,
    /// A part is made; the routing delivery waits for the rest.
    Partly,
}

impl NotificationState {
    /// Turns the routing delivery `index` into the deliveries that a router gave when it was asked for `asked_at`, or
    /// into a suppression when it gave none. Of a large plan this is one part; it goes on where it stopped.
    ///
    /// # Errors
    /// [`Misfit`] when it is not waiting or the plan is too large, and then nothing has changed.
    pub fn route(
        &mut self,
        index: u16,
        planned: &[Planned],
        detail: &str,
        asked_at: Timestamp,
        now: Timestamp,
    ) -> Result<Routing, Misfit> {
        self.waiting(index)?;
        if self.cancelled_at.is_some() {
            self.fan_out = None;
            let detail = "cancelled before all of it was routed";
            self.waiting(index)?.end(Phase::Cancelled { at: now }, TraceKind::Cancelled, now, detail);
            return Ok(Routing::Done);
        }
        if planned.len() > FAN_OUT_MAX {
            return Err(Misfit::FanOutTooLarge);
        }
        let rows = rows(planned);
        let mut order: Vec<usize> = (0..planned.len()).collect();
        // So that what stands in for others never comes in a part before them.
        order.sort_by_key(|place| planned.get(*place).map(|target| target.fallback_order));
        let done = self.fan_out.map_or(0, |fan_out| fan_out.done as usize);
        let part: Vec<usize> = order.into_iter().skip(done).take(FAN_OUT_PART).collect();
        let end = done + part.len();
        let targets = part.iter().filter_map(|place| planned.get(*place).cloned()).collect();
        let rows = part.iter().map(|place| rows.get(*place).copied().flatten()).collect();
        self.make(targets, rows, now);
        if end < planned.len() {
            let planned_at = self.fan_out.map_or(asked_at, |fan_out| fan_out.planned_at);
            self.fan_out = Some(FanOut { planned_at, done: u32::try_from(end).unwrap_or(u32::MAX) });
            self.routed(now, format!("{end} of {} targets so far", planned.len()));
            return Ok(Routing::Partly);
        }
        self.fan_out = None;
        self.routed(now, detail);
        let only_routing = self.deliveries.iter().all(|delivery| delivery.channel.is_router());
        self.waiting(index)?.end(Phase::Delivered { at: now }, TraceKind::Routed, now, detail);
        if only_routing {
            self.suppress(Fault::new(code::ROUTE_EMPTY, detail), None, now);
        }
        Ok(Routing::Done)
    }
}

#[cfg(test)]
mod tests;
