//! What every engine must do, as tests that run on any.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use crate::engine::{
    Change, Class, CommitError, Direction, Engine, Key, Precondition, Record, Transaction, Value, Version,
};

/// A key of shard 0.
pub(crate) fn key(name: &str) -> Key {
    [b"\0\0", name.as_bytes()].concat()
}

/// A value.
pub(crate) fn value(text: &str) -> Value {
    Value::from(text.as_bytes())
}

pub(crate) fn put(name: &str, text: &str) -> Change {
    Change::Put(key(name), value(text))
}

pub(crate) fn change(changes: Vec<Change>) -> Transaction {
    Transaction { preconditions: Vec::new(), changes }
}

pub(crate) async fn commit(engine: &dyn Engine, transaction: Transaction) -> Result<Version, CommitError> {
    engine.commit(Class::Intake, vec![transaction]).await.remove(0)
}

pub(crate) async fn text(engine: &dyn Engine, name: &str) -> Option<String> {
    let record = engine.get(key(name)).await.unwrap()?;
    Some(String::from_utf8(record.value.to_vec()).unwrap())
}

async fn version(engine: &dyn Engine, name: &str) -> Version {
    engine.get(key(name)).await.unwrap().unwrap().version
}

fn all() -> Range<Key> {
    key("")..vec![0, 1]
}

/// Runs every example on a fresh engine from `fresh`.
pub(crate) async fn examples<E: Engine>(fresh: impl Fn() -> E) {
    what_is_put_is_read_until_it_is_deleted(&fresh()).await;
    a_condition_that_fails_fails_its_transaction_alone_and_whole(&fresh()).await;
    conditions_see_what_the_same_call_wrote_before(&fresh()).await;
    a_key_put_again_is_not_unchanged(&fresh()).await;
    calls_take_effect_in_their_order_whoever_is_polled_first(&fresh()).await;
    counters_add_up_and_refuse_other_values(&fresh()).await;
    what_breaks_a_rule_is_refused_alone(&fresh()).await;
    after_closing_nothing_is_taken(&fresh()).await;
}

async fn what_is_put_is_read_until_it_is_deleted(engine: &dyn Engine) {
    assert_eq!(text(engine, "a").await, None);
    let first = commit(engine, change(vec![put("a", "1"), put("b", "2")])).await.unwrap();
    assert_eq!(text(engine, "a").await.as_deref(), Some("1"));
    assert_eq!(version(engine, "b").await, first);
    let second = commit(engine, change(vec![put("a", "3"), Change::Delete(key("b"))])).await.unwrap();
    assert!(second > first);
    let records = engine.get_many(vec![key("b"), key("a"), key("none")]).await.unwrap();
    assert_eq!(records, [None, Some(Record { value: value("3"), version: second }), None]);
}

async fn a_condition_that_fails_fails_its_transaction_alone_and_whole(engine: &dyn Engine) {
    commit(engine, change(vec![put("taken", "1")])).await.unwrap();
    let refused = Transaction {
        preconditions: vec![Precondition::Absent(key("free")), Precondition::Absent(key("taken"))],
        changes: vec![put("free", "x"), put("other", "x"), Change::Add(key("count"), 1)],
    };
    let results = engine.commit(Class::Intake, vec![refused, change(vec![put("third", "3")])]).await;
    assert!(matches!(results[..], [Err(CommitError::Conflict), Ok(_)]));
    for name in ["free", "other", "count"] {
        assert_eq!(text(engine, name).await, None);
    }
    assert_eq!(text(engine, "third").await.as_deref(), Some("3"));
}

async fn conditions_see_what_the_same_call_wrote_before(engine: &dyn Engine) {
    let claim = |by: &str| Transaction {
        preconditions: vec![Precondition::Absent(key("claim"))],
        changes: vec![put("claim", by)],
    };
    let results = engine.commit(Class::Intake, vec![claim("first"), claim("second")]).await;
    assert!(matches!(results[..], [Ok(_), Err(CommitError::Conflict)]));
    assert_eq!(text(engine, "claim").await.as_deref(), Some("first"));
    let release = change(vec![Change::Delete(key("claim"))]);
    let results = engine.commit(Class::Intake, vec![release, claim("third")]).await;
    assert!(matches!(results[..], [Ok(_), Ok(_)]));
    assert_eq!(text(engine, "claim").await.as_deref(), Some("third"));
}

