//! What a guest prints, for its log: bounded for each call, and never a reason for the guest to fail.
//!
//! A pipe that closes when it is full would make a guest's `println!` panic, and one that lives with a warm instance would
//! fill up over its calls. So this one swallows what is over, counts its lines, and is emptied after each call.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// What a guest prints in one call is kept up to this size.
pub(crate) const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// What is taken at a time.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Standard output and error of one instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Printed {
    inner: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    lines_dropped: u32,
}

impl Printed {
    fn inner(&self) -> MutexGuard<'_, Kept> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was printed since the last time, and how many lines were over.
    pub(crate) fn take(&self) -> (Vec<u8>, u32) {
        let kept = std::mem::take(&mut *self.inner());
        (kept.bytes, kept.lines_dropped)
    }

    fn print(&self, bytes: &[u8]) {
        let mut kept = self.inner();
        let room = OUTPUT_BYTES_MAX.saturating_sub(kept.bytes.len());
        let (fits, over) = bytes.split_at(room.min(bytes.len()));
        kept.bytes.extend_from_slice(fits);
        let lines = over.iter().filter(|byte| **byte == b'\n').count();
        kept.lines_dropped = kept.lines_dropped.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
    }
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl Pollable for Printed {
    fn ready<'life0, 'async_trait>(
        &'life0 mut self,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(std::future::ready(()))
    }
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Printed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.print(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_swallowed_and_its_lines_are_counted() {
        let mut printed = Printed::default();
        let line = Bytes::from("x".repeat(1_023) + "\n");
        for _ in 0..100 {
            assert!(printed.check_write().unwrap() >= line.len(), "a guest that prints is never refused");
            printed.write(line.clone()).unwrap();
        }
        let (bytes, dropped) = printed.take();
        assert_eq!((bytes.len(), dropped), (OUTPUT_BYTES_MAX, 36));
        assert_eq!(printed.take(), (Vec::new(), 0), "each call begins with an empty one");
    }
}
