//! Measures the CPU time of one call, cheaply enough to do it always.
//!
//! What counts is the time that the call's future is polled: guest code, the host functions that it calls, instantiation.
//! Waiting for the outside is not polled and does not count. A poll is timed by the monotonic clock (two reads of 30 ns),
//! which also counts what the kernel gave to other threads meanwhile; once a call has lasted a tick, its further polls
//! are timed by the thread's own CPU clock, which does not, and which would cost too much (0.7 us a read) for short calls.
//! So the figure has nanoseconds, never understates, and overstates by at most what was preempted before the first tick.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::engine::TICK;

/// The CPU time of one call, shared by the future that measures and the guest that must end.
///
/// Only the thread that polls writes; the atomics are for the sharing, not for races.
#[derive(Debug)]
pub(crate) struct Meter {
    base: Instant,
    spent_ns: AtomicU64,
    poll_began_ns: AtomicU64,
    poll_by_thread: AtomicBool,
    lasts: AtomicBool,
}

impl Meter {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            spent_ns: AtomicU64::new(0),
            poll_began_ns: AtomicU64::new(0),
            poll_by_thread: AtomicBool::new(false),
            lasts: AtomicBool::new(false),
        })
    }

    /// What the call used in the polls that ended.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed))
    }

    /// What it used so far, asked from inside a poll. Once that is a tick, the thread's clock counts from the next poll on.
    pub(crate) fn spent_in_poll(&self) -> Duration {
        let now = self.clock_ns(self.poll_by_thread.load(Ordering::Relaxed));
        let poll_ns = now.saturating_sub(self.poll_began_ns.load(Ordering::Relaxed));
        let spent = self.spent() + Duration::from_nanos(poll_ns);
        if spent >= TICK {
            self.lasts.store(true, Ordering::Relaxed);
        }
        spent
    }

    /// Whether it was seen to have used a tick.
    pub(crate) fn lasts(&self) -> bool {
        self.lasts.load(Ordering::Relaxed)
    }

    fn begin_poll(&self) {
        let by_thread = self.lasts.load(Ordering::Relaxed);
        self.poll_by_thread.store(by_thread, Ordering::Relaxed);
        self.poll_began_ns.store(self.clock_ns(by_thread), Ordering::Relaxed);
    }

    fn end_poll(&self) {
        let now = self.clock_ns(self.poll_by_thread.load(Ordering::Relaxed));
        let poll_ns = now.saturating_sub(self.poll_began_ns.load(Ordering::Relaxed));
        self.spent_ns.fetch_add(poll_ns, Ordering::Relaxed);
    }

    fn clock_ns(&self, by_thread: bool) -> u64 {
        if by_thread {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
            return seconds.saturating_mul(1_000_000_000) + u64::try_from(time.tv_nsec).unwrap_or_default();
        }
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A future whose polls are measured.
pub(crate) struct Metered<'m, F> {
    meter: &'m Meter,
    future: Pin<&'m mut F>,
}

impl<'m, F: Future> Metered<'m, F> {
    pub(crate) fn new(meter: &'m Meter, future: Pin<&'m mut F>) -> Self {
        Self { meter, future }
    }
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.begin_poll();
        let polled = self.future.as_mut().poll(context);
        self.meter.end_poll();
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn work() -> u64 {
        std::hint::black_box((0..100_000_u64).fold(1, |a, n| a.wrapping_mul(31).wrapping_add(n)))
    }

    #[tokio::test]
    async fn polls_count_and_waiting_between_them_does_not() {
        let meter = Meter::new();
        let mut polls = 0;
        let future = std::future::poll_fn(|context| {
            polls += 1;
            work();
            if polls < 3 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(meter.spent())
        });
        let before_last = Metered::new(&meter, pin!(future)).await;
        assert!(before_last > Duration::ZERO);
        assert!(meter.spent() > before_last, "the last poll counts as well");
        let after = meter.spent();
        tokio::task::yield_now().await;
        assert_eq!(meter.spent(), after);
    }

    #[tokio::test]
    async fn a_call_that_lasts_is_measured_by_the_threads_own_clock() {
        let meter = Meter::new();
        let mut asked = Vec::new();
        let future = std::future::poll_fn(|context| {
            work();
            asked.push(meter.spent_in_poll());
            if !meter.poll_by_thread.load(Ordering::Relaxed) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        });
        Metered::new(&meter, pin!(future)).await;
        assert!(asked.is_sorted() && asked.iter().all(|spent| *spent > Duration::ZERO), "{asked:?}");
        assert!(asked.last() >= Some(&TICK) && meter.lasts(), "{asked:?}");
        assert!(meter.spent() >= *asked.last().unwrap());
    }
}
