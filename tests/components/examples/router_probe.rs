//! A router that puts clock and chance into its notes: the same call has to give the same notes.

use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

fanfare_components::router!(|_, _, now_ms| {
    #[allow(clippy::disallowed_methods, reason = "whether the host freezes this clock is what it probes")]
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let chance = RandomState::new().hash_one(1);
    let mut plan = fanfare_sdk::Plan::nothing(format!("clock {}", clock.as_nanos()));
    plan.notes.push(format!("chance {chance}"));
    plan.notes.push(format!("now {now_ms}"));
    Ok(plan)
});
