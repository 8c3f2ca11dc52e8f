//! The layers on the plain engine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::clock::{Clock, ManualClock};
use fanfare_model::delivery::Phase;
use fanfare_model::digest::Digest;
use fanfare_model::fault::{Fault, code};
use fanfare_model::id::DeliveryId;
use fanfare_model::json::JsonObject;
use fanfare_model::name::{ChannelName, UserId};
use fanfare_model::notification::{Notification, Target};
use fanfare_model::outcome::{Outcome, Receipt};
use fanfare_model::priority::Priority;
use fanfare_model::retry::RetryPolicy;
use fanfare_model::state::{Misfit, NotificationState, Planned, Settlement};
use fanfare_model::time::Timestamp;
use proptest::prelude::*;

use crate::memory::MemoryEngine;
use crate::{
    AcceptError, Acceptance, AcceptedItem, Changed, DeadLetterFilter, DedupClaim, IdempotencyClaim,
    ListFilter, NewNotification, Store,
};

struct Bench {
    engine: Arc<MemoryEngine>,
    clock: Arc<ManualClock>,
    store: Store,
}

impl Bench {
    async fn new() -> Self {
        let engine = Arc::new(MemoryEngine::new());
        let clock = Arc::new(ManualClock::at(Timestamp::from_ms(1_000_000)));
        let store = Store::open(engine.clone(), clock.clone()).await.unwrap();
        Self { engine, clock, store }
    }

    async fn reopen(&mut self) {
        self.store = Store::open(self.engine.clone(), self.clock.clone()).await.unwrap();
    }

