//! Dispatch over a store whose disk is full for a while; with a real channel.

use std::future::ready;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_model::notification::Target;
use fanfare_model::state::{NotificationState, Planned};
use fanfare_store::engine::{
    Ceilings, Class, CommitError, Direction, Engine, Key, Page, Pending, ReadError, Record, Transaction,
    Version,
};
use fanfare_store::memory::MemoryEngine;
use fanfare_store::{Acceptance, AcceptedItem, NewNotification};

use super::*;
use crate::testing::Bench;

/// A store in memory that has no room for settles while it is full.
#[derive(Debug, Default)]
struct Narrow {
    below: MemoryEngine,
    full: AtomicBool,
}

impl Engine for Narrow {
    fn get(&self, key: Key) -> Pending<Result<Option<Record>, ReadError>> {
        self.below.get(key)
    }

    fn get_many(&self, keys: Vec<Key>) -> Pending<Result<Vec<Option<Record>>, ReadError>> {
        self.below.get_many(keys)
    }

    fn scan(&self, range: Range<Key>, limit: usize, way: Direction) -> Pending<Result<Page, ReadError>> {
        self.below.scan(range, limit, way)
    }

    fn commit(
        &self,
        class: Class,
        transactions: Vec<Transaction>,
    ) -> Pending<Vec<Result<Version, CommitError>>> {
        if class == Class::Settle && self.full.load(Ordering::SeqCst) {
            let full = CommitError::Full("no room".to_owned());
            return Box::pin(ready(transactions.iter().map(|_| Err(full.clone())).collect()));
        }
        self.below.commit(class, transactions)
    }

    fn ceilings(&self) -> Ceilings {
        self.below.ceilings()
    }

    fn refusal(&self) -> Option<CommitError> {
        self.below.refusal()
    }

    fn close(&self) -> Pending<Result<(), CommitError>> {
        self.below.close()
    }
}

async fn accept(store: &Store) -> AcceptedItem {
    let now = store.clock().now();
    let channel: ChannelName = "log".parse().unwrap();
    let notification = Notification {
        to: vec![Target::Channel { channel: channel.clone(), address: None }],
        ..Notification::new(store.next_id(), "a.b".parse().unwrap(), now)
    };
    let mut state = NotificationState::accepted(&notification);
    let reason = "named in to".to_owned();
    let planned = Planned { channel, user: None, address: None, due_at: now, fallback_order: 0, reason };
    state.plan(vec![planned], now).unwrap();
    let new = NewNotification { notification: Arc::new(notification), state, dedup: None };
    match store.accept(vec![new], None).await.unwrap() {
        Acceptance::Fresh { mut items, .. } => items.remove(0),
        Acceptance::Replayed { .. } => panic!("there was no claim"),
    }
}

#[tokio::test]
async fn what_is_under_way_when_the_disk_fills_settles_once_there_is_room_and_nothing_else_begins() {
    let engine = Arc::new(Narrow::default());
    let bench =
        Bench::start_over(Arc::<Narrow>::clone(&engine), "[channels.log]\nplugin = \"console\"\n").await;
    let (store, dispatch) = (&bench.store, &bench.dispatch);

    engine.full.store(true, Ordering::SeqCst);
    let first = accept(store).await;
    dispatch.offer(&first.cell, Some(&first.notification));
    while store.stagnation().is_none() {
        tokio::task::yield_now().await;
    }
    let attempts = |item: &AcceptedItem| item.cell.read(|state| state.deliveries[0].attempts_total);
    assert_eq!(attempts(&first), 1, "it was sent, and its outcome waits in memory");
    let second = accept(store).await;
    dispatch.offer(&second.cell, Some(&second.notification));
    let mut clocks = Clocks::at(dispatch.shared.now());
    dispatch.turn(&mut clocks).await;
    assert!(!dispatch.is_sending(second.cell.due_entries()[0].delivery), "it could not be settled");

    engine.full.store(false, Ordering::SeqCst);
    for item in [&first, &second] {
        dispatch.wait_until_terminal(&item.cell, Duration::MAX).await;
        assert_eq!(attempts(item), 1);
    }
    while store.stagnation().is_some() || !store.lanes().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.refusal(), None);
    bench.stop().await;
}

#[tokio::test]
async fn a_lane_that_left_a_job_goes_on_once_a_newer_setup_serves_it() {
    let bench = Bench::start("[channels.log]\nplugin = \"console\"\n").await;
    let serving = bench.surface().plugins.setup();
    let (setup, watched) = watch::channel(Arc::clone(&serving));
    let dispatch = Dispatch::new(Options {
        store: bench.store.clone(),
        setup: watched,
        metrics: Arc::new(Metrics::new(None)),
        slots_total: 8,
    });
    dispatch.serve_setup();
    let item = accept(&bench.store).await;
    let log: ChannelName = "log".parse().unwrap();
    let pick = async || loop {
        let picked = dispatch.shared.hall().pick(dispatch.shared.now());
        if let Some(picked) = picked {
            return picked;
        }
        let wanted = dispatch.shared.hall().pages_wanted(dispatch.shared.now());
        for (lane, page) in wanted {
            dispatch.read_page(lane, page).await;
        }
    };
    dispatch.offer(&item.cell, Some(&item.notification));
    // A setup without the channel was seen, and a newer one that has it was served already: nobody will say so again.
    dispatch.leave(&pick().await, &Arc::default());
    assert!(!dispatch.is_parked(&log));
    // What serves was seen, and makes no attempt: the lane waits for the next one.
    dispatch.leave(&pick().await, &serving);
    assert!(dispatch.is_parked(&log));
    dispatch.shared.hall().tidy();
    setup.send_replace(Arc::new(Setup { channels: serving.channels.clone(), ..Setup::default() }));
    dispatch.serve_setup();
    assert_eq!(pick().await.job.entry.delivery.notification, item.cell.id());
    bench.stop().await;
}
