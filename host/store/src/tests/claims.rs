//! Claims: idempotency keys and dedup keys.

use std::time::Duration;

use fanfare_model::digest::Digest;

use super::Bench;
use crate::engine::CommitError;
use crate::{
    AcceptError, Acceptance, AcceptedItem, DedupClaim, IdempotencyClaim, ListFilter, NewNotification,
};

fn claim(key: &str, body: &str) -> IdempotencyClaim {
    IdempotencyClaim {
        key: Digest::of(key.as_bytes()),
        body: Digest::of(body.as_bytes()),
        keep: Duration::from_secs(60),
        answer: Box::new(|states| states.iter().map(|state| state.id.to_string()).collect::<String>().into()),
    }
}

#[tokio::test]
async fn the_same_key_and_body_give_the_first_answer_again_also_after_a_restart() {
    let mut bench = Bench::new().await;
    let new = || bench.new_notification(&["hook"], None);
    let (first, second, third) = (new(), new(), new());
    let Acceptance::Fresh { answer: Some(answer), .. } =
        bench.store.accept(vec![first], Some(claim("k", "b"))).await.unwrap()
    else {
        panic!("it is new")
    };
    bench.reopen().await;
    let again = bench.store.accept(vec![second], Some(claim("k", "b"))).await.unwrap();
    assert!(matches!(again, Acceptance::Replayed { answer: replayed } if replayed == answer));
    let other = bench.store.accept(vec![third.clone()], Some(claim("k", "other"))).await.unwrap_err();
    assert_eq!(other, AcceptError::IdempotencyMismatch);
    assert_eq!(bench.store.list(&ListFilter::default(), None, 10).await.unwrap().items.len(), 1);
    bench.clock.advance(Duration::from_secs(61));
    let late = bench.store.accept(vec![third], Some(claim("k", "other"))).await.unwrap();
    assert!(matches!(late, Acceptance::Fresh { .. }), "its window is over");
}

fn long_claim(key: &str, length: usize) -> IdempotencyClaim {
    IdempotencyClaim { answer: Box::new(move |_| long_answer(length)), ..claim(key, "b") }
}

fn long_answer(length: usize) -> Vec<u8> {
    (0u32..).flat_map(u32::to_be_bytes).take(length).collect()
}

#[tokio::test]
async fn an_answer_longer_than_a_value_of_the_engine_is_kept_and_given_again() {
    let mut bench = Bench::new().await;
    let part = crate::claims::PART_BYTES;
    for length in [part - 1, part, part + 1, 2 * part, (1 << 20) + 1, 9 << 20] {
        let key = length.to_string();
        let new = bench.new_notification(&["hook"], None);
        let first = bench.store.accept(vec![new.clone()], Some(long_claim(&key, length))).await.unwrap();
        assert!(matches!(first, Acceptance::Fresh { answer: Some(a), .. } if a == long_answer(length)));
        bench.reopen().await;
        let kept = bench.store.kept_answer(&long_claim(&key, 0)).await.unwrap();
        assert!(kept.unwrap() == long_answer(length), "{length} bytes");
        let again = bench.store.accept(vec![new], Some(long_claim(&key, 0))).await.unwrap();
        assert!(matches!(again, Acceptance::Replayed { answer } if answer == long_answer(length)));
    }
    for (key, record) in bench.records().await {
        assert_eq!(crate::kinds::verify(&key, &record.value), Ok(()), "the tools can read it");
    }
    bench.clock.advance(Duration::from_secs(61));
    let (mut swept, mut round) = (0, usize::MAX);
    while round > 0 {
        round = bench.store.sweep_claims(70).await.unwrap();
        swept += round;
    }
    assert_eq!(swept, 6 + (1 + 1 + 1 + 8 + 71), "the claims and all their parts");
}

#[tokio::test]
async fn a_long_answer_behind_which_parts_of_an_earlier_one_lie_is_given_as_it_is() {
    let bench = Bench::new().await;
    let part = crate::claims::PART_BYTES;
    let new = || bench.new_notification(&["hook"], None);
    for length in [4 * part, 2 * part + 7, part] {
        bench.store.accept(vec![new()], Some(long_claim("k", length))).await.unwrap();
        let kept = bench.store.kept_answer(&long_claim("k", 0)).await.unwrap();
        assert!(kept.unwrap() == long_answer(length), "{length} bytes");
        bench.clock.advance(Duration::from_secs(61));
    }
}

