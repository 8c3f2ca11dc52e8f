use super::super::tests::{T0, notification, planned, settlement};
use super::*;
use crate::outcome::{Outcome, Receipt};
use crate::state::NotificationStatus;

fn deferred() -> NotificationState {
    let mut state = NotificationState::accepted(&notification());
    state.defer_routing(T0, T0, "the fan-out is large");
    state
}

fn plan(count: usize) -> Vec<Planned> {
    (0..count).map(|n| planned("hook", Some(&n.to_string()))).collect()
}

fn later(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

#[test]
fn a_large_plan_is_carried_out_in_parts_each_target_once() {
    let mut state = deferred();
    let plan = plan(FAN_OUT_PART * 2 + 1);
    assert_eq!(state.route(0, &plan, "all", later(5), later(9)), Ok(Routing::Partly));
    assert_eq!(state.deliveries.len(), 1 + FAN_OUT_PART);
    assert_eq!(state.fan_out, Some(FanOut { planned_at: later(5), done: 1_000 }));
    assert_eq!(state.status(later(9)), NotificationStatus::Routing);
    assert_eq!(state.route(0, &plan, "all", later(7), later(9)), Ok(Routing::Partly));
    assert_eq!(state.fan_out.map(|fan_out| fan_out.planned_at), Some(later(5)), "the moment stays");
    assert_eq!(state.route(0, &plan, "all", later(5), later(9)), Ok(Routing::Done));
    assert_eq!((state.deliveries.len(), state.fan_out), (2 + 2 * FAN_OUT_PART, None));
    assert_eq!(state.route(0, &plan, "all", later(5), later(9)), Err(Misfit::NotWaiting));
    let addresses: std::collections::HashSet<_> =
        state.deliveries.iter().map(|d| d.address.clone()).collect();
    assert_eq!(addresses.len(), state.deliveries.len());
}

#[test]
fn a_plan_of_exactly_one_part_takes_one_step_and_the_largest_takes_five() {
    let mut state = deferred();
    assert_eq!(state.route(0, &plan(FAN_OUT_PART), "all", T0, T0), Ok(Routing::Done));
    let (mut state, largest) = (deferred(), plan(FAN_OUT_MAX));
    for _ in 0..4 {
        assert_eq!(state.route(0, &largest, "all", T0, T0), Ok(Routing::Partly));
    }
    assert_eq!(state.route(0, &largest, "all", T0, T0), Ok(Routing::Done));
}

#[test]
fn a_plan_over_the_limit_of_a_fan_out_changes_nothing() {
    let mut state = deferred();
    let before = state.clone();
    assert_eq!(state.route(0, &plan(FAN_OUT_MAX + 1), "all", T0, T0), Err(Misfit::FanOutTooLarge));
    assert_eq!(state, before);
}

#[test]
fn a_cancelled_notification_is_not_routed_any_further() {
    let mut state = deferred();
    let plan = plan(FAN_OUT_PART + 1);
    state.route(0, &plan, "all", T0, T0).unwrap();
    assert_eq!(state.cancel(T0, |index| index == 0), FAN_OUT_PART);
    assert_eq!(state.route(0, &plan, "all", T0, T0), Ok(Routing::Done));
    assert_eq!(state.deliveries.len(), 1 + FAN_OUT_PART);
    assert_eq!(state.status(T0), NotificationStatus::Cancelled);
}

#[test]
fn a_shorter_plan_after_a_crash_ends_the_routing() {
    let mut state = deferred();
    state.route(0, &plan(FAN_OUT_PART + 1), "all", T0, T0).unwrap();
    assert_eq!(state.route(0, &plan(3), "fewer", T0, T0), Ok(Routing::Done));
    assert_eq!(state.deliveries.len(), 1 + FAN_OUT_PART);
}

#[test]
fn a_fallback_never_comes_in_a_part_before_what_it_stands_in_for() {
    let mut state = deferred();
    let mut plan = plan(FAN_OUT_PART * 2);
    // The fallback of the last one is the first of the plan.
    for (place, order) in [(0, 1), (FAN_OUT_PART * 2 - 1, 0)] {
        plan[place].user = Some("ann".parse().unwrap());
        plan[place].fallback_order = order;
    }
    state.route(0, &plan, "all", T0, T0).unwrap();
    assert!(state.deliveries.iter().all(|delivery| delivery.address.as_deref() != Some("0")));
    let first = state.deliveries.iter().find(|d| d.user.is_some()).map(|d| d.id.index);
    state.route(0, &plan, "all", T0, T0).unwrap();
    assert_eq!(first, None, "the first part is full of those in no row");
    let of_ann: Vec<u16> = state.deliveries.iter().filter(|d| d.user.is_some()).map(|d| d.id.index).collect();
    let [first, second] = of_ann[..] else { panic!("{of_ann:?}") };
    assert!(matches!(state.deliveries[usize::from(second)].phase, Phase::Held { .. }));
    state.settle(first, &settlement(&Outcome::Delivered(Receipt::default()), T0)).unwrap();
    assert!(matches!(state.deliveries[usize::from(second)].phase, Phase::Suppressed { .. }));
}
