//! The tools on stores that are whole, damaged, and in use.

mod checking;
mod mending;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fanfare_model::clock::{Clock, ManualClock};
use fanfare_model::id::NotificationId;
use fanfare_model::notification::Notification;
use fanfare_model::outcome::{Outcome, Receipt};
use fanfare_model::retry::RetryPolicy;
use fanfare_model::state::{NotificationState, Planned, Settlement};
use fanfare_model::time::Timestamp;

use super::super::{EmbeddedEngine, EmbeddedOptions};
use crate::{Acceptance, Changed, NewNotification, Store};

/// Segments so small that a few notifications fill many; the index is written only when a test says so.
fn options(path: &Path) -> EmbeddedOptions {
    EmbeddedOptions {
        flush_interval: Duration::from_secs(3_600),
        segment_bytes: 4_096,
        reserve_bytes: Some(0),
        reclaim_share_percent: 0,
        ..EmbeddedOptions::new(path)
    }
}

/// The files of the journal, in their order.
fn segments(store: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(store.join("journal")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

fn name(file: &Path) -> String {
    file.file_name().unwrap().to_str().unwrap().to_owned()
}

/// A store in use.
struct Served {
    engine: Arc<EmbeddedEngine>,
    store: Store,
    clock: Arc<ManualClock>,
}

impl Served {
    async fn open(path: &Path) -> Self {
        let engine = Arc::new(EmbeddedEngine::open(options(path)).unwrap());
        let clock = Arc::new(ManualClock::at(Timestamp::from_ms(1_000_000)));
        let store = Store::open(engine.clone(), clock.clone()).await.unwrap();
        Self { engine, store, clock }
    }

    /// Accepts a notification with so many deliveries.
    async fn accept(&self, deliveries: usize) -> NotificationId {
        let now = self.clock.now();
        let notification = Notification {
            title: Some("x".repeat(300)),
            ..Notification::new(self.store.next_id(), "payment.failed".parse().unwrap(), now)
        };
        let mut state = NotificationState::accepted(&notification);
        let planned = |place| Planned {
            channel: "hook".parse().unwrap(),
            user: Some("ann".parse().unwrap()),
            address: Some(format!("https://h{place}.example.org")),
            due_at: now,
            fallback_order: 0,
            reason: "named in to".to_owned(),
        };
        state.plan((0..deliveries).map(planned).collect(), now).unwrap();
        let id = notification.id;
        let new = NewNotification { notification: Arc::new(notification), state, dedup: None };
        assert!(matches!(self.store.accept(vec![new], None).await.unwrap(), Acceptance::Fresh { .. }));
        id
    }

    /// Delivers the first delivery.
    async fn settle(&self, id: NotificationId) {
        let cell = self.store.cell(id).await.unwrap().unwrap();
        let now = self.clock.now();
        let settlement = Settlement {
            started_at: now,
            took: Duration::from_millis(1),
            generation: 1,
            outcome: &Outcome::Delivered(Receipt::default()),
            policy: &RetryPolicy::default(),
            now,
            chance: 0.5,
        };
        let settled = cell.change(|state| state.settle(0, &settlement).map(Changed::only));
        settled.unwrap().durable.await.unwrap();
    }

    /// Stops; the index covers all.
    async fn close(self) {
        self.store.close().await.unwrap();
    }
}

/// A store with twenty notifications, of which the first ten are settled.
async fn filled(path: &Path) -> Vec<NotificationId> {
    let served = Served::open(path).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(served.accept(1).await);
    }
    for id in &ids[..10] {
        served.settle(*id).await;
    }
    served.close().await;
    assert!(segments(path).len() > 3);
    ids
}

/// Changes one byte of a file.
fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x40;
    fs::write(file, bytes).unwrap();
}
