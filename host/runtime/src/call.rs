//! One call of a guest, inside every limit: in a fresh instance, or in a warm one that nobody else uses meanwhile.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fanfare_model::fault::{Fault, code};
use wasmtime::component::{Instance, ResourceTableError};
use wasmtime::{Engine, Store, Trap};

use crate::guest::{Guest, Hit, Parts};
use crate::guests::{Guests, Lost};
use crate::limits::Limits;
use crate::meter::{Meter, Metered};
use crate::plugin::{Exports, Plugin};
use crate::report::{CallEnd, Cut, LogLine, RequestSummary, Usage};
use crate::warm::{WarmInstance, WarmPool};

/// What every call shares.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) engine: Engine,
    pub(crate) guests: Arc<Guests>,
}

/// Whom a call goes to.
pub(crate) struct Callee {
    pub(crate) plugin: Arc<Plugin>,
    /// Where its instances are kept, if they are.
    pub(crate) warm: WarmPool,
    /// Whether its last call used more than a tick.
    pub(crate) lasts: AtomicBool,
}

impl Callee {
    pub(crate) fn new(plugin: Arc<Plugin>, warm: WarmPool) -> Self {
        Self { plugin, warm, lasts: AtomicBool::new(false) }
    }
}

/// How a call ended, and what it left behind.
pub(crate) struct Ended<T> {
    pub(crate) result: Result<T, Fault>,
    pub(crate) end: CallEnd,
    pub(crate) usage: Usage,
    pub(crate) said: Said,
}

/// What a guest left to be told.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) log: Vec<LogLine>,
    pub(crate) log_dropped: u32,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) sent: Vec<RequestSummary>,
}

/// A call of one of a guest's exports.
pub(crate) trait GuestCall: Send + 'static {
    /// What the guest answers.
    type Value: Send + 'static;
    /// Whether a warm instance may serve it. A check has one of its own, so that it finds nothing of earlier calls.
    const MAY_BE_WARM: bool = false;

    fn call(
        self,
        instance: Instance,
        exports: Exports,
        store: &mut Store<Guest>,
    ) -> impl Future<Output = wasmtime::Result<Self::Value>> + Send;
}

impl<T> Ended<T> {
    fn given_up(fault: Fault) -> Self {
        Self { result: Err(fault), end: CallEnd::GivenUp, usage: Usage::default(), said: Said::default() }
    }

    fn stopping() -> Self {
        Self::given_up(Fault::new(code::HOST_STOPPING, "the gateway stops, and took the call back"))
    }
}

impl Executor {
    /// Runs `call`, in an instance of its own where the callee keeps none.
    pub(crate) async fn run<C: GuestCall>(&self, of: &Arc<Callee>, parts: Parts, call: C) -> Ended<C::Value> {
        if self.guests.stopping() {
            return Ended::stopping();
        }
        let meter = Meter::new();
        let called = Box::pin(self.clone().run_here(Arc::clone(of), parts, call, Arc::clone(&meter)));
        let ended = self.guests.run(called, &meter, of.lasts.load(Ordering::Relaxed)).await;
        of.lasts.store(meter.lasts(), Ordering::Relaxed);
        ended.unwrap_or_else(|lost| match lost {
            Lost::Stopping => Ended::stopping(),
            Lost::Failed(why) => Ended::given_up(Fault::new(
                code::HOST_INTERNAL,
                format!("the host panicked around the call: {why}"),
            )),
        })
    }

    async fn run_here<C: GuestCall>(
        self,
        of: Arc<Callee>,
        parts: Parts,
        call: C,
        meter: Arc<Meter>,
    ) -> Ended<C::Value> {
        let Some(_slot) = self.guests.slot().await else { return Ended::stopping() };
        let limits = parts.limits;
        let pool = Some(&of.warm).filter(|_| C::MAY_BE_WARM);
        let kept = pool.and_then(|pool| pool.take(limits));
        let mut used = match kept {
            Some(mut warm) => {
                warm.store.data_mut().begin(parts, Arc::clone(&meter));
                Used::Again(warm)
            }
            None => Used::Fresh(self.store(Guest::new(parts, Arc::clone(&meter)))),
        };
        allow(used.store(), limits);
        let began = Instant::now();
        let work = async {
            let instance = used.instance(&of.plugin).await?;
            let value = call.call(instance, of.plugin.exports, used.store()).await?;
            Ok((instance, value))
        };
        let called = tokio::time::timeout(limits.wall, Metered::new(&meter, pin!(work))).await;
        let wall = began.elapsed();
        let guest = used.store().data_mut();
        guest.settle_web();
        let usage = usage(guest, meter.spent(), wall);
        let said = guest.take_said();
        let (result, end) = judged(called, guest, limits);
        // Whatever ended otherwise may have left its instance in the middle of something.
        let result = result.map(|(instance, value)| {
            if let Some(pool) = pool {
                pool.keep(used.warm(instance), limits);
            }
            value
        });
        Ended { result, end, usage, said }
    }

    fn store(&self, guest: Guest) -> Store<Guest> {
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.memory);
        store.epoch_deadline_callback(Guest::tick);
        store
    }
}

/// The instance of a call: its own, or one that was called before.
enum Used {
    Fresh(Store<Guest>),
    Again(WarmInstance),
}

impl Used {
    fn store(&mut self) -> &mut Store<Guest> {
        match self {
            Self::Fresh(store) => store,
            Self::Again(warm) => &mut warm.store,
        }
    }

    async fn instance(&mut self, plugin: &Plugin) -> wasmtime::Result<Instance> {
        match self {
            Self::Fresh(store) => plugin.pre.instantiate_async(store).await,
            Self::Again(warm) => Ok(warm.instance),
        }
    }

    fn warm(self, instance: Instance) -> WarmInstance {
        match self {
            Self::Fresh(store) => WarmInstance::first(store, instance),
            Self::Again(warm) => warm,
        }
    }
}

/// Limits that the store enforces, as at the beginning of each call.
fn allow(store: &mut Store<Guest>, limits: Limits) {
    store.set_epoch_deadline(1);
    store.set_hostcall_fuel(usize::try_from(limits.hostcall_fuel).unwrap_or(usize::MAX));
    store.set_max_component_handles(usize::try_from(limits.handles).unwrap_or(usize::MAX));
}

fn judged<T>(
    called: Result<wasmtime::Result<T>, tokio::time::error::Elapsed>,
    guest: &Guest,
    limits: Limits,
) -> (Result<T, Fault>, CallEnd) {
    match called {
        Ok(Ok(value)) => (Ok(value), CallEnd::Answered),
        Ok(Err(error)) => (Err(fault(&error, guest, limits)), CallEnd::Trapped),
        Err(_) => {
            let late = format!("the call took longer than {:?}", limits.wall);
            (Err(Fault::new(code::PLUGIN_TIMEOUT, late)), CallEnd::TimedOut)
        }
    }
}

fn usage(guest: &Guest, cpu: Duration, wall: Duration) -> Usage {
    Usage {
        cpu,
        wall,
        memory_bytes_peak: guest.memory.peak,
        host_calls: guest.host_calls,
        requests: guest.requests,
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
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        let why = format!("the plugin held more than {} handles", limits.handles);
        return Fault::new(code::PLUGIN_HANDLES, why);
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
