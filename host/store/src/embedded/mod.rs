//! The embedded engine: a journal, an overlay in memory, and sled as the ordered index.
//!
//! ```text
//! commit -> queue -> committer -> journal (write, fdatasync) -> overlay -> answer
//!                                                    overlay -> indexer -> sled, every few seconds
//! read   -> overlay, else a reader thread: sled, and the journal for larger values
//! ```
//!
//! The journal is the truth: segments of checksummed frames in `<path>/journal`, never written twice. The index in
//! `<path>/index` is derived from it, and a missing or broken one is built again. `<path>/LOCK` keeps a second
//! process out. An acknowledged commit survives the death of the process and of the machine. Segments that are mostly
//! dead are reclaimed in the background.
//!
//! Bounds: [`EmbeddedOptions`] for memory and time; a commit of at most 48 MiB; new work is refused while the disk
//! is short of room.

mod committer;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod decoders;
mod engine;
pub mod files;
mod format;
mod index;
mod indexer;
mod journal;
mod lock;
mod open;
mod overlay;
mod plan;
pub mod progress;
mod queue;
mod readers;
mod reclaim;
mod replay;
mod segment;
mod shared;
mod space;
mod survey;
#[cfg(test)]
pub(crate) mod tests;
mod threads;
pub mod tools;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use engine::EmbeddedEngine;
use files::{Disk, Files};
use progress::{Progress, Quiet};

/// How the engine is opened. [`EmbeddedOptions::new`] fills in what suits a gateway.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The directory; created where it is absent.
    pub path: PathBuf,
    /// The longest time between a commit and its way into the index.
    pub flush_interval: Duration,
    /// So many bytes of journal move the overlay into the index before that.
    pub flush_bytes: u64,
    /// A segment that would grow over this is followed by the next.
    pub segment_bytes: u64,
    /// Values kept in the overlay; beyond it, larger ones are read from the journal.
    pub overlay_value_bytes: usize,
    /// Keys kept in memory at the start while the disk has no room for the index; a store with more does not start then.
    pub unindexed_keys_max: u64,
    /// So much of the journal is read at the start although the index covers it, the newest first: what rotted while nobody
    /// looked stops the start, and is not met by a delivery. `fanfare store check` reads all of it.
    pub verify_bytes: u64,
    /// Threads that read from the disk.
    pub readers: usize,
    /// Free space below which new work is refused, beside what the index has yet to write; by default 5 % of the disk,
    /// 12 MiB to 1 GiB.
    pub reserve_bytes: Option<u64>,
    /// The share of the time, in percent, that reclaiming dead segments may take; 0 turns it off.
    pub reclaim_share_percent: u32,
    /// The file system that the journal is on.
    pub files: Arc<dyn Files>,
    /// Told how far a long reading of the journal is.
    pub progress: Arc<dyn Progress>,
}

impl EmbeddedOptions {
    /// The defaults, in a directory.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            flush_interval: Duration::from_secs(5),
            flush_bytes: 48 << 20,
            segment_bytes: 64 << 20,
            overlay_value_bytes: 16 << 20,
            unindexed_keys_max: 2_000_000,
            verify_bytes: 256 << 20,
            readers: 2,
            reserve_bytes: None,
            reclaim_share_percent: 25,
            files: Arc::new(Disk),
            progress: Arc::new(Quiet),
        }
    }
}

/// Why the store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store at {} is in use by {}; stop that process, or use another `store.path`",
        path.display(), holder(*pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The holder, if it could be read.
        pid: Option<u32>,
    },
    /// There is nothing to look at.
    #[error("there is no store at {}: it has no `journal` directory", path.display())]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// A backup would mix with something else.
    #[error("{} is not empty: name a directory that is absent or empty", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// Acknowledged work is missing or unreadable.
    #[error("the journal is damaged in segment {segment} at offset {offset} ({}); acknowledged work is there or \
        behind it, so nothing was cut: run `fanfare store repair`, or restore the directory", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The segment's name.
        segment: String,
        /// The first byte that can't be read.
        offset: u64,
    },
    /// A newer Fanfare wrote it.
    #[error("{} has format {found}, and this version knows {known}; start the version that wrote it",
        path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// There is no room for the index, and too much for the memory without it.
    #[error("the disk of {} has {free_mib} MiB free, too little for the index, and there are over {keys_max} keys to be \
        kept in memory without it: nothing is lost; free at least {needed_mib} MiB, and start again", path.display())]
    NoRoom {
        /// The store's directory.
        path: PathBuf,
        /// What is free.
        free_mib: u64,
        /// What the index takes.
        needed_mib: u64,
        /// [`EmbeddedOptions::unindexed_keys_max`].
        keys_max: u64,
    },
    /// The index could not be made, not even anew.
    #[error("{reason} (the index at {} can be removed: it is built again from the journal)", path.display())]
    Index {
        /// The index's directory.
        path: PathBuf,
        /// What failed.
        reason: String,
    },
    /// The file system refused.
    #[error("{}: {source}{}", path.display(), remedy(source))]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What to do about an error of the file system, where that is known.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; it must be the property of the user that runs fanfare",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some room on its disk",
        io::ErrorKind::ReadOnlyFilesystem => "; mount its file system so that it can be written",
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            "; something else lies under this name: move it away, then run `fanfare store check`"
        }
        _ => "",
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// What the start found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Frames that the index did not cover.
    pub frames_replayed: u64,
    /// Bytes of an unacknowledged write that were cut.
    pub torn_bytes: u64,
    /// Whether a broken index was moved aside.
    pub index_moved_aside: bool,
}
