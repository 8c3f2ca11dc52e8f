//! One call of a guest: a fresh instance, inside every limit, on the guests' own threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_model::fault::{Fault, code};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmtime::{Engine, Store, Trap};

use crate::guest::{Guest, Hit, Parts};
use crate::limits::Limits;
use crate::report::Usage;

/// What every call shares.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) engine: Engine,
    pub(crate) guests: Handle,
    /// Fewer than the pool has slots: a full gateway waits here.
    pub(crate) slots: Arc<Semaphore>,
}

/// How a call ended, and what is left of its guest.
pub(crate) struct Ended<T> {
    pub(crate) result: Result<T, Fault>,
    pub(crate) usage: Usage,
    pub(crate) guest: Option<Guest>,
}

impl Executor {
    /// Runs `call` on a fresh store. It goes on to its end, within its limits, even when the future is dropped.
    pub(crate) async fn run<T, F>(&self, parts: Parts, limits: Limits, call: F) -> Ended<T>
    where
        T: Send + 'static,
        F: AsyncCall<T>,
    {
        let executor = self.clone();
        let task = self.guests.spawn(async move { executor.run_here(parts, limits, call).await });
        task.await.unwrap_or_else(|error| Ended {
            result: Err(Fault::new(code::HOST_INTERNAL, format!("the host failed around the call: {error}"))),
            usage: Usage::default(),
            guest: None,
        })
    }

    async fn run_here<T, F: AsyncCall<T>>(self, parts: Parts, limits: Limits, call: F) -> Ended<T> {
        // Closed never: the semaphore lives as long as the executor.
        let _slot = Arc::clone(&self.slots).acquire_owned().await;
        let mut store = Store::new(&self.engine, Guest::new(parts));
        store.limiter(|guest| &mut guest.memory);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(Guest::tick);
        store.set_hostcall_fuel(usize::try_from(limits.hostcall_fuel).unwrap_or(usize::MAX));
        store.set_max_component_handles(usize::try_from(limits.handles).unwrap_or(usize::MAX));
        let began = Instant::now();
        let called = tokio::time::timeout(limits.wall, call.call(&mut store)).await;
        let wall = began.elapsed();
        let mut guest = store.into_data();
        guest.take_output();
        let result = match called {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(fault(&error, &guest, limits)),
            Err(_) => {
                Err(Fault::new(code::PLUGIN_TIMEOUT, format!("the call took longer than {:?}", limits.wall)))
            }
        };
        let usage = usage(&guest, wall);
        Ended { result, usage, guest: Some(guest) }
    }
}

/// A call that borrows the store.
pub(crate) trait AsyncCall<T>: Send + 'static {
    /// Instantiates and calls.
    fn call(self, store: &mut Store<Guest>) -> impl Future<Output = wasmtime::Result<T>> + Send;
}

fn usage(guest: &Guest, wall: Duration) -> Usage {
    Usage {
        cpu: wall.saturating_sub(guest.waited),
        wall,
        memory_bytes_peak: guest.memory.peak,
        host_calls: guest.host_calls,
        bytes_out: guest.bytes_out,
        bytes_in: guest.bytes_in,
    }
}

/// Which limit or trap ended a call, by types alone.
fn fault(error: &wasmtime::Error, guest: &Guest, limits: Limits) -> Fault {
    if let Some(hit) = error.downcast_ref::<Hit>() {
        let allowed = match hit {
            Hit::Cpu => format!("{:?}", limits.cpu),
            Hit::Calls => format!("{} calls", limits.host_calls),
        };
        return Fault::new(hit.code(), format!("the plugin was stopped: {hit} ({allowed})"));
    }
    if guest.memory.denied {
        let mib = limits.memory_bytes / (1024 * 1024);
        return Fault::new(code::PLUGIN_MEMORY, format!("the plugin wanted more memory than its {mib} MiB"));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => Fault::new(code::PLUGIN_STACK, "the plugin overflowed its stack"),
        Some(trap) => Fault::new(code::PLUGIN_TRAP, format!("the plugin trapped: {trap}")),
        None => Fault::new(
            code::PLUGIN_DATA,
            format!("what the plugin handed over can't be taken: {}", error.root_cause()),
        ),
    }
}
