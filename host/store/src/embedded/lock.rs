//! One process at a time: an exclusive lock on `<path>/LOCK`, with the holder's pid in it.
//!
//! The kernel releases it when the holder dies, however it dies; the file stays and means nothing by itself.

use std::fs;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::OpenError;
use super::journal::is_full;

/// Held as long as the engine is open.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    file: fs::File,
}

impl DirectoryLock {
    pub(crate) fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join("LOCK");
        let io = |source: io::Error| OpenError::Io { path: path.clone(), source };
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(io)?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(io(error.into()));
            }
            let mut text = String::new();
            let read = file.read_to_string(&mut text);
            let pid = read.ok().and_then(|_| text.trim().parse().ok());
            return Err(OpenError::Locked { path: directory.to_owned(), pid });
        }
        let told = file.set_len(0).and_then(|()| file.rewind());
        match told.and_then(|()| writeln!(file, "{}", std::process::id())) {
            // It is locked all the same; the second process is told that there is one, and not which.
            Err(error) if !is_full(&error) => Err(io(error)),
            _ => Ok(Self { file }),
        }
    }
}

impl Drop for DirectoryLock {
    /// Says so instead of only closing the file: a child process that is just being started still has a copy
    /// of it, and the lock would last until its `exec`.
    fn drop(&mut self) {
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(error = %error, "store lock not released; it goes with the process");
        }
    }
}
