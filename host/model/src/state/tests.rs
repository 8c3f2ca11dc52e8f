use std::time::Duration;

use super::*;
use crate::delivery::DeliveryStatus;
use crate::fault::code;
use crate::id::{IdGenerator, Shard};
use crate::notification::Target;
use crate::outcome::{Outcome, Receipt};
use crate::retry::RetryPolicy;
use proptest::prelude::*;

pub(super) const T0: Timestamp = Timestamp::EPOCH;

pub(super) fn notification() -> Notification {
    Notification {
        to: vec![Target::Channel { channel: "hook".parse().unwrap(), address: None }],
        ..Notification::new(
            IdGenerator::default().next(Shard::EMBEDDED, T0),
            "payment.failed".parse().unwrap(),
            T0,
        )
    }
}

pub(super) fn planned(channel: &str, address: Option<&str>) -> Planned {
    Planned {
        channel: channel.parse().unwrap(),
        user: None,
        address: address.map(str::to_owned),
        due_at: T0,
        fallback_order: 0,
        reason: "named in to".to_owned(),
    }
}

fn state() -> NotificationState {
    let mut state = NotificationState::accepted(&notification());
    state.plan(vec![planned("hook", None)], T0).unwrap();
    state
}

fn busy() -> Outcome {
    let fault = Fault::new(code::HOST_INTERNAL, "busy").with_status(Some(503));
    Outcome::Transient { fault, retry_after: None }
}

fn settle(state: &mut NotificationState, outcome: &Outcome, now: Timestamp) -> Result<Settled, Misfit> {
    state.settle(0, &settlement(outcome, now))
}

pub(super) fn settlement(outcome: &Outcome, now: Timestamp) -> Settlement<'_> {
    static POLICY: std::sync::LazyLock<RetryPolicy> = std::sync::LazyLock::new(RetryPolicy::default);
    Settlement {
        started_at: now,
        took: Duration::from_millis(3),
        generation: 1,
        outcome,
        policy: &POLICY,
        now,
        chance: 0.5,
    }
}

#[test]
fn three_retries_and_then_a_dead_letter_that_a_replay_delivers() {
    let mut state = state();
    for seconds in [1, 2, 4] {
        let expected = Settled::Retry(Duration::from_secs(seconds));
        assert_eq!(settle(&mut state, &busy(), T0), Ok(expected));
        assert_eq!(state.deliveries[0].status(T0), DeliveryStatus::Retrying);
    }
    assert!(matches!(settle(&mut state, &busy(), T0), Ok(Settled::Dead(fault)) if fault.status == Some(503)));
    assert_eq!(state.status(T0), NotificationStatus::Done);
    assert_eq!(settle(&mut state, &busy(), T0), Err(Misfit::NotWaiting));

    state.replay(0, T0, "ops").unwrap();
    assert_eq!(state.replay(0, T0, "ops"), Err(Misfit::NotDead));
    assert_eq!(state.status(T0), NotificationStatus::Active);
    let taken = Outcome::Delivered(Receipt::default());
    assert_eq!(settle(&mut state, &taken, T0), Ok(Settled::Delivered));
    let delivery = &state.deliveries[0];
    assert_eq!((delivery.attempts_total, delivery.chain.number, delivery.chain.attempts), (5, 1, 1));
    assert_eq!(delivery.attempts.len(), 5, "a replay keeps the history");
}

#[test]
fn what_costs_nothing_leaves_all_retries_and_ends_no_chain_however_old() {
    let mut state = state();
    assert_eq!(settle(&mut state, &busy(), T0), Ok(Settled::Retry(Duration::from_secs(1))));
    for day in 1..9 {
        let outcome = busy();
        let later = settlement(&outcome, T0.plus(Duration::from_secs(day * 86_400)));
        let settled = state.settle_at(0, &later, Cost::Nothing);
        assert_eq!(settled, Ok(Settled::Retry(Duration::from_secs(1))), "day {day}");
    }
    let delivery = &state.deliveries[0];
    assert_eq!((delivery.attempts_total, delivery.chain.attempts), (9, 1), "it is told, and not counted");
    let taken = Outcome::Delivered(Receipt::default());
    assert_eq!(state.settle_at(0, &settlement(&taken, T0), Cost::Nothing), Ok(Settled::Delivered));
}

