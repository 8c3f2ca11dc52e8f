//! Warm instances: kept after a call and used again, by the same generation, one call at a time.
//!
//! They are for guests that are slow to start; what a guest leaves in its memory is there in its next call, so a channel
//! has to ask for them. An instance is kept only if its call was answered. It is retired after a trap, a timeout or a
//! cancelled call, after [`CALLS_MAX`] calls, and once its memory has grown. A generation keeps [`IDLE_MAX`] at the most,
//! all of a runtime [`IDLE_TOTAL_MAX`]; what is over is dropped, and the next call begins with a fresh one.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::guest::Guest;
use crate::limits::Limits;

/// Whether a call's instance is its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// A new instance for each call: nothing is carried over.
    #[default]
    Fresh,
    /// Instances are used again.
    Warm,
}

/// A word that is no isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither \"fresh\" nor \"warm\"")]
pub struct UnknownIsolation;

impl FromStr for Isolation {
    type Err = UnknownIsolation;

    fn from_str(text: &str) -> Result<Self, UnknownIsolation> {
        match text {
            "fresh" => Ok(Self::Fresh),
            "warm" => Ok(Self::Warm),
            _ => Err(UnknownIsolation),
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "fresh",
            Self::Warm => "warm",
        })
    }
}

/// An instance makes this many calls.
pub(crate) const CALLS_MAX: u32 = 1_000;
/// A generation's idle instances.
pub(crate) const IDLE_MAX: usize = 16;
/// A runtime's idle instances. The engine's pool has room for them beside those that run.
pub(crate) const IDLE_TOTAL_MAX: u32 = 64;
/// An instance may grow by this part of its memory limit after its first call. What a guest's allocator keeps for the
/// next call lies far below; one that goes on growing leaks.
const GROWTH_PART: u64 = 8;

/// A runtime's permits to keep instances.
#[derive(Clone, Debug)]
pub(crate) struct Shelf(Arc<Semaphore>);

impl Default for Shelf {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(IDLE_TOTAL_MAX).unwrap_or(usize::MAX))))
    }
}

/// An instance between two calls.
struct Idle {
    warm: WarmInstance,
    _place: OwnedSemaphorePermit,
}

/// An instance that has been called.
pub(crate) struct WarmInstance {
    pub(crate) store: Store<Guest>,
    pub(crate) instance: Instance,
    calls: u32,
    memory_bytes_first: u64,
}

impl WarmInstance {
    /// After its first call.
    pub(crate) fn first(store: Store<Guest>, instance: Instance) -> Self {
        let memory_bytes_first = store.data().memory.used();
        Self { store, instance, calls: 0, memory_bytes_first }
    }

    /// Whether it may make another call within these limits.
    fn is_fit(&self, limits: Limits) -> bool {
        let used = self.store.data().memory.used();
        let grown = used.saturating_sub(self.memory_bytes_first);
        self.calls < CALLS_MAX && used <= limits.memory_bytes && grown <= limits.memory_bytes / GROWTH_PART
    }
}

/// A generation's idle instances; none while it is not warm.
pub(crate) struct WarmPool {
    shelf: Shelf,
    is_warm: AtomicBool,
    idle: Mutex<Vec<Idle>>,
}

impl WarmPool {
    pub(crate) fn new(shelf: Shelf) -> Self {
        Self { shelf, is_warm: AtomicBool::new(false), idle: Mutex::default() }
    }

    /// Begins to keep instances, or gives up those that idle.
    pub(crate) fn set(&self, isolation: Isolation) {
        self.is_warm.store(isolation == Isolation::Warm, Ordering::SeqCst);
        if isolation == Isolation::Fresh {
            // Bound to a name, so that they are dropped outside the lock.
            let _given_up = std::mem::take(&mut *self.idle());
        }
    }

    fn is_warm(&self) -> bool {
        self.is_warm.load(Ordering::SeqCst)
    }

    /// The one that was used last, so that the others can be told to be idle; none if all are in use.
    pub(crate) fn take(&self, limits: Limits) -> Option<WarmInstance> {
        if !self.is_warm() {
            return None;
        }
        loop {
            let idle = self.idle().pop()?;
            // Limits may have become lower since it was kept. What is not fit is dropped here, outside the lock.
            if idle.warm.is_fit(limits) {
                return Some(idle.warm);
            }
        }
    }

    /// Keeps an instance whose call was answered, if it may make another and there is room.
    pub(crate) fn keep(&self, mut warm: WarmInstance, limits: Limits) {
        warm.calls += 1;
        if !self.is_warm() || !warm.is_fit(limits) {
            return;
        }
        let Ok(place) = Arc::clone(&self.shelf.0).try_acquire_owned() else { return };
        let mut idle = self.idle();
        // Asked again under the lock, so that nothing is kept behind the back of who gives them up.
        if self.is_warm() && idle.len() < IDLE_MAX {
            idle.push(Idle { warm, _place: place });
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
