//! Fallbacks: held on disk without a due entry, and set free in the very commit that ends what they stand in for.

use fanfare_model::clock::Clock;
use fanfare_model::delivery::Phase;
use fanfare_model::fault::code;
use fanfare_model::state::Planned;

use super::{Bench, outcome};
use crate::AcceptedItem;

/// `pairs` users, each with a first way and one to fall back to.
async fn accepted(bench: &Bench, pairs: usize) -> AcceptedItem {
    let mut new = bench.unplanned(None);
    let plan = (0..pairs).flat_map(|n| {
        let user = format!("u{n}").parse().unwrap();
        let way = |channel: &str, order| Planned {
            fallback_order: order,
            ..bench.planned(channel, Some(&user), &format!("{channel}-{n}"))
        };
        [way("mail", 0), way("sms", 1)]
    });
    new.state.plan(plan.collect(), bench.clock.now()).unwrap();
    bench.accept(new).await
}

async fn lanes(bench: &Bench) -> Vec<String> {
    bench.store.lanes().await.unwrap().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_is_held_is_not_due_and_begins_in_the_commit_of_the_death_also_after_a_restart() {
    let mut bench = Bench::new().await;
    let id = accepted(&bench, 1).await.cell.id();
    assert_eq!(lanes(&bench).await, ["mail"]);
    bench.reopen().await;
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    assert!(matches!(cell.read(|state| state.deliveries[1].phase.clone()), Phase::Held { .. }));
    let commits = bench.engine.commits.lock().unwrap().len();
    bench.settle(&cell, 0, &outcome(false, false)).await.unwrap();
    assert_eq!(bench.engine.commits.lock().unwrap().len(), commits + 1);
    assert_eq!(lanes(&bench).await, ["sms"]);
    drop(cell);
    bench.reopen().await;
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    assert_eq!(cell.due_entries().len(), 1);
    bench.settle(&cell, 1, &outcome(true, false)).await.unwrap();
    assert!(lanes(&bench).await.is_empty());
    assert_eq!(bench.indexed().await, bench.expected().await);
}

#[tokio::test]
async fn what_is_not_needed_stays_out_of_every_index_and_keeps_its_reason() {
    let mut bench = Bench::new().await;
    // The second half lies in a record of its own, whose only change is what follows from the first.
    let item = accepted(&bench, 9).await;
    let id = item.cell.id();
    bench.settle(&item.cell, 16, &outcome(true, false)).await.unwrap();
    bench.settle(&item.cell, 0, &outcome(true, false)).await.unwrap();
    drop(item);
    bench.reopen().await;
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    for index in [1, 17] {
        let phase = cell.read(|state| state.deliveries[index].phase.clone());
        assert!(matches!(phase, Phase::Suppressed { fault, .. } if fault.code == code::FALLBACK_UNNEEDED));
    }
    assert_eq!(cell.due_entries().len(), 7);
    assert_eq!(bench.indexed().await, bench.expected().await);
}

#[tokio::test]
async fn a_cancelled_fallback_is_counted_like_any_other_end() {
    let bench = Bench::new().await;
    let item = accepted(&bench, 1).await;
    let now = bench.clock.now();
    let cancel = item.cell.change(|state| {
        state.cancel(now, |_| false);
        Ok::<_, fanfare_model::state::Misfit>(crate::Changed::only(()))
    });
    cancel.unwrap().durable.await.unwrap();
    let counters = bench.store.counters().await.unwrap();
    assert!(counters.contains(&("cancelled/sms".to_owned(), 1)), "{counters:?}");
}