#[test]
fn the_same_channel_and_address_twice_is_one_delivery() {
    let mut state = state();
    let again = vec![planned("hook", None), planned("hook", Some("a")), planned("hook", Some("a"))];
    state.plan(again, T0).unwrap();
    assert_eq!(state.deliveries.len(), 2);
}

#[test]
fn a_plan_over_the_limit_changes_nothing() {
    let mut state = state();
    let many = (0..DELIVERIES_MAX).map(|n| planned("hook", Some(&n.to_string()))).collect();
    assert_eq!(state.plan(many, T0), Err(Misfit::TooManyDeliveries));
    assert_eq!(state.deliveries.len(), 1);
}

#[test]
fn what_is_under_way_when_cancelled_is_not_tried_again() {
    let mut state = state();
    state.plan(vec![planned("hook", Some("b"))], T0).unwrap();
    assert_eq!(state.cancel(T0, |index| index == 0), 1);
    assert_eq!(state.status(T0), NotificationStatus::Active);
    assert_eq!(settle(&mut state, &busy(), T0), Ok(Settled::Cancelled));
    assert_eq!(state.status(T0), NotificationStatus::Cancelled);
}

#[test]
fn a_retry_behind_expires_at_is_not_waited_for() {
    let mut state = state();
    state.expires_at = Some(Timestamp::from_ms(500));
    assert_eq!(settle(&mut state, &busy(), T0), Ok(Settled::Expired));
    assert_eq!(state.status(T0), NotificationStatus::Expired);
}

#[test]
fn routing_that_gives_no_target_is_suppressed() {
    let mut state = NotificationState::accepted(&notification());
    state.defer_routing(Timestamp::from_ms(10), T0, "send_at lies ahead");
    assert_eq!(state.status(T0), NotificationStatus::Scheduled);
    assert_eq!(state.status(Timestamp::from_ms(10)), NotificationStatus::Routing);
    state.route(0, &[], "no rule matched", T0, T0).unwrap();
    assert_eq!(state.status(T0), NotificationStatus::Suppressed);
    assert_eq!(state.suppressed.unwrap().fault.code, code::ROUTE_EMPTY);
}

#[test]
fn routing_that_gives_targets_leaves_only_them_to_be_done() {
    let mut state = NotificationState::accepted(&notification());
    state.defer_routing(T0, T0, "the router was slow");
    state.route(0, &[planned("hook", None)], "rule payments", T0, T0).unwrap();
    assert_eq!(state.status(T0), NotificationStatus::Active);
    assert_eq!(state.deliveries[1].id.index, 1);
}

#[derive(Clone, Debug)]
enum Step {
    Settle(bool, bool),
    Cancel,
    Expire,
    Replay,
    Discard,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (any::<bool>(), any::<bool>()).prop_map(|(good, transient)| Step::Settle(good, transient)),
        1 => Just(Step::Cancel),
        1 => Just(Step::Expire),
        2 => Just(Step::Replay),
        1 => Just(Step::Discard),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn a_terminal_delivery_changes_only_by_replay_or_discard(steps in steps()) {
        let mut state = state();
        for step in steps {
            let before = state.deliveries[0].clone();
            let changed = match step {
                Step::Settle(true, _) => settle(&mut state, &Outcome::Delivered(Receipt::default()), T0).is_ok(),
                Step::Settle(false, true) => settle(&mut state, &busy(), T0).is_ok(),
                Step::Settle(false, false) => {
                    let fault = Fault::new(code::HOST_INTERNAL, "no");
                    settle(&mut state, &Outcome::Permanent(fault), T0).is_ok()
                }
                Step::Cancel => state.cancel(T0, |_| false) > 0,
                Step::Expire => state.expire(0, T0).is_ok(),
                Step::Replay => {
                    let done = state.replay(0, T0, "ops").is_ok();
                    prop_assert_eq!(done, matches!(before.phase, Phase::Dead { .. }));
                    done
                }
                Step::Discard => {
                    let done = state.discard(0, T0, "ops").is_ok();
                    prop_assert_eq!(done, matches!(before.phase, Phase::Dead { .. }));
                    done
                }
            };
            let after = &state.deliveries[0];
            prop_assert_eq!(changed, before != *after);
            prop_assert!(after.attempts.len() <= crate::delivery::HISTORY_MAX);
            prop_assert!(after.events.len() <= crate::delivery::HISTORY_MAX);
            prop_assert!(after.attempts_total >= before.attempts_total);
        }
    }
}
