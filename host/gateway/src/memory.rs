//! Gives memory that was freed back to the operating system soon.
//!
//! The allocator keeps what is freed for a second, in case it is wanted again, and looks whether that second is over only
//! when it needs more: a gateway that a burst leaves with nothing to do would keep what the burst needed. What other threads
//! hold in pages of their own that are not empty, it can't give back.

use std::io;
use std::thread;
use std::time::Duration;

/// Everything that is free goes then, also what will be wanted again: so often, that costs nothing that can be measured.
const GIVE_BACK_EVERY: Duration = Duration::from_millis(500);

/// Starts the thread that does it, for as long as the process lives. For a binary whose allocator is mimalloc; with
/// another it does nothing.
///
/// # Errors
/// When the system gives no thread.
pub fn give_back_regularly() -> io::Result<()> {
    let give_back = || {
        loop {
            thread::sleep(GIVE_BACK_EVERY);
            give_back();
        }
    };
    thread::Builder::new().name("fanfare-memory".to_owned()).spawn(give_back).map(drop)
}

#[allow(
    unsafe_code,
    reason = "foreign functions, which take no pointer and may be called at any time by any thread"
)]
fn give_back() {
    // SAFETY: they touch this thread's own heap, which the first makes where the thread never allocated, and what all
    // threads share by atomic operations alone.
    unsafe {
        libmimalloc_sys::mi_thread_init();
        libmimalloc_sys::mi_collect(true);
    }
}