#[tokio::test]
async fn a_repetition_inside_the_window_is_suppressed_and_names_the_first() {
    let bench = Bench::new().await;
    let with_claim = || {
        let dedup = Some(DedupClaim { key: Digest::of(b"d"), window: Duration::from_secs(10) });
        NewNotification { dedup, ..bench.new_notification(&["hook"], None) }
    };
    let batch = vec![with_claim(), with_claim()];
    let Acceptance::Fresh { items, .. } = bench.store.accept(batch, None).await.unwrap() else {
        panic!("there was no claim")
    };
    let first = items[0].cell.id();
    let duplicate = |item: &AcceptedItem| item.cell.read(|state| state.suppressed.clone()?.duplicate_of);
    assert_eq!(duplicate(&items[0]), None);
    assert_eq!(duplicate(&items[1]), Some(first), "inside one batch too");
    let later = bench.accept(with_claim()).await;
    assert_eq!(duplicate(&later), Some(first));
    assert!(later.cell.due_entries().is_empty());
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(duplicate(&bench.accept(with_claim()).await), None, "the window is over");
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(bench.store.sweep_claims(100).await.unwrap(), 1);
}

fn with_dedup(bench: &Bench, key: &[u8]) -> NewNotification {
    let dedup = Some(DedupClaim { key: Digest::of(key), window: Duration::from_secs(10) });
    NewNotification { dedup, ..bench.new_notification(&["hook"], None) }
}

fn duplicate_of(acceptance: &Acceptance) -> Option<fanfare_model::id::NotificationId> {
    match acceptance {
        Acceptance::Fresh { items, .. } => items[0].cell.read(|state| state.suppressed.clone()?.duplicate_of),
        Acceptance::Replayed { .. } => panic!("there was no idempotency claim"),
    }
}

#[tokio::test]
async fn the_second_of_two_requests_with_one_key_is_told_that_the_first_is_under_way() {
    let bench = Bench::new().await;
    let (first, second, third) = (
        bench.new_notification(&["hook"], None),
        bench.new_notification(&["hook"], None),
        bench.new_notification(&["hook"], None),
    );
    bench.engine.shut();
    let store = bench.store.clone();
    let under_way = tokio::spawn(async move { store.accept(vec![first], Some(claim("k", "b"))).await });
    while bench.engine.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let refused = bench.store.accept(vec![second], Some(claim("k", "b"))).await.unwrap_err();
    assert_eq!(refused, AcceptError::IdempotencyInFlight);
    bench.engine.open().await;
    assert!(matches!(under_way.await.unwrap().unwrap(), Acceptance::Fresh { .. }));
    let again = bench.store.accept(vec![third], Some(claim("k", "b"))).await.unwrap();
    assert!(matches!(again, Acceptance::Replayed { .. }), "the key is let go once the commit is over");
}

