use std::time::Duration;

use proptest::prelude::*;

use super::super::tests::{T0, notification, planned, settlement};
use super::super::{Misfit, NotificationState, NotificationStatus, Planned, Settled};
use crate::delivery::{DeliveryStatus, Phase};
use crate::fault::{Fault, code};
use crate::name::UserId;
use crate::outcome::{Outcome, Receipt};
use crate::time::Timestamp;
use crate::trace::TraceKind;

fn way(channel: &str, user: Option<&str>, order: u32) -> Planned {
    let user: Option<UserId> = user.map(|user| user.parse().unwrap());
    Planned { user, fallback_order: order, ..planned(channel, None) }
}

fn routed(plan: Vec<Planned>) -> NotificationState {
    let mut state = NotificationState::accepted(&notification());
    state.plan(plan, T0).unwrap();
    state
}

fn delivered() -> Outcome {
    Outcome::Delivered(Receipt::default())
}

fn permanent() -> Outcome {
    Outcome::Permanent(Fault::new(code::HOST_INTERNAL, "no"))
}

fn end(state: &mut NotificationState, index: u16, outcome: &Outcome) -> Result<Settled, Misfit> {
    state.settle(index, &settlement(outcome, T0))
}

fn phases(state: &NotificationState) -> Vec<&'static str> {
    let word = |phase: &Phase| match phase {
        Phase::Waiting { .. } => "waiting",
        Phase::Held { .. } => "held",
        Phase::Delivered { .. } => "delivered",
        Phase::Dead { .. } => "dead",
        Phase::Cancelled { .. } => "cancelled",
        Phase::Expired { .. } => "expired",
        Phase::Suppressed { fault, .. } if fault.code == code::FALLBACK_UNNEEDED => "unneeded",
        Phase::Suppressed { .. } => "suppressed",
    };
    state.deliveries.iter().map(|delivery| word(&delivery.phase)).collect()
}

fn last_event(state: &NotificationState, index: usize) -> (TraceKind, &str) {
    let event = state.deliveries[index].events.last().unwrap();
    (event.kind, &event.detail)
}

#[test]
fn each_fallback_is_sent_only_once_the_one_before_it_is_dead() {
    let mut state = routed(vec![way("mail", None, 0), way("sms", None, 1), way("call", None, 2)]);
    assert_eq!(phases(&state), ["waiting", "held", "held"]);
    assert_eq!(state.deliveries[1].status(T0), DeliveryStatus::Scheduled);
    assert_eq!(end(&mut state, 1, &delivered()), Err(Misfit::NotWaiting), "it is not its turn");
    end(&mut state, 0, &permanent()).unwrap();
    assert_eq!(phases(&state), ["dead", "waiting", "held"]);
    let (kind, why) = last_event(&state, 1);
    assert_eq!(kind, TraceKind::FallbackBegun);
    assert!(why.contains("through mail (host.internal)"), "{why}");
    end(&mut state, 1, &permanent()).unwrap();
    assert_eq!(phases(&state), ["dead", "dead", "waiting"]);
    end(&mut state, 2, &delivered()).unwrap();
    assert_eq!(state.status(T0), NotificationStatus::Done);
}

#[test]
fn fallbacks_of_a_delivery_that_arrived_are_unneeded_and_say_so() {
    let mut state = routed(vec![way("mail", None, 0), way("sms", None, 1), way("call", None, 2)]);
    end(&mut state, 0, &delivered()).unwrap();
    assert_eq!(phases(&state), ["delivered", "unneeded", "unneeded"]);
    let (kind, why) = last_event(&state, 2);
    assert_eq!(kind, TraceKind::Suppressed);
    assert!(
        why.starts_with("fallback.unneeded: not needed:") && why.contains("through mail was delivered"),
        "{why}"
    );
    assert_eq!(state.status(T0), NotificationStatus::Done);
}

#[test]
fn a_retry_keeps_the_fallback_waiting_and_a_replay_takes_none_back() {
    let mut state = routed(vec![way("mail", None, 0), way("sms", None, 1)]);
    let busy = Outcome::Transient { fault: Fault::new(code::HOST_INTERNAL, "busy"), retry_after: None };
    for _ in 0..3 {
        assert!(matches!(end(&mut state, 0, &busy), Ok(Settled::Retry(_))));
        assert_eq!(phases(&state), ["waiting", "held"]);
    }
    end(&mut state, 0, &busy).unwrap();
    assert_eq!(phases(&state), ["dead", "waiting"]);
    state.replay(0, T0, "ops").unwrap();
    end(&mut state, 0, &delivered()).unwrap();
    assert_eq!(phases(&state), ["delivered", "waiting"], "it may be on its way already");
}

#[test]
fn several_ways_of_one_order_go_together_and_one_success_is_enough() {
    let plan = || vec![way("mail", None, 1), way("chat", None, 1), way("sms", None, 5), way("call", None, 5)];
    let mut state = routed(plan());
    assert_eq!(
        phases(&state),
        ["waiting", "waiting", "held", "held"],
        "the lowest begins, whatever its number"
    );
    end(&mut state, 0, &permanent()).unwrap();
    assert_eq!(phases(&state), ["dead", "waiting", "held", "held"]);
    end(&mut state, 1, &permanent()).unwrap();
    assert_eq!(phases(&state), ["dead", "dead", "waiting", "waiting"]);
    let mut state = routed(plan());
    end(&mut state, 1, &delivered()).unwrap();
    assert_eq!(phases(&state), ["waiting", "delivered", "unneeded", "unneeded"]);
}