async fn a_key_put_again_is_not_unchanged(engine: &dyn Engine) {
    let first = commit(engine, change(vec![put("k", "same")])).await.unwrap();
    let update = |version| Transaction {
        preconditions: vec![Precondition::Unchanged(key("k"), version)],
        changes: vec![put("k", "same")],
    };
    let second = commit(engine, update(first)).await.unwrap();
    assert_eq!(commit(engine, update(first)).await, Err(CommitError::Conflict));
    assert_eq!(version(engine, "k").await, second);
    commit(engine, change(vec![Change::Delete(key("k"))])).await.unwrap();
    assert_eq!(commit(engine, update(second)).await, Err(CommitError::Conflict));
}

async fn calls_take_effect_in_their_order_whoever_is_polled_first(engine: &dyn Engine) {
    let calls: Vec<_> =
        (0..50).map(|n| engine.commit(Class::Settle, vec![change(vec![put("k", &n.to_string())])])).collect();
    let mut versions = Vec::new();
    for call in calls.into_iter().rev() {
        versions.extend(call.await);
    }
    let versions: Vec<_> = versions.into_iter().rev().map(Result::unwrap).collect();
    assert!(versions.is_sorted_by(|a, b| a < b));
    assert_eq!(text(engine, "k").await.as_deref(), Some("49"));
}

async fn counters_add_up_and_refuse_other_values(engine: &dyn Engine) {
    let add = |n| Change::Add(key("count"), n);
    let results = engine.commit(Class::Intake, vec![change(vec![add(5)]), change(vec![add(-2)])]).await;
    assert!(results.iter().all(Result::is_ok));
    commit(engine, change(vec![add(10)])).await.unwrap();
    let record = engine.get(key("count")).await.unwrap().unwrap();
    assert_eq!(*record.value, 13_i64.to_le_bytes());
    commit(engine, change(vec![add(i64::MAX)])).await.unwrap();
    let record = engine.get(key("count")).await.unwrap().unwrap();
    assert_eq!(*record.value, i64::MAX.to_le_bytes());
    commit(engine, change(vec![put("text", "no number")])).await.unwrap();
    let mixed = change(vec![put("beside", "1"), Change::Add(key("text"), 1)]);
    assert!(matches!(commit(engine, mixed).await, Err(CommitError::Invalid(_))));
    assert_eq!(text(engine, "beside").await, None);
}

async fn what_breaks_a_rule_is_refused_alone(engine: &dyn Engine) {
    let ceilings = engine.ceilings();
    let large = Value::from(vec![0; ceilings.value_bytes_max + 1]);
    let each = |n: usize| Change::Put(key(&n.to_string()), large[1..].into());
    let together =
        (0..=ceilings.transaction_bytes_max / ceilings.value_bytes_max).map(each).collect::<Vec<_>>();
    let broken = [
        change(vec![put("a", "1"), put("a", "2")]),
        change(vec![put("a", "1"), Change::Delete(vec![0, 1, b'a'])]),
        change(vec![Change::Delete(vec![0])]),
        change(vec![Change::Delete(vec![0xff, 0xff, 0])]),
        change(vec![Change::Delete([0; 5_000].to_vec())]),
        change(vec![Change::Put(key("a"), large.clone())]),
        change(together),
    ];
    let count = broken.len();
    let call = broken.into_iter().chain([change(vec![put("good", "1")])]).collect();
    let results = engine.commit(Class::Intake, call).await;
    for result in &results[..count] {
        assert!(matches!(result, Err(CommitError::Invalid(_))), "{result:?}");
    }
    assert!(results[count].is_ok());
    let largest = change(vec![Change::Put(key("a"), large[1..].into())]);
    commit(engine, largest).await.unwrap();
    assert_eq!(engine.get(key("a")).await.unwrap().unwrap().value.len(), ceilings.value_bytes_max);
}

async fn after_closing_nothing_is_taken(engine: &dyn Engine) {
    commit(engine, change(vec![put("a", "1")])).await.unwrap();
    engine.close().await.unwrap();
    let late = commit(engine, change(vec![put("a", "2")])).await;
    assert!(matches!(late, Err(CommitError::Fatal(_))), "{late:?}");
}

/// A transaction: perhaps a condition, and what happens to which keys.
type Attempted = (Option<Guess>, Vec<(u8, Action)>);

/// A step of a random history; `Disturb` is whatever the engine's owner wants to happen in between.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Commit(Vec<Attempted>),
    Scan { from: u8, to: u8, limit: usize, direction: Direction },
    Get(u8),
    Disturb(u8),
}

/// A precondition, right or wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guess {
    Absent(u8),
    Unchanged(u8),
    Stale(u8),
}

/// What happens to a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Put(usize),
    Delete,
}

