//! What goes when its time is over, and what stays.

use std::time::Duration;

use fanfare_model::clock::Clock as _;
use fanfare_model::id::NotificationId;
use fanfare_model::state::NotificationStatus;
use fanfare_model::time::Timestamp;

use super::{Bench, outcome};
use crate::engine::{Direction, Engine as _};
use crate::{Changed, DeadLetterFilter, ListFilter, Retention, Swept};

const DAY: Duration = Duration::from_secs(86_400);

const USUAL: Retention =
    Retention { bodies: Duration::from_secs(7 * 86_400), history: Duration::from_secs(30 * 86_400) };

impl Bench {
    /// A notification of which each delivery ended as it says.
    async fn ended(&self, channels: &[&str], good: bool) -> NotificationId {
        let item = self.accept(self.new_notification(channels, Some("ann"))).await;
        for index in 0..channels.len() {
            self.settle(&item.cell, u16::try_from(index).unwrap(), &outcome(good, false)).await.unwrap();
        }
        item.cell.id()
    }

    async fn has(&self, id: NotificationId) -> (bool, bool) {
        let body = self.store.notification(id).await.unwrap().is_some();
        (body, self.store.cell(id).await.unwrap().is_some())
    }

    /// Sweeps to the end, a few steps at a time.
    async fn sweep(&self) -> Swept {
        let mut all = Swept::default();
        loop {
            let swept = self.store.sweep_ended(USUAL, 3).await.unwrap();
            all.bodies += swept.bodies;
            all.histories += swept.histories;
            if !swept.more {
                return all;
            }
        }
    }

    async fn keys(&self) -> usize {
        let page = self.engine.scan(vec![0, 0]..vec![0, 1], 100_000, Direction::Forward).await.unwrap();
        // Sums over the store's whole life stay.
        page.iter().filter(|(key, _)| key.get(2) != Some(&b'C')).count()
    }
}

#[tokio::test]
async fn a_body_goes_after_its_time_and_the_history_after_its_own() {
    let bench = Bench::new().await;
    let id = bench.ended(&["hook", "mail"], true).await;
    bench.clock.advance(7 * DAY - Duration::from_millis(1));
    assert_eq!(bench.sweep().await, Swept::default());
    assert_eq!(bench.has(id).await, (true, true));
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.sweep().await, Swept { bodies: 1, histories: 0, more: false });
    assert_eq!(bench.has(id).await, (false, true));
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    assert_eq!(cell.read(|state| state.status(bench.clock.now())), NotificationStatus::Done);
    drop(cell);
    bench.clock.advance(23 * DAY - Duration::from_millis(1));
    assert_eq!(bench.sweep().await, Swept::default());
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.sweep().await, Swept { bodies: 0, histories: 1, more: false });
    assert_eq!(bench.has(id).await, (false, false));
    assert_eq!(bench.keys().await, 0, "index entries and all");
    assert_eq!(bench.sweep().await, Swept::default());
}

#[tokio::test]
async fn what_waits_stays_whole_however_old_it_is() {
    let bench = Bench::new().await;
    let waits = bench.accept(bench.new_notification(&["hook", "mail"], None)).await.cell.id();
    // One of two deliveries has ended, the other is put off.
    let cell = bench.store.cell(waits).await.unwrap().unwrap();
    bench.settle(&cell, 0, &outcome(true, false)).await.unwrap();
    drop(cell);
    let before = bench.keys().await;
    bench.clock.advance(400 * DAY);
    assert_eq!(bench.sweep().await, Swept::default());
    assert_eq!(bench.has(waits).await, (true, true));
    assert_eq!(bench.keys().await, before);
    // Its time begins when it ends.
    let cell = bench.store.cell(waits).await.unwrap().unwrap();
    bench.settle(&cell, 1, &outcome(true, false)).await.unwrap();
    drop(cell);
    bench.clock.advance(6 * DAY);
    assert_eq!(bench.sweep().await, Swept::default());
    bench.clock.advance(DAY);
    assert_eq!(bench.sweep().await.bodies, 1);
}

#[tokio::test]
async fn a_dead_letter_keeps_its_body_until_its_history_goes() {
    let bench = Bench::new().await;
    let id = bench.ended(&["hook"], false).await;
    bench.clock.advance(29 * DAY);
    assert_eq!(bench.sweep().await, Swept::default());
    assert_eq!(bench.has(id).await, (true, true));
    // Sent again, it begins to wait, and then it is no dead letter any more.
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    let now = bench.clock.now();
    let ticket = cell.change(|state| state.replay(0, now, "ops").map(Changed::only)).unwrap();
    ticket.durable.await.unwrap();
    drop(cell);
    bench.clock.advance(2 * DAY);
    assert_eq!(bench.sweep().await, Swept::default());
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    bench.settle(&cell, 0, &outcome(false, false)).await.unwrap();
    drop(cell);
    bench.clock.advance(30 * DAY);
    assert_eq!(bench.sweep().await, Swept { bodies: 0, histories: 1, more: false });
    assert!(bench.store.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap().items.is_empty());
    assert_eq!(bench.keys().await, 0);
}

#[tokio::test]
async fn a_step_looks_at_no_more_than_it_may_and_the_next_goes_on() {
    let bench = Bench::new().await;
    // More than are read at once, of which some have several chunks of deliveries.
    let many: Vec<&str> = (0..40).map(|_| "hook").collect();
    for n in 0..150 {
        bench.ended(if n % 50 == 0 { &many } else { &["hook"] }, true).await;
        bench.clock.advance(Duration::from_millis(3));
    }
    bench.clock.advance(8 * DAY);
    for (step, expected) in [100, 50, 0].into_iter().enumerate() {
        let swept = bench.store.sweep_ended(USUAL, 100).await.unwrap();
        assert_eq!(swept.bodies, expected, "step {step}");
        assert_eq!(swept.more, step == 0);
    }
    bench.clock.advance(23 * DAY);
    let mut histories = 0;
    for _ in 0..160 {
        let swept = bench.store.sweep_ended(USUAL, 1).await.unwrap();
        assert!(swept.histories <= 1);
        histories += swept.histories;
    }
    assert_eq!(histories, 150);
    assert_eq!(bench.keys().await, 0);
}

#[tokio::test]
async fn what_somebody_works_on_is_left_for_the_next_round() {
    let bench = Bench::new().await;
    let id = bench.ended(&["hook"], true).await;
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    bench.clock.advance(31 * DAY);
    assert_eq!(bench.sweep().await, Swept::default());
    drop(cell);
    assert_eq!(bench.sweep().await.histories, 1);
}

#[tokio::test]
async fn the_young_stay_beside_the_old_in_every_list() {
    let bench = Bench::new().await;
    bench.ended(&["hook"], true).await;
    bench.ended(&["hook"], false).await;
    bench.clock.advance(30 * DAY);
    let young = bench.ended(&["hook"], false).await;
    assert_eq!(bench.sweep().await.histories, 2);
    let listed = bench.store.list(&ListFilter::default(), None, 10).await.unwrap().items;
    assert_eq!(listed.iter().map(|state| state.id).collect::<Vec<_>>(), [young]);
    let of_ann = ListFilter { user: Some("ann".parse().unwrap()), ..ListFilter::default() };
    assert_eq!(bench.store.list(&of_ann, None, 10).await.unwrap().items.len(), 1);
    assert_eq!(bench.indexed().await, bench.expected().await);
    assert!(bench.clock.now() > Timestamp::from_ms(0));
}
