//! Telling whoever waits how far a long reading of the journal is.

use std::fmt::Debug;
use std::io;

/// Told about one piece of work at a time, from the thread that does it; it must return at once.
pub trait Progress: Send + Sync + Debug {
    /// The work begins, and will read so many bytes.
    fn begin(&self, what: &'static str, bytes_total: u64);
    /// So many bytes of them are read.
    fn reached(&self, bytes: u64);
    /// It ended, well or not.
    fn end(&self);
    /// Whether whoever waits for it went away, so that it should stop; asked between two small steps.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: &'static str, _: u64) {}
    fn reached(&self, _: u64) {}
    fn end(&self) {}
}

/// One piece of work; ends with its value.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    progress: &'a dyn Progress,
    bytes: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn begin(progress: &'a dyn Progress, what: &'static str, bytes_total: u64) -> Self {
        progress.begin(what, bytes_total);
        Self { progress, bytes: 0 }
    }

    pub(crate) fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.progress.reached(self.bytes);
    }

    /// # Errors
    /// `Interrupted`, when nobody waits for it any more.
    pub(crate) fn go_on(&self) -> io::Result<()> {
        if self.progress.is_cancelled() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.progress.end();
    }
}
