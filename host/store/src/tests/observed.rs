//! What the store tells: every commit, the dead letters that there are, and how old a queue is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_model::clock::Clock;

use super::{Bench, outcome};
use crate::engine::{Change, Class, Engine as _, Transaction};
use crate::{Changed, CommitEnd, Observer};

#[derive(Debug, Default)]
struct Notes(Mutex<Vec<(Class, Duration, CommitEnd)>>);

impl Observer for Notes {
    fn commit(&self, class: Class, took: Duration, end: CommitEnd) {
        self.0.lock().unwrap().push((class, took, end));
    }
}

#[tokio::test(start_paused = true)]
async fn every_commit_is_told_with_its_end_and_how_long_it_took() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    bench.store.observe(notes.clone());
    let item = bench.accept(bench.new_notification(&["hook"; 2], None)).await;
    bench.engine.fill(1);
    bench.settle(&item.cell, 0, &outcome(true, false)).await.unwrap();
    bench.engine.shut();
    let now = bench.clock.now();
    let good = outcome(true, false);
    let ticket = item.cell.change(|state| super::settle(state, 1, &good, now).map(Changed::only)).unwrap();
    bench.clock.advance(Duration::from_millis(7));
    bench.engine.open().await;
    ticket.durable.await.unwrap();
    let no_time = Duration::ZERO;
    let expected = [
        (Class::Intake, no_time, CommitEnd::Durable),
        (Class::Settle, no_time, CommitEnd::Full),
        (Class::Settle, no_time, CommitEnd::Durable),
        (Class::Settle, Duration::from_millis(7), CommitEnd::Durable),
    ];
    assert_eq!(*notes.0.lock().unwrap(), expected);
}

async fn letters(bench: &Bench) -> Vec<(String, i64)> {
    bench.store.figures(&[]).await.unwrap().dead_letters
}

#[tokio::test]
async fn dead_letters_are_counted_as_they_come_and_go() {
    let mut bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook", "mail", "hook"], None)).await;
    for index in 0..3 {
        bench.settle(&item.cell, index, &outcome(false, false)).await.unwrap();
    }
    let of = |hook, mail| vec![("hook".to_owned(), hook), ("mail".to_owned(), mail)];
    assert_eq!(letters(&bench).await, of(2, 1));
    let now = bench.clock.now();
    let replay = item.cell.change(|state| state.replay(0, now, "ops").map(Changed::only)).unwrap();
    replay.durable.await.unwrap();
    let discard = item.cell.change(|state| state.discard(1, now, "ops").map(Changed::only)).unwrap();
    discard.durable.await.unwrap();
    assert_eq!(letters(&bench).await, of(1, 0));
    drop(item);
    bench.reopen().await;
    assert_eq!(letters(&bench).await, of(1, 0), "opening counts nothing twice");
}

#[tokio::test]
async fn a_store_from_before_the_count_is_counted_when_it_is_opened() {
    let mut bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"; 5], None)).await;
    for index in 0..5 {
        bench.settle(&item.cell, index, &outcome(false, false)).await.unwrap();
    }
    let key = crate::keys::counter(fanfare_model::id::Shard::EMBEDDED, "dead-letters/hook");
    let transaction = Transaction { preconditions: Vec::new(), changes: vec![Change::Delete(key)] };
    bench.engine.commit(Class::Settle, vec![transaction]).await.pop().unwrap().unwrap();
    assert!(letters(&bench).await.is_empty());
    bench.reopen().await;
    assert_eq!(letters(&bench).await, [("hook".to_owned(), 5)]);
}

#[tokio::test]
async fn a_queue_is_as_old_as_what_has_been_due_in_it_for_longest() {
    let bench = Bench::new().await;
    let lanes = ["hook".parse().unwrap(), "mail".parse().unwrap()];
    let item = bench.accept(bench.new_notification(&["hook"; 2], None)).await;
    bench.clock.advance(Duration::from_secs(30));
    bench.accept(bench.new_notification(&["hook"], None)).await;
    let ages = || async {
        bench
            .store
            .figures(&lanes)
            .await
            .unwrap()
            .queue_ages
            .into_iter()
            .map(|(_, age)| age.as_secs())
            .collect::<Vec<_>>()
    };
    assert_eq!(ages().await, [30, 0]);
    for index in 0..2 {
        bench.settle(&item.cell, index, &outcome(true, false)).await.unwrap();
    }
    bench.clock.advance(Duration::from_secs(5));
    assert_eq!(ages().await, [5, 0]);
}