    fn new_notification(&self, channels: &[&str], user: Option<&str>) -> NewNotification {
        let now = self.clock.now();
        let user: Option<UserId> = user.map(|user| user.parse().unwrap());
        let notification = Notification {
            id: self.store.next_id(),
            event_type: "payment.failed".parse().unwrap(),
            created_at: now,
            to: user.iter().map(|user| Target::User { user: user.clone() }).collect(),
            title: Some("결제 실패".to_owned()),
            body: None,
            data: JsonObject::parse(r#"{"amount":5}"#).unwrap(),
            priority: Priority::Normal,
            send_at: None,
            expires_at: None,
            dedup: None,
            metadata: JsonObject::default(),
            traceparent: None,
            submitted_by: None,
            alert_about: None,
        };
        let mut state = NotificationState::accepted(&notification);
        let plan = channels.iter().enumerate().map(|(place, channel)| Planned {
            channel: channel.parse().unwrap(),
            user: user.clone(),
            address: Some(format!("https://h{place}.example.org/x")),
            due_at: now,
            reason: "named in to".to_owned(),
        });
        state.plan(plan.collect(), now).unwrap();
        NewNotification { notification: Arc::new(notification), state, dedup: None }
    }

    async fn accept(&self, new: NewNotification) -> AcceptedItem {
        match self.store.accept(vec![new], None).await.unwrap() {
            Acceptance::Fresh { mut items, .. } => items.remove(0),
            Acceptance::Replayed { .. } => panic!("there was no claim"),
        }
    }

    /// Every index entry that the engine holds, in words.
    async fn indexed(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for lane in self.store.lanes().await.unwrap() {
            for priority in Priority::ALL {
                for entry in self.store.due(&lane, priority, None, 10_000).await.unwrap() {
                    found.insert(format!("due {lane} {} {}", entry.due_at, entry.delivery));
                }
            }
        }
        let dead = self.store.dead_letters(&DeadLetterFilter::default(), None, 10_000).await.unwrap();
        found.extend(dead.items.iter().map(|letter| format!("dead {} {}", letter.last_at, letter.id)));
        found
    }

    /// What the indexes ought to hold, by the states.
    async fn expected(&self) -> BTreeSet<String> {
        let listed = self.store.list(&ListFilter::default(), None, 10_000).await.unwrap();
        let deliveries = listed.items.iter().flat_map(|state| &state.deliveries);
        deliveries
            .filter_map(|delivery| match &delivery.phase {
                Phase::Waiting { due_at, .. } => {
                    Some(format!("due {} {due_at} {}", delivery.channel, delivery.id))
                }
                Phase::Dead { at, .. } => Some(format!("dead {at} {}", delivery.id)),
                _ => None,
            })
            .collect()
    }
}

fn outcome(good: bool, transient: bool) -> Outcome {
    let fault = Fault::new(code::HOST_INTERNAL, "no").with_status(Some(500));
    match (good, transient) {
        (true, _) => Outcome::Delivered(Receipt { provider_id: Some("p1".to_owned()), ..Receipt::default() }),
        (false, true) => Outcome::Transient { fault, retry_after: None },
        (false, false) => Outcome::Permanent(fault),
    }
}

fn settle(
    state: &mut NotificationState,
    index: u16,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<(), Misfit> {
    let policy = RetryPolicy::default();
    let took = Duration::from_millis(3);
    let settlement =
        Settlement { started_at: now, took, generation: 1, outcome, policy: &policy, now, chance: 0.5 };
    state.settle(index, &settlement).map(drop)
}

#[derive(Clone, Debug)]
enum Step {
    Accept(usize),
    Settle(usize, u16, bool, bool),
    Cancel(usize),
    Replay(usize, u16),
    Discard(usize, u16),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = 0u16..40;
    let step = prop_oneof![
        2 => (1usize..40).prop_map(Step::Accept),
        8 => (any::<usize>(), index.clone(), any::<bool>(), any::<bool>()).prop_map(|(n, i, g, t)| Step::Settle(n, i, g, t)),
        1 => any::<usize>().prop_map(Step::Cancel),
        2 => (any::<usize>(), index.clone()).prop_map(|(n, i)| Step::Replay(n, i)),
        1 => (any::<usize>(), index).prop_map(|(n, i)| Step::Discard(n, i)),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn indexes_always_say_what_the_states_say(steps in steps()) {
        block_on(async {
            let mut bench = Bench::new().await;
            let mut ids = Vec::new();
            for step in steps {
                bench.clock.advance(Duration::from_millis(7));
                let now = bench.clock.now();
                let pick = |n: usize, ids: &Vec<_>| ids.get(n % ids.len().max(1)).copied();
                match step {
                    Step::Accept(count) => {
                        let new = bench.new_notification(&vec!["hook"; count], Some("ann"));
                        ids.push(bench.accept(new).await.cell.id());
                    }
                    Step::Reopen => bench.reopen().await,
                    Step::Settle(n, index, good, transient) => if let Some(id) = pick(n, &ids) {
                        let cell = bench.store.cell(id).await.unwrap().unwrap();
                        let outcome = outcome(good, transient);
                        let done = cell.change(|state| settle(state, index, &outcome, now).map(Changed::only));
                        if let Ok(ticket) = done { ticket.durable.await.unwrap(); }
                    },
                    Step::Cancel(n) => if let Some(id) = pick(n, &ids) {
                        let cell = bench.store.cell(id).await.unwrap().unwrap();
                        let done = cell.change(|state| { state.cancel(now, |i| i == 0); Ok::<_, Misfit>(Changed::only(())) });
                        done.unwrap().durable.await.unwrap();
                    },
                    Step::Replay(n, index) => if let Some(id) = pick(n, &ids) {
                        let cell = bench.store.cell(id).await.unwrap().unwrap();
                        if let Ok(ticket) = cell.change(|state| state.replay(index, now, "ops").map(Changed::only)) {
                            ticket.durable.await.unwrap();
                        }
                    },
                    Step::Discard(n, index) => if let Some(id) = pick(n, &ids) {
                        let cell = bench.store.cell(id).await.unwrap().unwrap();
                        if let Ok(ticket) = cell.change(|state| state.discard(index, now, "ops").map(Changed::only)) {
                            ticket.durable.await.unwrap();
                        }
                    },
                }
                assert_eq!(bench.indexed().await, bench.expected().await);
            }
            let before = bench.store.list(&ListFilter::default(), None, 10_000).await.unwrap().items;
            for state in before {
                let cell = bench.store.cell(state.id).await.unwrap().unwrap();
                assert_eq!(cell.read(Clone::clone), state, "memory and disk say the same");
            }
        });
    }
}

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
    let ticket =
        item.cell.change(|state| settle(state, 1, &outcome(false, false), now).map(Changed::only)).unwrap();
    ticket.durable.await.unwrap();
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
    assert_eq!(counters, [("accepted".to_owned(), 1), ("dead/mail".to_owned(), 1)]);
}

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
