//! Ends without an attempt, and what people do with dead letters.

use super::{Misfit, NotificationState, Suppression};
use crate::delivery::{Chain, Phase};
use crate::fault::Fault;
use crate::id::NotificationId;
use crate::time::Timestamp;
use crate::trace::{TraceEvent, TraceKind};

impl NotificationState {
    /// Ends the notification without sending anything.
    pub fn suppress(&mut self, fault: Fault, duplicate_of: Option<NotificationId>, now: Timestamp) {
        self.events.push(TraceEvent::new(now, TraceKind::Suppressed, fault.message.clone()));
        self.suppressed = Some(Suppression { at: now, fault, duplicate_of });
    }

    /// Cancels every waiting delivery that `in_flight` does not claim; those under way end by their attempt.
    /// Answers how many were cancelled.
    pub fn cancel(&mut self, now: Timestamp, in_flight: impl Fn(u16) -> bool) -> usize {
        self.cancelled_at.get_or_insert(now);
        let mut cancelled = 0;
        for delivery in &mut self.deliveries {
            if !delivery.phase.is_terminal() && !in_flight(delivery.id.index) {
                delivery.end(
                    Phase::Cancelled { at: now },
                    TraceKind::Cancelled,
                    now,
                    "cancelled by a client",
                );
                cancelled += 1;
            }
        }
        cancelled
    }

    /// Ends a waiting delivery whose notification's time is over.
    ///
    /// # Errors
    /// [`Misfit`] when the delivery is not waiting.
    pub fn expire(&mut self, index: u16, now: Timestamp) -> Result<(), Misfit> {
        let delivery = self.waiting(index)?;
        delivery.end(
            Phase::Expired { at: now },
            TraceKind::Expired,
            now,
            "expires_at passed before it was sent",
        );
        self.follow(index, now);
        Ok(())
    }

    /// Begins a new chain of attempts for a dead letter, due at once, with its history kept.
    ///
    /// # Errors
    /// [`Misfit`] when the delivery is no dead letter.
    pub fn replay(&mut self, index: u16, now: Timestamp, by: &str) -> Result<(), Misfit> {
        let delivery = self.dead(index)?;
        delivery.chain = Chain { number: delivery.chain.number + 1, attempts: 0, started_at: None };
        delivery.phase = Phase::Waiting { due_at: now, delay: None };
        delivery.note(TraceEvent::new(now, TraceKind::Replayed, format!("sent again by {by}")));
        Ok(())
    }

    /// Takes a dead letter out of the list for good.
    ///
    /// # Errors
    /// [`Misfit`] when the delivery is no dead letter.
    pub fn discard(&mut self, index: u16, now: Timestamp, by: &str) -> Result<(), Misfit> {
        let detail = format!("discarded by {by}");
        self.dead(index)?.end(Phase::Cancelled { at: now }, TraceKind::Discarded, now, detail);
        Ok(())
    }
}
