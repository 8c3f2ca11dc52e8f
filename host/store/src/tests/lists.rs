//! Lists, filters and cursors.

use std::collections::BTreeSet;
use std::time::Duration;

use fanfare_model::clock::Clock;
use fanfare_model::name::ChannelName;
use fanfare_model::state::NotificationStatus;
use fanfare_model::time::Timestamp;

use super::{Bench, outcome};
use crate::{Cursor, DeadLetterFilter, EXAMINED_MAX, ListFilter};

#[tokio::test]
async fn a_cursor_walks_every_item_once_while_new_ones_arrive() {
    let bench = Bench::new().await;
    let mut expected = BTreeSet::new();
    for _ in 0..23 {
        bench.clock.advance(Duration::from_millis(1));
        expected.insert(bench.accept(bench.new_notification(&["hook"; 20], Some("ann"))).await.cell.id());
    }
    let user = Some("ann".parse().unwrap());
    for filter in [ListFilter::default(), ListFilter { user, ..ListFilter::default() }] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = bench.store.list(&filter, cursor.as_ref(), 5).await.unwrap();
            seen.extend(page.items.iter().map(|state| state.id));
            bench.clock.advance(Duration::from_millis(1));
            bench.accept(bench.new_notification(&["hook"], Some("bob"))).await;
            match page.next {
                Some(next) => cursor = Some(next.to_string().parse().unwrap()),
                None => break,
            }
        }
        let seen: Vec<_> = seen.into_iter().filter(|id| expected.contains(id)).collect();
        assert_eq!(seen.len(), expected.len(), "none twice");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected, "none missed");
    }
}

#[tokio::test]
async fn filters_find_what_they_name() {
    let bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook", "mail"], None)).await;
    let now = bench.clock.now();
    bench.settle(&item.cell, 1, &outcome(false, false)).await.unwrap();
    let count = async |filter: DeadLetterFilter| {
        bench.store.dead_letters(&filter, None, 10).await.unwrap().items.len()
    };
    let channel = |name: &str| Some(name.parse::<ChannelName>().unwrap());
    assert_eq!(count(DeadLetterFilter { channel: channel("mail"), ..Default::default() }).await, 1);
    assert_eq!(count(DeadLetterFilter { channel: channel("hook"), ..Default::default() }).await, 0);
    let code = Some("host.internal".to_owned());
    assert_eq!(count(DeadLetterFilter { code, ..Default::default() }).await, 1);
    let since = Some(Timestamp::from_ms(now.as_ms() + 1));
    assert_eq!(count(DeadLetterFilter { since, ..Default::default() }).await, 0);
    let counters = bench.store.counters().await.unwrap();
    let one = |name: &str| (name.to_owned(), 1);
    assert_eq!(counters, [one("accepted"), one("dead-letters/mail"), one("dead/mail")]);
}

#[tokio::test]
async fn notifications_are_found_by_status_channel_type_and_time() {
    let bench = Bench::new().await;
    let old = bench.accept(bench.new_notification(&["hook"], None)).await;
    bench.settle(&old.cell, 0, &outcome(true, false)).await.unwrap();
    bench.clock.advance(Duration::from_secs(1));
    let since = bench.clock.now();
    let new = bench.accept(bench.new_notification(&["mail"], None)).await;
    let found = async |filter: ListFilter| {
        let listed = bench.store.list(&filter, None, 10).await.unwrap();
        listed.items.iter().map(|state| state.id).collect::<Vec<_>>()
    };
    let (old, new) = (old.cell.id(), new.cell.id());
    assert_eq!(found(ListFilter::default()).await, [new, old], "newest first");
    let status = Some(NotificationStatus::Done);
    assert_eq!(found(ListFilter { status, ..ListFilter::default() }).await, [old]);
    let channel = Some("mail".parse().unwrap());
    assert_eq!(found(ListFilter { channel, ..ListFilter::default() }).await, [new]);
    assert_eq!(found(ListFilter { since: Some(since), ..ListFilter::default() }).await, [new]);
    let event_type = Some("other".parse().unwrap());
    assert_eq!(found(ListFilter { event_type, ..ListFilter::default() }).await, []);
}

#[tokio::test]
async fn a_rare_match_is_found_over_several_bounded_pages() {
    let bench = Bench::new().await;
    let rare = bench.accept(bench.new_notification(&["mail"], None)).await.cell.id();
    let mut batch = Vec::new();
    for _ in 0..EXAMINED_MAX / 20 + 10 {
        // 321 deliveries are 21 records.
        batch.push(bench.new_notification(&["hook"; 321], None));
        if batch.len() == 20 {
            bench.store.accept(std::mem::take(&mut batch), None).await.unwrap();
        }
    }
    bench.store.accept(batch, None).await.unwrap();
    let filter = ListFilter { channel: Some("mail".parse().unwrap()), ..ListFilter::default() };
    let (mut calls, mut found, mut cursor): (_, _, Option<Cursor>) = (0, Vec::new(), None);
    loop {
        let page = bench.store.list(&filter, cursor.as_ref(), 5).await.unwrap();
        calls += 1;
        found.extend(page.items.iter().map(|state| state.id));
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!((found, calls), (vec![rare], 2), "the first page is empty, and says where to go on");
}

#[tokio::test]
async fn dead_letters_are_walked_once_each_while_some_are_replayed_and_others_die() {
    let bench = Bench::new().await;
    let item = bench.accept(bench.new_notification(&["hook"; 30], None)).await;
    for index in 0..25 {
        bench.clock.advance(Duration::from_millis(u64::from(index % 2)));
        bench.settle(&item.cell, index, &outcome(false, false)).await.unwrap();
    }
    let (mut seen, mut cursor, mut dies) = (Vec::new(), None, 25);
    loop {
        let page = bench.store.dead_letters(&DeadLetterFilter::default(), cursor.as_ref(), 6).await.unwrap();
        seen.extend(page.items.iter().map(|letter| letter.id.index));
        let now = bench.clock.now();
        for letter in &page.items {
            let replay = |state: &mut fanfare_model::state::NotificationState| {
                state.replay(letter.id.index, now, "ops").map(crate::Changed::only)
            };
            item.cell.change(replay).unwrap().durable.await.unwrap();
        }
        bench.clock.advance(Duration::from_millis(1));
        bench.settle(&item.cell, dies, &outcome(false, false)).await.unwrap();
        dies += 1;
        match page.next {
            Some(next) => cursor = Some(next.to_string().parse().unwrap()),
            None => break,
        }
    }
    assert_eq!(seen, (0..25).rev().collect::<Vec<_>>(), "latest death first");
}

#[tokio::test]
async fn a_cursor_of_notifications_goes_on_in_the_list_of_a_user() {
    let bench = Bench::new().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.insert(0, bench.accept(bench.new_notification(&["hook"], Some("ann"))).await.cell.id());
    }
    let page = bench.store.list(&ListFilter::default(), None, 2).await.unwrap();
    let filter = ListFilter { user: Some("ann".parse().unwrap()), ..ListFilter::default() };
    let rest = bench.store.list(&filter, page.next.as_ref(), 10).await.unwrap();
    assert_eq!(rest.items.iter().map(|state| state.id).collect::<Vec<_>>(), ids[2..]);
    assert!(rest.next.is_none());
    assert!(bench.store.dead_letters(&DeadLetterFilter::default(), page.next.as_ref(), 1).await.is_err());
}
