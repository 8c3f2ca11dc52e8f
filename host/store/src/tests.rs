//! The layers on the plain engine.

mod cells;
mod claims;
mod fallbacks;
mod fan_out;
mod full;
mod gate;
mod life;
mod lists;
mod observed;
mod retention;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::clock::{Clock, ManualClock};
use fanfare_model::delivery::Phase;
use fanfare_model::fault::{Fault, code};
use fanfare_model::json::JsonObject;
use fanfare_model::name::UserId;
use fanfare_model::notification::{Notification, Target};
use fanfare_model::outcome::{Outcome, Receipt};
use fanfare_model::priority::Priority;
use fanfare_model::retry::RetryPolicy;
use fanfare_model::state::{Misfit, NotificationState, Planned, Settlement};
use fanfare_model::time::Timestamp;

use self::gate::{Gate, gated};
use crate::engine::Engine as _;
use crate::{Acceptance, AcceptedItem, DeadLetterFilter, ListFilter, NewNotification, Store};

struct Bench {
    engine: Arc<Gate>,
    clock: Arc<ManualClock>,
    store: Store,
}

impl Bench {
    async fn new() -> Self {
        let engine = gated();
        let clock = Arc::new(ManualClock::at(Timestamp::from_ms(1_000_000)));
        let store = Store::open(engine.clone(), clock.clone()).await.unwrap();
        Self { engine, clock, store }
    }

    async fn reopen(&mut self) {
        self.store = Store::open(self.engine.clone(), self.clock.clone()).await.unwrap();
    }

    /// Lets time pass until every change is on disk; the clock of the runtime has to be paused where some had to
    /// be tried again.
    async fn quiet(&self) {
        while !self.store.is_quiet() {
            if self.store.stagnation().is_some() {
                tokio::time::advance(crate::flight::PAUSE_MAX).await;
            }
            tokio::task::yield_now().await;
        }
    }

    fn planned(&self, channel: &str, user: Option<&UserId>, address: &str) -> Planned {
        Planned {
            channel: channel.parse().unwrap(),
            user: user.cloned(),
            address: Some(address.to_owned()),
            due_at: self.clock.now(),
            fallback_order: 0,
            reason: "named in to".to_owned(),
        }
    }

    fn unplanned(&self, user: Option<&str>) -> NewNotification {
        let user: Option<UserId> = user.map(|user| user.parse().unwrap());
        let notification = Notification {
            to: user.iter().map(|user| Target::User { user: user.clone() }).collect(),
            title: Some("결제 실패".to_owned()),
            data: JsonObject::parse(r#"{"amount":5}"#).unwrap(),
            ..Notification::new(self.store.next_id(), "payment.failed".parse().unwrap(), self.clock.now())
        };
        let state = NotificationState::accepted(&notification);
        NewNotification { notification: Arc::new(notification), state, dedup: None }
    }

    fn new_notification(&self, channels: &[&str], user: Option<&str>) -> NewNotification {
        let mut new = self.unplanned(user);
        let user = user.map(|user| user.parse().unwrap());
        let plan = channels.iter().enumerate().map(|(place, channel)| {
            self.planned(channel, user.as_ref(), &format!("https://h{place}.example.org/x"))
        });
        new.state.plan(plan.collect(), self.clock.now()).unwrap();
        new
    }

    async fn accept(&self, new: NewNotification) -> AcceptedItem {
        match self.store.accept(vec![new], None).await.unwrap() {
            Acceptance::Fresh { mut items, .. } => items.remove(0),
            Acceptance::Replayed { .. } => panic!("there was no claim"),
        }
    }

    /// Settles one delivery and waits until that is on disk.
    async fn settle(&self, cell: &crate::Cell, index: u16, outcome: &Outcome) -> Result<(), Misfit> {
        let now = self.clock.now();
        let changed = cell.change(|state| settle(state, index, outcome, now).map(crate::Changed::only));
        match changed {
            Ok(ticket) => {
                ticket.durable.await.unwrap();
                Ok(())
            }
            Err(crate::ChangeError::Refused(misfit)) => Err(misfit),
            Err(crate::ChangeError::Store(error)) => panic!("{error}"),
        }
    }

    /// Everything that the engine holds.
    async fn records(&self) -> crate::engine::Page {
        let everything = vec![0]..vec![u8::MAX];
        self.engine.scan(everything, 100_000, crate::engine::Direction::Forward).await.unwrap()
    }

    /// Every index entry that the engine holds, in words.
    async fn indexed(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for lane in self.store.lanes().await.unwrap() {
            for priority in Priority::ALL {
                for entry in self.store.due(&lane, priority, None, 10_000).await.unwrap() {
                    let delay = entry.delay.map(|delay| delay.as_millis());
                    found.insert(format!("due {lane} {} {delay:?} {}", entry.due_at, entry.delivery));
                }
            }
        }
        let dead = self.store.dead_letters(&DeadLetterFilter::default(), None, 10_000).await.unwrap();
        found.extend(dead.items.iter().map(|letter| format!("dead {} {}", letter.last_at, letter.id)));
        for user in ["ann", "bob", "eve", "u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"] {
            let filter = ListFilter { user: Some(user.parse().unwrap()), ..ListFilter::default() };
            let of_user = self.store.list(&filter, None, 10_000).await.unwrap();
            found.extend(of_user.items.iter().map(|state| format!("user {user} {}", state.id)));
        }
        found
    }

    /// What the indexes ought to hold, by the states.
    async fn expected(&self) -> BTreeSet<String> {
        let listed = self.store.list(&ListFilter::default(), None, 10_000).await.unwrap();
        let mut expected = BTreeSet::new();
        for state in &listed.items {
            let of_deliveries = state.deliveries.iter().filter_map(|delivery| delivery.user.as_ref());
            expected
                .extend(of_deliveries.chain(&state.users).map(|user| format!("user {user} {}", state.id)));
        }
        let deliveries = listed.items.iter().flat_map(|state| &state.deliveries);
        expected.extend(deliveries.filter_map(|delivery| match &delivery.phase {
            Phase::Waiting { due_at, delay } => {
                let delay = delay.map(|delay| delay.as_millis());
                Some(format!("due {} {due_at} {delay:?} {}", delivery.channel, delivery.id))
            }
            Phase::Dead { at, .. } => Some(format!("dead {at} {}", delivery.id)),
            _ => None,
        }));
        expected
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
