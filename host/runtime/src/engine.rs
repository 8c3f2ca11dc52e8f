//! The one engine of the process: its configuration, shared with the child that compiles, and the thread that
//! advances its epoch.
//!
//! The pool holds more slots than there are permits to run, so a full gateway waits at the permits and an
//! instantiation never fails for want of a slot.

use std::hash::{Hash, Hasher};
use std::thread;
use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, RegallocAlgorithm,
};

use crate::limits::Limits;
use crate::options::StartError;
use crate::warm::IDLE_TOTAL_MAX;

/// The resolution of CPU limits, and how long a guest may run before it makes way for others.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// The same while nothing runs: then nobody waits for a tick, and the machine may sleep.
const IDLE_TICK: Duration = Duration::from_millis(10);
/// Guests overflow here; the rest of the fiber's stack is for host functions that they call.
const WASM_STACK_BYTES: usize = 512 * 1024;
const FIBER_STACK_BYTES: usize = 1024 * 1024;
/// Kept mapped in a freed slot, so that the next instance in it faults less.
const KEEP_RESIDENT_BYTES: usize = 4 * 1024 * 1024;
/// JavaScript and Python components have 9 to 14 core instances and several memories.
const CORE_INSTANCES_PER_COMPONENT: u32 = 32;
const MEMORIES_PER_COMPONENT: u32 = 4;
const TABLES_PER_COMPONENT: u32 = 16;
/// Slots beyond the permits, for instances that are being torn down while the next one starts.
const SPARE_SLOTS: u32 = 8;
const PAGE_BYTES: u64 = 64 * 1024;

/// What decides about compiled code: the same here and in the child that compiles.
fn code_config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        // With RUST_BACKTRACE set, collecting frames costs more than the call that failed.
        .wasm_backtrace_max_frames(None)
        .wasm_component_model(true)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_regalloc_algorithm(RegallocAlgorithm::Backtracking)
        // A router's plan must not depend on the machine that made it.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .memory_init_cow(true);
    config
}

/// An engine that compiles and never runs anything.
pub(crate) fn compiling_engine() -> Result<Engine, StartError> {
    Engine::new(&code_config()).map_err(|error| StartError::Engine(error.to_string()))
}

/// The engine that runs guests, with room for `instances` at a time, each within `ceilings`, and for warm ones that idle.
pub(crate) fn running_engine(instances: u32, ceilings: Limits) -> Result<Engine, StartError> {
    let slots = instances.saturating_add(SPARE_SLOTS).saturating_add(IDLE_TOTAL_MAX);
    let memory_bytes = ceilings.memory_bytes.div_ceil(PAGE_BYTES).saturating_mul(PAGE_BYTES);
    let memory_bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_COMPONENT))
        .total_memories(slots.saturating_mul(MEMORIES_PER_COMPONENT))
        .total_tables(slots.saturating_mul(TABLES_PER_COMPONENT))
        .total_stacks(slots)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_memories_per_module(MEMORIES_PER_COMPONENT)
        .max_tables_per_module(TABLES_PER_COMPONENT)
        .max_memory_size(memory_bytes)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES / 64)
        // Slots warmed by one plugin are reused by it first; this bounds what an idle gateway keeps.
        .max_unused_warm_slots(16)
        .pagemap_scan(Enabled::Auto);
    let mut config = code_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).map_err(|error| StartError::Engine(error.to_string()))
}

/// A name for everything that decides whether compiled code fits: wasmtime's version, flags and the CPU.
pub(crate) fn compatibility(engine: &Engine) -> String {
    // A fixed hasher, because the name must be the same in the next process.
    let mut hasher = Sha256Hasher::default();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.name()
}

/// Starts the thread that advances the epoch; it ends by itself once the engine is gone.
pub(crate) fn start_ticks(
    engine: &Engine,
    busy: impl Fn() -> bool + Send + 'static,
) -> Result<(), StartError> {
    let engine = engine.weak();
    let tick = move || {
        loop {
            thread::sleep(if busy() { TICK } else { IDLE_TICK });
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    };
    let thread = thread::Builder::new().name("fanfare-epoch".to_owned());
    thread.spawn(tick).map(drop).map_err(StartError::Thread)
}

/// The standard library's hasher promises no stable result, so the bytes go through SHA-256.
#[derive(Default)]
struct Sha256Hasher(sha2::Sha256);

impl Sha256Hasher {
    fn name(self) -> String {
        use sha2::Digest as _;
        hex::encode(self.0.finalize()).chars().take(16).collect()
    }
}

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        use sha2::Digest as _;
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