/// Random histories over few keys, so that everything meets.
pub(crate) fn histories() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0_u8..24;
    let guess = prop_oneof![
        name().prop_map(Guess::Absent),
        name().prop_map(Guess::Unchanged),
        name().prop_map(Guess::Stale)
    ];
    // Around the bound below which values lie in the index.
    let action = prop_oneof![3 => (0_usize..300).prop_map(Action::Put), 2 => Just(Action::Delete)];
    let changes = prop::collection::btree_map(name(), action, 1..4).prop_map(|map| map.into_iter().collect());
    let transactions = prop::collection::vec((prop::option::of(guess), changes), 1..4);
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Backward)];
    let scan = (name(), 0_u8..26, 0_usize..30, direction)
        .prop_map(|(from, to, limit, direction)| Step::Scan { from, to, limit, direction });
    let step = prop_oneof![
        6 => transactions.prop_map(Step::Commit),
        3 => scan,
        2 => name().prop_map(Step::Get),
        2 => any::<u8>().prop_map(Step::Disturb),
    ];
    prop::collection::vec(step, 1..60)
}

type Model = BTreeMap<Key, Record>;

/// Runs a step on the engine and on the model, and compares.
pub(crate) async fn step(engine: &dyn Engine, model: &mut Model, step: &Step) {
    let name = |n: u8| key(&format!("{n:02}"));
    match step {
        Step::Commit(transactions) => {
            let transactions: Vec<_> = transactions
                .iter()
                .map(|(guess, changes)| Transaction {
                    preconditions: guess.iter().map(|guess| guessed(*guess, model)).collect(),
                    changes: changes
                        .iter()
                        .map(|(n, action)| match action {
                            Action::Put(size) => Change::Put(name(*n), vec![*n; *size].into()),
                            Action::Delete => Change::Delete(name(*n)),
                        })
                        .collect(),
                })
                .collect();
            let results = engine.commit(Class::Intake, transactions.clone()).await;
            for (transaction, result) in transactions.into_iter().zip(results) {
                apply(model, transaction, result);
            }
        }
        Step::Scan { from, to, limit, direction } => {
            let range = name(*from)..name(*to);
            let found = engine.scan(range.clone(), *limit, *direction).await.unwrap();
            let mut expected: Vec<_> = model
                .iter()
                .filter(|(key, _)| range.contains(*key))
                .map(|(k, r)| (k.clone(), r.clone()))
                .collect();
            if *direction == Direction::Backward {
                expected.reverse();
            }
            expected.truncate(*limit);
            assert_eq!(found, expected);
        }
        Step::Get(n) => assert_eq!(engine.get(name(*n)).await.unwrap(), model.get(&name(*n)).cloned()),
        Step::Disturb(_) => {}
    }
}

fn guessed(guess: Guess, model: &Model) -> Precondition {
    let name = |n: u8| key(&format!("{n:02}"));
    let version = |n: u8| model.get(&name(n)).map_or(Version(1), |record| record.version);
    match guess {
        Guess::Absent(n) => Precondition::Absent(name(n)),
        Guess::Unchanged(n) => Precondition::Unchanged(name(n), version(n)),
        Guess::Stale(n) => Precondition::Unchanged(name(n), Version(version(n).0.saturating_sub(1))),
    }
}

fn apply(model: &mut Model, transaction: Transaction, result: Result<Version, CommitError>) {
    let holds = transaction.preconditions.iter().all(|condition| match condition {
        Precondition::Absent(key) => !model.contains_key(key),
        Precondition::Unchanged(key, version) => model.get(key).is_some_and(|r| r.version == *version),
    });
    if !holds {
        assert_eq!(result, Err(CommitError::Conflict));
        return;
    }
    let version = result.unwrap();
    for change in transaction.changes {
        match change {
            Change::Put(key, value) => model.insert(key, Record { value, version }),
            Change::Delete(key) => model.remove(&key),
            Change::Add(..) => unreachable!("histories have no counters"),
        };
    }
}

/// Everything that a scan finds, to compare with the model at the end.
pub(crate) async fn same(engine: &dyn Engine, model: &Model) {
    let found = engine.scan(all(), usize::MAX, Direction::Forward).await.unwrap();
    assert!(found.into_iter().eq(model.iter().map(|(key, record)| (key.clone(), record.clone()))));
}

mod memory {
    use super::*;
    use crate::memory::MemoryEngine;

    #[tokio::test]
    async fn the_plain_engine_keeps_the_contract() {
        examples(MemoryEngine::new).await;
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_plain_engine_agrees_with_a_map(history in histories()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let engine = MemoryEngine::new();
                let mut model = Model::new();
                for one in &history {
                    step(&engine, &mut model, one).await;
                }
                same(&engine, &model).await;
            });
        }
    }
}
