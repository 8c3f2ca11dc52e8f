//! A full disk: changes stay in memory, and reach the disk in their order once there is room.

use fanfare_model::clock::Clock;
use fanfare_model::state::Misfit;

use super::{Bench, outcome, settle};
use crate::engine::CommitError;
use crate::{Cell, Changed, Ticket};

fn settled(bench: &Bench, cell: &Cell, index: u16, good: bool) -> Ticket<()> {
    let now = bench.clock.now();
    cell.change(|state| settle(state, index, &outcome(good, true), now).map(Changed::only)).unwrap()
}

fn no_room() -> Option<CommitError> {
    Some(CommitError::Full("no room".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_settle_that_finds_no_room_is_durable_once_there_is_some() {
    let mut bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"], None)).await;
    let other = bench.accept(bench.new_notification(&["hook"], None)).await;
    let id = item.cell.id();
    bench.engine.fill(9);
    let mut ticket = settled(&bench, &item.cell, 0, true);
    let early = tokio::time::timeout(crate::flight::PAUSE_MAX, &mut ticket.durable).await;
    assert!(early.is_err(), "it is not durable, and says so to nobody");
    assert_eq!(bench.store.refusal(), no_room(), "readiness tells of it");
    assert_eq!(bench.store.figures(&[]).await.unwrap().waiting_for_space, 1);
    assert!(item.cell.due_entries().is_empty(), "nothing of it may be sent again meanwhile");
    bench.settle(&other.cell, 0, &outcome(true, false)).await.unwrap();
    assert_eq!(ticket.durable.await, Ok(()));
    assert_eq!(bench.store.refusal(), None, "it goes on by itself");
    assert_eq!(bench.store.figures(&[]).await.unwrap().waiting_for_space, 0);
    drop((item, other));
    bench.reopen().await;
    assert!(bench.store.cell(id).await.unwrap().unwrap().due_entries().is_empty());
    assert!(bench.indexed().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn changes_behind_one_that_found_no_room_do_not_overtake_it() {
    let mut bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"; 20], None)).await;
    let id = item.cell.id();
    bench.engine.fill(1);
    // The retry's due entry must not come back after the end that took it away.
    let first = settled(&bench, &item.cell, 0, false);
    let second = settled(&bench, &item.cell, 0, true);
    let third = settled(&bench, &item.cell, 17, true);
    assert_eq!(bench.indexed().await.len(), 20, "nothing of it is on disk");
    assert_eq!(third.durable.await, Ok(()));
    assert_eq!((first.durable.await, second.durable.await), (Ok(()), Ok(())));
    assert_eq!(bench.indexed().await, bench.expected().await);
    drop(item);
    bench.reopen().await;
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    let attempts = cell.read(|state| [0, 17, 1].map(|index: usize| state.deliveries[index].attempts_total));
    assert_eq!(attempts, [2, 1, 0]);
    let counters = bench.store.counters().await.unwrap();
    assert!(counters.contains(&("delivered/hook".to_owned(), 2)), "{counters:?}");
}

#[tokio::test(start_paused = true)]
async fn an_alert_waits_for_room_with_the_change_that_causes_it() {
    let bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"], None)).await;
    let alert = bench.new_notification(&["ops"], None);
    let id = alert.state.id;
    let now = bench.clock.now();
    bench.engine.fill(3);
    let ticket = item.cell.change(|state| {
        settle(state, 0, &outcome(false, false), now)?;
        Ok::<_, Misfit>(Changed { value: (), alongside: vec![alert] })
    });
    let ticket = ticket.unwrap();
    assert!(bench.store.notification(id).await.unwrap().is_none());
    assert_eq!(ticket.durable.await, Ok(()));
    assert!(bench.store.notification(id).await.unwrap().is_some());
    assert_eq!(bench.indexed().await, bench.expected().await);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_ticket_does_not_end_the_tries() {
    let bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"], None)).await;
    bench.engine.fill(2);
    drop(settled(&bench, &item.cell, 0, true));
    drop(item);
    bench.quiet().await;
    assert!(bench.indexed().await.is_empty());
    assert_eq!(bench.store.stagnation(), None);
}

#[tokio::test]
async fn a_change_is_stored_although_the_ticket_of_the_one_before_is_held_and_never_looked_at() {
    let bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"; 3], None)).await;
    let first = settled(&bench, &item.cell, 0, true);
    let second = settled(&bench, &item.cell, 1, true);
    assert_eq!(second.durable.await, Ok(()));
    let third = settled(&bench, &item.cell, 2, true);
    assert_eq!(first.durable.await, Ok(()), "its flight was over long ago");
    assert_eq!(third.durable.await, Ok(()));
    assert_eq!(bench.indexed().await, bench.expected().await);
}

#[tokio::test]
async fn changes_made_during_a_commit_are_written_together() {
    let bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"; 16], None)).await;
    let commits = || bench.engine.commits.lock().unwrap().len();
    let before = commits();
    bench.engine.shut();
    let tickets: Vec<_> = (0..16).map(|index| settled(&bench, &item.cell, index, true)).collect();
    bench.engine.open().await;
    for ticket in tickets {
        ticket.durable.await.unwrap();
    }
    assert_eq!(commits() - before, 2, "the first one alone, and fifteen together");
    assert!(bench.indexed().await.is_empty());
}

#[tokio::test]
async fn those_who_wait_behind_a_commit_that_failed_for_good_are_told() {
    let bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"; 2], None)).await;
    bench.engine.shut();
    let (first, second) = (settled(&bench, &item.cell, 0, true), settled(&bench, &item.cell, 1, true));
    let broken = CommitError::Fatal("the disk is gone".to_owned());
    bench.engine.fail(&broken);
    assert_eq!(first.durable.await, Err(broken.clone()));
    assert_eq!(second.durable.await, Err(broken));
}
