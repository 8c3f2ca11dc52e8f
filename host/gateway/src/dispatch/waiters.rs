//! Requests that wait for a notification to end (`Prefer: wait`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use fanfare_model::id::NotificationId;
use tokio::sync::Notify;

/// Who waits for what. Empty unless somebody does, so that ending a delivery costs one look.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    bells: Mutex<HashMap<NotificationId, (Arc<Notify>, usize)>>,
}

impl Waiters {
    /// Waits until `done` holds; asks again each time the notification's bell rings.
    pub(super) async fn wait(&self, id: NotificationId, done: impl Fn() -> bool) {
        let seat = Seat::take(self, id);
        loop {
            // The bell is listened to before the question is asked, so that no ring is missed.
            let rung = seat.bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            if done() {
                return;
            }
            rung.await;
        }
    }

    /// Rings the notification's bell, if there is one.
    pub(super) fn poke(&self, id: NotificationId) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bell, _)) = bells.get(&id) {
            bell.notify_waiters();
        }
    }
}

/// One who waits; the last one to leave takes the bell away.
struct Seat<'a> {
    waiters: &'a Waiters,
    id: NotificationId,
    bell: Arc<Notify>,
}

impl<'a> Seat<'a> {
    fn take(waiters: &'a Waiters, id: NotificationId) -> Self {
        let mut bells = waiters.bells.lock().unwrap_or_else(PoisonError::into_inner);
        let (bell, seats) = bells.entry(id).or_default();
        *seats += 1;
        let bell = Arc::clone(bell);
        Self { waiters, id, bell }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut bells = self.waiters.bells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = bells.entry(self.id) {
            entry.get_mut().1 -= 1;
            if entry.get().1 == 0 {
                entry.remove();
            }
        }
    }
}
