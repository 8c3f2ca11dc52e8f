//! Cells: one copy in memory, changes in order, nothing lost between memory and disk.

use std::time::Duration;

use fanfare_model::clock::Clock;
use fanfare_model::delivery::HISTORY_MAX;
use fanfare_model::fault::{Fault, MESSAGE_BYTES_MAX, code};
use fanfare_model::id::DeliveryId;
use fanfare_model::outcome::Outcome;
use fanfare_model::state::Misfit;
use fanfare_model::time::Timestamp;

use super::{Bench, outcome, settle};
use crate::engine::CommitError;
use crate::{AcceptError, ChangeError, Changed};

#[tokio::test]
async fn an_alert_is_accepted_with_the_change_that_causes_it() {
    let bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"], None)).await;
    let alert = bench.new_notification(&["ops"], None);
    let now = bench.clock.now();
    let ticket = item
        .cell
        .change(|state| {
            settle(state, 0, &outcome(false, false), now)?;
            Ok::<_, Misfit>(Changed { value: (), alongside: vec![alert] })
        })
        .unwrap();
    let id: DeliveryId = ticket.alongside[0].cell.due_entries()[0].delivery;
    ticket.durable.await.unwrap();
    assert!(bench.store.notification(id.notification).await.unwrap().is_some());
    assert_eq!(bench.indexed().await, bench.expected().await);
}

#[tokio::test]
async fn ids_continue_after_the_newest_one_when_the_clock_went_back() {
    let mut bench = Bench::new().await;
    let newest = bench.accept(bench.new_notification(&["hook"], None)).await.cell.id();
    bench.clock.step_wall(Timestamp::from_ms(5));
    bench.reopen().await;
    assert!(bench.store.next_id() > newest);
}
#[tokio::test]
async fn two_readers_of_a_closed_notification_get_the_same_cell() {
    let bench = Bench::new().await;
    let id = bench.accept(bench.new_notification(&["hook"; 20], None)).await.cell.id();
    let (one, two) = tokio::join!(bench.store.cell(id), bench.store.cell(id));
    let (one, two) = (one.unwrap().unwrap(), two.unwrap().unwrap());
    bench.settle(&one, 17, &outcome(true, false)).await.unwrap();
    assert_eq!(bench.settle(&two, 17, &outcome(true, false)).await, Err(Misfit::NotWaiting));
}

#[tokio::test]
async fn a_change_whose_ticket_was_dropped_is_still_seen_by_the_next_reader() {
    let bench = Bench::new().await;
    let id = bench.accept(bench.new_notification(&["hook"], None)).await.cell.id();
    bench.engine.shut();
    let now = bench.clock.now();
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    drop(cell.change(|state| settle(state, 0, &outcome(true, false), now).map(Changed::only)).unwrap());
    drop(cell);
    // The disk still holds the delivery as waiting.
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    assert!(cell.due_entries().is_empty(), "memory is ahead of the disk, and counts");
    bench.engine.open().await;
    assert_eq!(bench.indexed().await, bench.expected().await);
}

#[tokio::test]
async fn a_refused_change_writes_nothing() {
    let bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"], None)).await;
    let commits = bench.engine.commits.lock().unwrap().len();
    let refused = item.cell.change(|state| state.replay(0, Timestamp::EPOCH, "ops").map(Changed::only));
    assert_eq!(refused.unwrap_err(), ChangeError::Refused(Misfit::NotDead));
    assert_eq!(bench.engine.commits.lock().unwrap().len(), commits);
}

#[tokio::test]
async fn only_the_chunk_that_changed_is_written() {
    let mut bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"; 40], None)).await;
    let id = item.cell.id();
    assert_eq!(bench.engine.last_keys(b'S').len(), 3);
    for (index, chunk) in [(39, 2), (16, 1), (15, 0)] {
        bench.settle(&item.cell, index, &outcome(false, true)).await.unwrap();
        assert_eq!(bench.engine.last_keys(b'S'), [crate::keys::state(id, chunk)]);
    }
    drop(item);
    bench.reopen().await;
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    let attempts = |index: usize| cell.read(|state| state.deliveries[index].attempts_total);
    assert_eq!([39, 16, 15, 14, 0].map(attempts), [1, 1, 1, 0, 0]);
    assert_eq!(bench.indexed().await, bench.expected().await);
}

#[tokio::test]
async fn after_a_failed_change_nothing_more_is_taken_until_a_restart() {
    let mut bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"], None)).await;
    let other = bench.accept(bench.new_notification(&["hook"], None)).await;
    let now = bench.clock.now();
    bench.engine.shut();
    let ticket =
        item.cell.change(|state| settle(state, 0, &outcome(true, false), now).map(Changed::only)).unwrap();
    let broken = CommitError::Fatal("the disk is gone".to_owned());
    bench.engine.fail(&broken);
    assert_eq!(ticket.durable.await, Err(broken.clone()));
    let later = other.cell.change(|state| settle(state, 0, &outcome(true, false), now).map(Changed::only));
    assert_eq!(later.unwrap_err(), ChangeError::Store(broken.clone()));
    let intake = bench.store.accept(vec![bench.new_notification(&["hook"], None)], None).await;
    assert_eq!(intake.unwrap_err(), AcceptError::Commit(broken.clone()));
    assert_eq!(bench.store.refusal(), Some(broken));
    drop((item, other));
    bench.reopen().await;
    assert_eq!(bench.store.refusal(), None);
    assert_eq!(bench.indexed().await.len(), 2, "what was not stored is due again");
}

#[tokio::test]
async fn a_change_of_nothing_is_durable_after_those_before_it() {
    let bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"], None)).await;
    let now = bench.clock.now();
    let cancel = || {
        item.cell.change(|state| {
            state.cancel(now, |_| false);
            Ok::<_, Misfit>(Changed::only(()))
        })
    };
    cancel().unwrap().durable.await.unwrap();
    cancel().unwrap().durable.await.unwrap();
    assert_eq!(bench.indexed().await, bench.expected().await);
}

#[tokio::test]
async fn the_longest_history_still_fits_into_the_engine() {
    let mut bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"; 16], None)).await;
    let id = item.cell.id();
    let fault = Fault::new(code::HOST_INTERNAL, "x".repeat(MESSAGE_BYTES_MAX));
    for round in 0..HISTORY_MAX {
        bench.clock.advance(Duration::from_secs(1));
        let now = bench.clock.now();
        let ticket = item.cell.change(|state| {
            for index in 0..16 {
                if round > 0 {
                    state.replay(index, now, "ops")?;
                }
                settle(state, index, &Outcome::Permanent(fault.clone()), now)?;
            }
            Ok::<_, Misfit>(Changed::only(()))
        });
        ticket.unwrap().durable.await.unwrap();
    }
    drop(item);
    bench.reopen().await;
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    let kept = cell.read(|state| (state.deliveries[0].attempts_total, state.deliveries[0].attempts.len()));
    assert_eq!(kept, (64, 4), "old attempts make room, the count stays");
    let numbers: Vec<_> =
        cell.read(|state| state.deliveries[0].attempts.iter().map(|attempt| attempt.number).collect());
    assert_eq!(numbers, [61, 62, 63, 64]);
}