#[tokio::test]
async fn a_request_whose_client_went_away_holds_its_key_until_it_is_stored() {
    let bench = Bench::new().await;
    let (first, second, third) = (
        bench.new_notification(&["hook"], None),
        bench.new_notification(&["hook"], None),
        bench.new_notification(&["hook"], None),
    );
    bench.engine.shut();
    let store = bench.store.clone();
    let client = tokio::spawn(async move { store.accept(vec![first], Some(claim("k", "b"))).await });
    while bench.engine.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    let refused = bench.store.accept(vec![second], Some(claim("k", "b"))).await.unwrap_err();
    assert_eq!(refused, AcceptError::IdempotencyInFlight);
    bench.engine.open().await;
    let again = loop {
        match bench.store.accept(vec![third.clone()], Some(claim("k", "b"))).await {
            Err(AcceptError::IdempotencyInFlight) => tokio::task::yield_now().await,
            other => break other.unwrap(),
        }
    };
    assert!(matches!(again, Acceptance::Replayed { .. }));
    assert_eq!(bench.store.list(&ListFilter::default(), None, 10).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_failed_request_lets_go_of_its_key_and_leaves_nothing_behind() {
    let bench = Bench::new().await;
    let (first, second) = (bench.new_notification(&["hook"], None), bench.new_notification(&["hook"], None));
    let id = first.state.id;
    bench.engine.shut();
    let store = bench.store.clone();
    let under_way = tokio::spawn(async move { store.accept(vec![first], Some(claim("k", "b"))).await });
    while bench.engine.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let full = CommitError::Full("no room".to_owned());
    bench.engine.fail(&full);
    assert_eq!(under_way.await.unwrap().unwrap_err(), AcceptError::Commit(full));
    assert!(bench.store.cell(id).await.unwrap().is_none());
    let later = bench.store.accept(vec![second], Some(claim("k", "b"))).await.unwrap();
    assert!(matches!(later, Acceptance::Fresh { .. }), "intake goes on when there is room again");
}

#[tokio::test]
async fn of_two_racing_repetitions_one_is_first_and_the_other_names_it() {
    let bench = Bench::new().await;
    bench.engine.shut();
    let (one, two) = (with_dedup(&bench, b"d"), with_dedup(&bench, b"d"));
    let (store, other) = (bench.store.clone(), bench.store.clone());
    let first = tokio::spawn(async move { store.accept(vec![one], None).await.unwrap() });
    let second = tokio::spawn(async move { other.accept(vec![two], None).await.unwrap() });
    while bench.engine.waiting() < 2 {
        tokio::task::yield_now().await;
    }
    bench.engine.open().await;
    let found = (duplicate_of(&first.await.unwrap()), duplicate_of(&second.await.unwrap()));
    assert!(matches!(found, (None, Some(_)) | (Some(_), None)), "{found:?}");
    assert_eq!(bench.indexed().await, bench.expected().await);
}

#[tokio::test]
async fn repetitions_do_not_prolong_the_window_of_the_first() {
    let bench = Bench::new().await;
    let accept = async || bench.store.accept(vec![with_dedup(&bench, b"d")], None).await.unwrap();
    assert_eq!(duplicate_of(&accept().await), None);
    bench.clock.advance(Duration::from_secs(6));
    assert!(duplicate_of(&accept().await).is_some());
    bench.clock.advance(Duration::from_secs(6));
    assert_eq!(duplicate_of(&accept().await), None);
}

#[tokio::test]
async fn a_replayed_batch_stores_nothing_and_claims_no_dedup_key() {
    let bench = Bench::new().await;
    let first = bench.new_notification(&["hook"], None);
    bench.store.accept(vec![first], Some(claim("k", "b"))).await.unwrap();
    let again = with_dedup(&bench, b"d");
    let replayed = bench.store.accept(vec![again], Some(claim("k", "b"))).await.unwrap();
    assert!(matches!(replayed, Acceptance::Replayed { .. }));
    let fresh = bench.store.accept(vec![with_dedup(&bench, b"d")], None).await.unwrap();
    assert_eq!(duplicate_of(&fresh), None);
}

#[tokio::test]
async fn a_sweep_goes_on_where_it_stopped_and_spares_what_still_counts() {
    let bench = Bench::new().await;
    for n in 0u8..20 {
        bench.accept(with_dedup(&bench, &[n])).await;
    }
    bench.clock.advance(Duration::from_secs(5));
    bench.accept(with_dedup(&bench, b"young")).await;
    let claimed = bench.new_notification(&["hook"], None);
    bench.store.accept(vec![claimed], Some(claim("k", "b"))).await.unwrap();
    bench.clock.advance(Duration::from_secs(5));
    let mut swept = Vec::new();
    for _ in 0..6 {
        swept.push(bench.store.sweep_claims(4).await.unwrap());
    }
    assert_eq!(swept.iter().sum::<usize>(), 20);
    assert!(swept.iter().all(|count| *count <= 4), "{swept:?}");
    let young = bench.store.accept(vec![with_dedup(&bench, b"young")], None).await.unwrap();
    assert!(duplicate_of(&young).is_some());
}
