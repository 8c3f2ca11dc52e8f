//! Work that nobody waits for at the moment leaves the cores to the work that somebody does.

/// A tenth of the share that other threads have. While nothing else wants a core, it has all of it.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Lowers the priority of this thread, and of those that it starts. Elsewhere than on Linux the call would lower the whole
/// process's.
pub(crate) fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(error = %error, "priority of a thread not lowered");
    }
}
