//! Gives memory that was freed back to the operating system soon.
//!
//! The allocator keeps what is freed for a second, in case it is wanted again, and looks whether that second is over only
//! when it needs more: a gateway that a burst leaves with nothing to do would keep what the burst needed.

use std::io;
use std::thread;
use std::time::Duration;

/// So often, it costs nothing that can be measured, and what is freed and wanted again at once stays.
const GIVE_BACK_EVERY: Duration = Duration::from_millis(500);

/// Starts the thread that does it, for as long as the process lives. For a binary whose allocator is mimalloc; with
/// another it does nothing.
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
    reason = "a foreign function, which takes no pointer and may be called at any time by any thread"
)]
fn give_back() {
    // SAFETY: it walks the allocator's own lists, under the allocator's own locks.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
