//! Random lives of notifications: whatever happens, the indexes say what the states say.

use std::time::Duration;

use fanfare_model::clock::Clock;
use fanfare_model::id::NotificationId;
use fanfare_model::state::{Misfit, NotificationState, Planned};
use fanfare_model::time::Timestamp;
use proptest::prelude::*;

use super::{Bench, outcome, settle};
use crate::{Changed, DeadLetterFilter, ListFilter};

#[derive(Clone, Debug)]
enum Step {
    Accept(usize),
    AcceptUnrouted,
    Change(usize, Act, Waits),
    TurnClockBack,
    /// So many settles find no room on the disk.
    Fill(usize),
    Reopen,
}

#[derive(Clone, Debug)]
enum Act {
    Settle(u16, bool, bool),
    Route(u16, usize),
    Cancel,
    Expire(u16),
    Replay(u16),
    Discard(u16),
}

/// Whether the change's ticket is waited for, or dropped at once.
#[derive(Clone, Copy, Debug)]
enum Waits {
    Yes,
    No,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = || prop_oneof![3 => 0u16..3, 1 => 0u16..45];
    let act = prop_oneof![
        8 => (index(), any::<bool>(), any::<bool>()).prop_map(|(i, good, transient)| Act::Settle(i, good, transient)),
        3 => (index(), 0usize..40).prop_map(|(i, count)| Act::Route(i, count)),
        1 => Just(Act::Cancel),
        1 => index().prop_map(Act::Expire),
        3 => index().prop_map(Act::Replay),
        1 => index().prop_map(Act::Discard),
    ];
    let waits = prop_oneof![Just(Waits::Yes), Just(Waits::No)];
    let step = prop_oneof![
        2 => (1usize..40).prop_map(Step::Accept),
        1 => Just(Step::AcceptUnrouted),
        14 => (any::<usize>(), act, waits).prop_map(|(n, act, waits)| Step::Change(n, act, waits)),
        1 => Just(Step::TurnClockBack),
        1 => (1usize..6).prop_map(Step::Fill),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}

fn act(bench: &Bench, state: &mut NotificationState, act: &Act) -> Result<(), Misfit> {
    let now = bench.clock.now();
    match *act {
        Act::Settle(index, good, transient) => settle(state, index, &outcome(good, transient), now),
        Act::Route(index, count) => {
            if !state.delivery(index).is_some_and(|delivery| delivery.channel.is_router()) {
                return Err(Misfit::NotWaiting);
            }
            let user = "bob".parse().unwrap();
            let plan = (0u32..).take(count).map(|n| Planned {
                fallback_order: n % 3,
                ..bench.planned("mail", Some(&user), &format!("m{n}"))
            });
            state.route(index, &plan.collect::<Vec<_>>(), "by rule", now, now).map(drop)
        }
        Act::Cancel => {
            state.cancel(now, |index| index == 0);
            Ok(())
        }
        Act::Expire(index) => state.expire(index, now),
        Act::Replay(index) => state.replay(index, now, "ops"),
        Act::Discard(index) => state.discard(index, now, "ops"),
    }
}

async fn change(bench: &Bench, id: NotificationId, what: &Act, waits: Waits) {
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    let changed = cell.change(|state| act(bench, state, what).map(Changed::only));
    if let (Ok(ticket), Waits::Yes) = (changed, waits) {
        ticket.durable.await.unwrap();
    }
}

async fn accept(bench: &Bench, step: &Step) -> NotificationId {
    let new = match step {
        Step::Accept(count) => bench.new_notification(&vec!["hook"; *count], Some("ann")),
        _ => {
            let mut new = bench.unplanned(Some("eve"));
            let now = bench.clock.now();
            new.state.defer_routing(now, now, "the router is slow");
            new
        }
    };
    bench.accept(new).await.cell.id()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn indexes_always_say_what_the_states_say(steps in steps()) {
        block_on(async {
            let mut bench = Bench::new().await;
            let mut ids = Vec::new();
            for step in steps {
                bench.clock.advance(Duration::from_millis(500));
                match &step {
                    Step::Accept(_) | Step::AcceptUnrouted => ids.push(accept(&bench, &step).await),
                    Step::Change(n, act, waits) => {
                        if let Some(id) = ids.get(n % ids.len().max(1)) {
                            change(&bench, *id, act, *waits).await;
                        }
                    }
                    Step::TurnClockBack => bench.clock.step_wall(Timestamp::from_ms(bench.clock.now().as_ms() - 1_500)),
                    Step::Fill(count) => bench.engine.fill(*count),
                    Step::Reopen => {
                        bench.quiet().await;
                        bench.reopen().await;
                    }
                }
                assert_eq!(bench.indexed().await, bench.expected().await);
            }
            bench.quiet().await;
            let letters = bench.store.dead_letters(&DeadLetterFilter::default(), None, 10_000).await.unwrap().items.len();
            let counted = bench.store.figures(&[]).await.unwrap().dead_letters;
            assert_eq!(counted.iter().map(|(_, count)| usize::try_from(*count).unwrap()).sum::<usize>(), letters);
            for state in bench.store.list(&ListFilter::default(), None, 10_000).await.unwrap().items {
                let cell = bench.store.cell(state.id).await.unwrap().unwrap();
                assert_eq!(cell.read(Clone::clone), state, "memory and disk say the same");
            }
        });
    }
}
