//! Where guests run, how many calls there may be at a time, and their end.
//!
//! A call begins on the thread that asks for it, because nearly all are over in less time than two threads need to wake
//! each other. One that has used a whole tick goes on on the guests' own threads, so that guests that compute for long
//! share those and hold up nothing else; the next call of such a plugin begins there. Those threads have a lower priority
//! than the rest of the gateway: beside a guest that spins, on two cores and at half load, the p99 of another channel's
//! attempts was 3.5 times what it is without, and is about twice that.
//!
//! The threads live as long as anything can still call: the runtime and each generation hold them. They end at once only
//! when that is asked for ([`Guests::stop`]), never because a handle happened to be dropped first.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use fanfare_model::text::of_panic;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::meter::Meter;
use crate::options::{Concurrency, StartError};
use crate::priority::step_back;

pub(crate) struct Guests {
    handle: Handle,
    /// Taken when the guests end, since threads can't be joined from one of them.
    threads: Mutex<Option<Runtime>>,
    /// Fewer than the pool has slots: a full gateway waits here.
    slots: Arc<Semaphore>,
    slots_total: u32,
    stopping: AtomicBool,
    /// Takes back the calls that are not on the guests' threads.
    ended: CancellationToken,
}

/// How the running of a call ended, if not by itself.
pub(crate) enum Lost {
    /// The guests end, and took it back.
    Stopping,
    /// The host panicked around it, and said this.
    Failed(String),
}

impl Lost {
    fn by(panic: &(dyn Any + Send)) -> Self {
        Self::Failed(of_panic(panic).to_owned())
    }
}

impl From<JoinError> for Lost {
    fn from(error: JoinError) -> Self {
        error.try_into_panic().map_or(Self::Stopping, |panic| Self::by(&*panic))
    }
}

impl Guests {
    pub(crate) fn start(concurrency: Concurrency) -> Result<Self, StartError> {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(concurrency.guest_threads.max(1))
            .thread_name("fanfare-guest")
            .on_thread_start(step_back)
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
            ended: CancellationToken::new(),
        })
    }

    /// Says whether there are calls; keeps nothing alive but their count.
    pub(crate) fn watch(&self) -> impl Fn() -> bool + Send + 'static {
        let (slots, total) = (Arc::clone(&self.slots), self.slots.available_permits());
        move || slots.available_permits() < total
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Runs a call that `meter` measures; one that is known to last, on the guests' threads from the beginning.
    ///
    /// Once it is there it goes on to its end, within its limits, even when this future is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        mut call: Pin<Box<dyn Future<Output = T> + Send>>,
        meter: &Meter,
        known_to_last: bool,
    ) -> Result<T, Lost> {
        if !known_to_last {
            // A panic ends this call, as it does on the guests' threads, and not the task of whoever asked for it.
            let until_it_lasts =
                poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))) {
                    Ok(Poll::Ready(value)) => Poll::Ready(Ok(Some(value))),
                    Ok(Poll::Pending) if meter.lasts() => Poll::Ready(Ok(None)),
                    Ok(Poll::Pending) => Poll::Pending,
                    Err(panic) => Poll::Ready(Err(Lost::by(&*panic))),
                });
            let ended = self.ended.run_until_cancelled(until_it_lasts).await;
            if let Some(value) = ended.ok_or(Lost::Stopping)?? {
                return Ok(value);
            }
        }
        Ok(self.handle.spawn(call).await?)
    }

    /// Does what takes long and is no guest's, on threads of the same priority.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        self.handle.spawn_blocking(work).await
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
        self.ended.cancel();
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn fails() -> u32 {
        panic!("the host is wrong")
    }

    #[tokio::test]
    async fn a_panic_around_a_call_ends_that_call_alone_on_whichever_thread() {
        let guests = Guests::start(Concurrency::default()).unwrap();
        for known_to_last in [false, true] {
            let ended = guests.run(Box::pin(fails()), &Meter::new(), known_to_last).await;
            assert!(matches!(ended, Err(Lost::Failed(why)) if why == "the host is wrong"));
            let call = Box::pin(async { 1 });
            assert!(matches!(guests.run(call, &Meter::new(), known_to_last).await, Ok(1)));
        }
    }
}
