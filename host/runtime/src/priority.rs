//! Work that takes long leaves the cores to work that does not.

/// A tenth of the share that other threads have. While nothing else wants a core, it has all of it.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

/// Lowers the priority of this thread. Elsewhere than on Linux the call would lower the whole process's.
pub(crate) fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::debug!(error = %error, "priority of a thread not lowered");
    }
}