#[test]
fn each_user_has_a_row_of_their_own_and_a_direct_delivery_is_in_none() {
    let mut state = NotificationState::accepted(&notification());
    state.plan(vec![planned("ops", None)], T0).unwrap();
    let plan = vec![
        way("mail", Some("ann"), 0),
        way("sms", Some("ann"), 1),
        way("mail", Some("bob"), 0),
        way("sms", Some("bob"), 1),
        way("log", Some("eve"), 7),
    ];
    state.plan(plan, T0).unwrap();
    assert_eq!(phases(&state), ["waiting", "waiting", "held", "waiting", "held", "waiting"]);
    end(&mut state, 0, &permanent()).unwrap();
    end(&mut state, 1, &permanent()).unwrap();
    end(&mut state, 3, &delivered()).unwrap();
    assert_eq!(phases(&state), ["dead", "dead", "waiting", "delivered", "unneeded", "waiting"]);
}

#[test]
fn a_way_that_two_users_share_is_sent_when_either_needs_it() {
    let shared = |user, order| Planned { address: Some("+82".to_owned()), ..way("sms", Some(user), order) };
    let plan =
        || vec![way("mail", Some("ann"), 0), shared("ann", 1), way("mail", Some("bob"), 0), shared("bob", 1)];
    let mut state = routed(plan());
    assert_eq!(phases(&state), ["waiting", "held", "waiting"]);
    end(&mut state, 0, &delivered()).unwrap();
    assert_eq!(phases(&state), ["delivered", "held", "waiting"]);
    end(&mut state, 2, &permanent()).unwrap();
    assert_eq!(phases(&state), ["delivered", "waiting", "dead"]);
    let mut state = routed(plan());
    end(&mut state, 0, &delivered()).unwrap();
    end(&mut state, 2, &delivered()).unwrap();
    assert_eq!(phases(&state), ["delivered", "unneeded", "delivered"]);
    let first = routed(vec![
        shared("ann", 0),
        way("mail", Some("ann"), 1),
        way("mail", Some("bob"), 0),
        shared("bob", 1),
    ]);
    assert_eq!(phases(&first), ["waiting", "held", "waiting"], "it is somebody's first way");
}

#[test]
fn a_fallback_of_what_has_ended_before_the_routing_is_decided_at_once() {
    for (outcome, expected) in [(permanent(), ["dead", "waiting"]), (delivered(), ["delivered", "unneeded"])]
    {
        let mut state = NotificationState::accepted(&notification());
        state.plan(vec![planned("mail", None)], T0).unwrap();
        end(&mut state, 0, &outcome).unwrap();
        state.plan(vec![way("mail", None, 0), way("sms", None, 1)], T0).unwrap();
        assert_eq!(phases(&state), expected);
    }
}

#[test]
fn a_fallback_ends_with_the_notification_when_that_is_cancelled_or_expires() {
    let plan = || vec![way("mail", None, 0), way("sms", None, 1)];
    let mut state = routed(plan());
    assert_eq!(state.cancel(T0, |_| false), 2);
    assert_eq!(phases(&state), ["cancelled", "cancelled"]);
    let mut state = routed(plan());
    state.expire(0, T0).unwrap();
    assert_eq!(phases(&state), ["expired", "expired"]);
    assert_eq!(state.status(T0), NotificationStatus::Expired);
}

#[test]
fn a_fallbacks_own_delay_counts_from_the_routing() {
    let later = Timestamp::from_ms(60_000);
    let mut state = routed(vec![way("mail", None, 0), Planned { due_at: later, ..way("sms", None, 1) }]);
    end(&mut state, 0, &permanent()).unwrap();
    assert_eq!(state.deliveries[1].phase, Phase::Waiting { due_at: later, delay: None });
    let mut state = routed(vec![way("mail", None, 0), way("sms", None, 1)]);
    state.settle(0, &settlement(&permanent(), later)).unwrap();
    assert_eq!(state.deliveries[1].phase, Phase::Waiting { due_at: later, delay: None });
}

proptest! {
    /// Whatever the orders and outcomes: nothing is held for ever, and nothing is sent behind a success.
    #[test]
    fn every_row_comes_to_an_end(
        ways in proptest::collection::vec((0usize..3, 0u32..4, 0usize..3, any::<bool>()), 1..24),
    ) {
        let users = ["ann", "bob", "eve"];
        let plan = ways.iter().map(|(user, order, address, _)| Planned {
            address: Some(address.to_string()),
            ..way("hook", Some(users[*user]), *order)
        });
        let mut state = routed(plan.collect());
        for _ in 0..=state.deliveries.len() {
            let next = state.deliveries.iter().position(|d| matches!(d.phase, Phase::Waiting { .. }));
            let Some(next) = next else { break };
            let good = ways[next].3;
            state.settle(u16::try_from(next).unwrap(), &settlement(&if good { delivered() } else { permanent() }, T0)).unwrap();
        }
        prop_assert!(state.deliveries.iter().all(|d| d.phase.is_terminal()), "{:?}", phases(&state));
        let took = Duration::from_millis(3);
        prop_assert!(state.deliveries.iter().flat_map(|d| &d.attempts).all(|a| a.took == took));
    }
}
