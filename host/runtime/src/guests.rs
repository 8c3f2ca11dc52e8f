//! The guests' own threads, how many calls they may run at a time, and their end.
//!
//! They live as long as anything can still call: the runtime and each generation hold them. They end at once only when
//! that is asked for ([`Guests::stop`]), never because a handle happened to be dropped first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::options::{Concurrency, StartError};

pub(crate) struct Guests {
    handle: Handle,
    /// Taken when the guests end, since threads can't be joined from one of them.
    threads: Mutex<Option<Runtime>>,
    /// Fewer than the pool has slots: a full gateway waits here.
    slots: Arc<Semaphore>,
    slots_total: u32,
    stopping: AtomicBool,
}

impl Guests {
    pub(crate) fn start(concurrency: Concurrency) -> Result<Self, StartError> {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(concurrency.guest_threads.max(1))
            .thread_name("fanfare-guest")
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let slots_total = concurrency.instances_max.max(1);
        let slots = usize::try_from(slots_total).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Ok(Self {
            handle: threads.handle().clone(),
            threads: Mutex::new(Some(threads)),
            slots: Arc::new(Semaphore::new(slots)),
            slots_total,
            stopping: AtomicBool::new(false),
        })
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handle.spawn(future)
    }

    /// A permit to hold an instance; none once the guests stop.
    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        (!self.stopping()).then_some(slot)
    }

    /// Takes no more calls, lets those under way end within `deadline`, and takes the others back. Answers how many
    /// those were.
    pub(crate) async fn stop(&self, deadline: Duration) -> u32 {
        self.stopping.store(true, Ordering::Relaxed);
        let all = tokio::time::timeout(deadline, self.slots.acquire_many(self.slots_total)).await;
        let left = match all {
            Ok(_) => 0,
            Err(_) => {
                let free = u32::try_from(self.slots.available_permits()).unwrap_or(u32::MAX);
                self.slots_total.saturating_sub(free)
            }
        };
        self.slots.close();
        self.end();
        left
    }

    fn end(&self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(threads) = threads {
            threads.shutdown_background();
        }
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.end();
    }
}
