//! The engine's threads: a panic in one of them ends in a failure that everyone is told of, and nobody waits for it.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use fanfare_model::text::of_panic;

use super::indexer::Indexer;
use super::queue::Queue;
use super::shared::Shared;

/// Who must be told when a thread is no more.
#[derive(Clone)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    indexer: Arc<Indexer>,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>, queue: Arc<Queue>, indexer: Arc<Indexer>) -> Self {
        Self { shared, queue, indexer }
    }

    /// Runs `work` on a thread of its own.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        work: Box<dyn FnOnce() + Send>,
    ) -> io::Result<JoinHandle<()>> {
        let watch = self.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                watch.fell(name, &*panic);
            }
        })
    }

    /// The same for work that nobody waits for: where the cores are the limit, it leaves them to commits. Who must wait
    /// for it after all, because it is far behind, leaves them to it.
    pub(crate) fn spawn_in_background(
        &self,
        name: &'static str,
        work: Box<dyn FnOnce() + Send>,
    ) -> io::Result<JoinHandle<()>> {
        self.spawn(
            name,
            Box::new(move || {
                step_back();
                work();
            }),
        )
    }

    /// Nothing is written any more; commits that wait get their answer, and those that come find none who takes them.
    fn fell(&self, name: &str, panic: &(dyn Any + Send)) {
        let why = format!("its thread {name} panicked ({}); start it again", of_panic(panic));
        self.shared.health.fail(why);
        self.indexer.end();
        self.queue.abandon();
    }
}

/// A tenth of the share that other threads have. Without it a flush of the index holds a core for 50 ms, commits queue
/// behind it, and their p99 at half the full rate is half as much again with 256 writers on two cores.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

/// Lowers the priority of this thread. Elsewhere than on Linux the call would lower the whole process's.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::debug!(error = %error, "priority of a background thread not lowered");
    }
}
