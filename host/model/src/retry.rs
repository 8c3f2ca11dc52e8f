//! When to try again. Pure: chance and time are parameters.

use std::time::Duration;

use crate::time::Timestamp;

/// A channel's retry policy.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts after the first one.
    pub max_retries: u32,
    /// The delay before the first retry.
    pub initial_delay: Duration,
    /// What each further delay is multiplied by; 1 or more.
    pub multiplier: f64,
    /// No computed delay is longer.
    pub max_delay: Duration,
    /// Delays vary by this share up and down; 0 to 1.
    pub jitter: f64,
    /// A chain of attempts ends this long after its first one, whatever is left of its retries.
    pub give_up_after: Duration,
}

impl Default for RetryPolicy {
    /// 1 s, 2 s, 4 s, each +-10 %, then dead.
    fn default() -> Self {
        Self {
            max_retries: 3,
            initial_delay: Duration::from_secs(1),
            multiplier: 2.0,
            max_delay: Duration::from_secs(300),
            jitter: 0.1,
            give_up_after: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// A policy that could not be carried out, and why.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadRetryPolicy {
    /// The multiplier would shrink delays or is no number.
    #[error("multiplier must be a number from 1 to 100")]
    Multiplier,
    /// The jitter is no share.
    #[error("jitter must be a number from 0 to 1")]
    Jitter,
    /// The first delay is longer than the longest.
    #[error("initial_delay must not be longer than max_delay")]
    InitialDelay,
    /// More retries than anyone means.
    #[error("max_retries must be at most 1000")]
    MaxRetries,
}

/// What happens after a transient fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Wait so long, then try again.
    After(Duration),
    /// All retries are used up.
    Exhausted,
    /// The next attempt would fall behind `give_up_after`.
    Expired,
}

/// Where a chain of attempts stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainPosition {
    /// Attempts made in this chain, 1 after the first.
    pub attempts: u32,
    /// When the first one began.
    pub started_at: Timestamp,
    /// Now.
    pub now: Timestamp,
}

impl RetryPolicy {
    /// Refuses a policy that could not be carried out.
    ///
    /// # Errors
    /// [`BadRetryPolicy`], which names the value and its bounds.
    pub fn validated(self) -> Result<Self, BadRetryPolicy> {
        if !(1.0..=100.0).contains(&self.multiplier) {
            return Err(BadRetryPolicy::Multiplier);
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(BadRetryPolicy::Jitter);
        }
        if self.initial_delay > self.max_delay {
            return Err(BadRetryPolicy::InitialDelay);
        }
        if self.max_retries > 1_000 {
            return Err(BadRetryPolicy::MaxRetries);
        }
        Ok(self)
    }

