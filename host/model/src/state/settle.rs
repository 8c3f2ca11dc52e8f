//! The end of an attempt: delivered, another try, or a dead letter.

use std::time::Duration;

use super::{Misfit, NotificationState};
use crate::delivery::{Attempt, AttemptOutcome, Delivery, Phase};
use crate::fault::{Fault, code};
use crate::outcome::Outcome;
use crate::retry::{ChainPosition, RetryDecision, RetryPolicy};
use crate::time::Timestamp;
use crate::trace::TraceKind;

/// What became of a delivery when an attempt was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The receiver took it.
    Delivered,
    /// It is tried again after this delay.
    Retry(Duration),
    /// It is a dead letter now.
    Dead(Fault),
    /// It was cancelled while the attempt ran, and is not tried again.
    Cancelled,
    /// It would expire before its next attempt.
    Expired,
}

/// An attempt that ended, and what is needed to decide what follows.
#[derive(Clone, Debug)]
pub struct Settlement<'a> {
    /// When the attempt began.
    pub started_at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The generation that made it.
    pub generation: u64,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// The channel's retry policy.
    pub policy: &'a RetryPolicy,
    /// Now.
    pub now: Timestamp,
    /// Uniform in [0, 1), for jitter.
    pub chance: f64,
}

/// What a failed attempt takes from its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// One of its retries.
    Retry,
    /// Nothing: the attempt was to show whether a suspended channel works again, and the delivery had no choice.
    Nothing,
}

impl NotificationState {
    /// Ends an attempt: delivered, another try, or a dead letter.
    ///
    /// # Errors
    /// [`Misfit`] when the delivery is not waiting, and then nothing has changed.
    pub fn settle(&mut self, index: u16, settlement: &Settlement<'_>) -> Result<Settled, Misfit> {
        self.settle_at(index, settlement, Cost::Retry)
    }

    /// The same, where a transient fault may take nothing: then the delivery waits on, with all the retries that it had,
    /// however old it is.
    ///
    /// # Errors
    /// [`Misfit`] when the delivery is not waiting, and then nothing has changed.
    pub fn settle_at(
        &mut self,
        index: u16,
        settlement: &Settlement<'_>,
        cost: Cost,
    ) -> Result<Settled, Misfit> {
        let settled = self.settle_one(index, settlement, cost)?;
        self.follow(index, settlement.now);
        Ok(settled)
    }

    fn settle_one(&mut self, index: u16, settlement: &Settlement<'_>, cost: Cost) -> Result<Settled, Misfit> {
        let cancelled = self.cancelled_at.is_some();
        let expires_at = self.expires_at;
        let delivery = self.waiting(index)?;
        let Settlement { started_at, now, outcome, .. } = *settlement;
        delivery.attempts_total += 1;
        delivery.first_attempt_at.get_or_insert(started_at);
        delivery.chain.attempts += 1;
        let chain_started_at = *delivery.chain.started_at.get_or_insert(started_at);
        delivery.record(Attempt {
            number: delivery.attempts_total,
            chain: delivery.chain.number,
            started_at,
            took: settlement.took,
            generation: settlement.generation,
            outcome: AttemptOutcome::from(outcome),
        });
        let (fault, retry_after) = match outcome {
            Outcome::Delivered(_) => {
                delivery.end(Phase::Delivered { at: now }, TraceKind::Delivered, now, "the receiver took it");
                return Ok(Settled::Delivered);
            }
            Outcome::Permanent(fault) => return Ok(delivery.die(fault.clone(), now)),
            Outcome::Transient { fault, retry_after } => (fault, *retry_after),
        };
        if cancelled {
            delivery.end(
                Phase::Cancelled { at: now },
                TraceKind::Cancelled,
                now,
                "cancelled while it was sent",
            );
            return Ok(Settled::Cancelled);
        }
        if cost == Cost::Nothing {
            delivery.chain.attempts -= 1;
            let delay = settlement.policy.base_delay(delivery.chain.attempts);
            return Ok(delivery.wait_for_retry(delay, retry_after, now, expires_at));
        }
        let position = ChainPosition { attempts: delivery.chain.attempts, started_at: chain_started_at, now };
        match settlement.policy.decide(position, retry_after, settlement.chance) {
            RetryDecision::After(delay) => Ok(delivery.wait_for_retry(delay, retry_after, now, expires_at)),
            RetryDecision::Exhausted => Ok(delivery.die(fault.clone(), now)),
            RetryDecision::Expired => {
                let message =
                    format!("gave up after {:?}: {}", settlement.policy.give_up_after, fault.message);
                Ok(delivery.die(Fault::new(code::RETRY_EXPIRED, message).with_status(fault.status), now))
            }
        }
    }
}

impl Delivery {
    fn die(&mut self, fault: Fault, now: Timestamp) -> Settled {
        let detail = format!("{}: {}", fault.code, fault.message);
        self.end(Phase::Dead { at: now, fault: fault.clone() }, TraceKind::Dead, now, detail);
        Settled::Dead(fault)
    }

    fn wait_for_retry(
        &mut self,
        delay: Duration,
        retry_after: Option<Duration>,
        now: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Settled {
        let due_at = now.plus(delay);
        if expires_at.is_some_and(|end| end <= due_at) {
            let detail = "expires_at comes before the next attempt";
            self.end(Phase::Expired { at: now }, TraceKind::Expired, now, detail);
            return Settled::Expired;
        }
        let why = match retry_after {
            Some(floor) => format!("in {delay:.1?}; the receiver asked for {floor:.1?}"),
            None => format!("in {delay:.1?}"),
        };
        self.end(Phase::Waiting { due_at, delay: Some(delay) }, TraceKind::RetryScheduled, now, why);
        Settled::Retry(delay)
    }
}