    /// The delay before retry number `retry` (1 for the first), before jitter.
    #[must_use]
    pub fn base_delay(&self, retry: u32) -> Duration {
        let exponent = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
        let factor = self.multiplier.powi(exponent);
        let seconds = self.initial_delay.as_secs_f64() * factor;
        // A product beyond what a Duration holds is certainly beyond the cap.
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max_delay).min(self.max_delay)
    }

    /// What to do after a transient fault. `chance` is uniform in [0, 1).
    ///
    /// `retry_after` is a floor: jitter only adds to it.
    #[must_use]
    pub fn decide(
        &self,
        position: ChainPosition,
        retry_after: Option<Duration>,
        chance: f64,
    ) -> RetryDecision {
        if position.attempts > self.max_retries {
            return RetryDecision::Exhausted;
        }
        let base = self.base_delay(position.attempts);
        let swing = self.jitter * (2.0 * chance.clamp(0.0, 1.0) - 1.0);
        let mut delay = base.mul_f64(1.0 + swing);
        if let Some(floor) = retry_after {
            delay = delay.max(floor.saturating_add(base.mul_f64(swing.abs())));
        }
        let at = position.now.plus(delay);
        if at.since(position.started_at) > self.give_up_after {
            return RetryDecision::Expired;
        }
        RetryDecision::After(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position(attempts: u32) -> ChainPosition {
        ChainPosition { attempts, started_at: Timestamp::from_ms(1_000), now: Timestamp::from_ms(1_000) }
    }

    #[test]
    fn the_defaults_are_one_two_and_four_seconds_and_then_dead() {
        let policy = RetryPolicy::default();
        let middle = |attempts| policy.decide(position(attempts), None, 0.5);
        assert_eq!(middle(1), RetryDecision::After(Duration::from_secs(1)));
        assert_eq!(middle(2), RetryDecision::After(Duration::from_secs(2)));
        assert_eq!(middle(3), RetryDecision::After(Duration::from_secs(4)));
        assert_eq!(middle(4), RetryDecision::Exhausted);
    }

    #[test]
    fn a_chain_ends_a_day_after_its_first_attempt() {
        let policy = RetryPolicy { max_retries: 100, ..RetryPolicy::default() };
        let late = ChainPosition { now: Timestamp::from_ms(86_400_500), ..position(20) };
        assert_eq!(policy.decide(late, None, 0.5), RetryDecision::Expired);
        let asked = Some(Duration::from_secs(90_000));
        assert_eq!(policy.decide(position(1), asked, 0.5), RetryDecision::Expired);
    }

    #[test]
    fn policies_that_make_no_sense_are_refused() {
        let with = |change: fn(&mut RetryPolicy)| {
            let mut policy = RetryPolicy::default();
            change(&mut policy);
            policy.validated().unwrap_err()
        };
        assert_eq!(with(|p| p.multiplier = f64::NAN), BadRetryPolicy::Multiplier);
        assert_eq!(with(|p| p.multiplier = 0.5), BadRetryPolicy::Multiplier);
        assert_eq!(with(|p| p.jitter = 1.5), BadRetryPolicy::Jitter);
        assert_eq!(with(|p| p.max_delay = Duration::from_millis(1)), BadRetryPolicy::InitialDelay);
        assert_eq!(with(|p| p.max_retries = 5_000), BadRetryPolicy::MaxRetries);
    }

    fn policies() -> impl Strategy<Value = RetryPolicy> {
        (0u32..20, 0u64..10_000, 1.0f64..10.0, 0u64..1_000_000, 0.0f64..=1.0).prop_map(
            |(max_retries, initial_ms, multiplier, extra_ms, jitter)| RetryPolicy {
                max_retries,
                initial_delay: Duration::from_millis(initial_ms),
                multiplier,
                max_delay: Duration::from_millis(initial_ms + extra_ms),
                jitter,
                give_up_after: Duration::from_secs(24 * 60 * 60),
            },
        )
    }

    proptest! {
        #[test]
        fn delays_stay_within_jitter_of_the_capped_curve(policy in policies(), attempts in 1u32..2_000, chance in 0.0f64..1.0) {
            let policy = policy.validated().unwrap();
            match policy.decide(position(attempts), None, chance) {
                RetryDecision::After(delay) => {
                    prop_assert!(attempts <= policy.max_retries);
                    let base = policy.base_delay(attempts);
                    prop_assert!(base <= policy.max_delay);
                    let slack = Duration::from_nanos(10);
                    prop_assert!(delay + slack >= base.mul_f64(1.0 - policy.jitter));
                    prop_assert!(delay <= base.mul_f64(1.0 + policy.jitter) + slack);
                }
                RetryDecision::Exhausted => prop_assert!(attempts > policy.max_retries),
                RetryDecision::Expired => prop_assert!(false, "a delay of minutes never reaches a day"),
            }
        }

        #[test]
        fn retry_after_is_a_floor_that_jitter_only_adds_to(policy in policies(), floor_ms in 0u64..80_000_000, chance in 0.0f64..1.0) {
            let floor = Duration::from_millis(floor_ms);
            if let RetryDecision::After(delay) = policy.decide(position(1), Some(floor), chance) {
                prop_assert!(delay >= floor);
            }
        }

        #[test]
        fn base_delays_never_shrink(policy in policies(), retry in 1u32..500) {
            prop_assert!(policy.base_delay(retry) <= policy.base_delay(retry + 1));
        }
    }
}
