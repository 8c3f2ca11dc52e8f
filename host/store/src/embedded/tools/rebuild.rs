//! `fanfare store rebuild`: the index, made again from the journal.

use std::path::PathBuf;

use serde::Serialize;

use super::super::index::bring_home;
use super::super::shared::io_at;
use super::super::{EmbeddedEngine, EmbeddedOptions, OpenError};
use super::owner::Owned;
use crate::engine::CommitError;

/// What a rebuilding did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RebuildReport {
    /// The directory.
    pub path: PathBuf,
    /// Frames of the journal that were read.
    pub frames: u64,
}

/// Removes the index of a store that nobody serves, and builds it anew.
///
/// # Errors
/// When the store is in use or not there, and what a start can meet: a damaged journal gives no index.
pub fn rebuild(options: &EmbeddedOptions) -> Result<RebuildReport, OpenError> {
    let owned = Owned::take(options)?;
    let index = options.path.join("index");
    bring_home(&index).map_err(io_at(&index))?;
    options.files.remove(&index).map_err(io_at(&index))?;
    drop(owned);
    let engine = EmbeddedEngine::open(options.clone())?;
    let frames = engine.recovery().frames_replayed;
    close(&engine, options)?;
    Ok(RebuildReport { path: options.path.clone(), frames })
}

/// Closes an engine that a tool opened; a failure to write the index out is a failure of the tool.
pub(crate) fn close(engine: &EmbeddedEngine, options: &EmbeddedOptions) -> Result<(), OpenError> {
    engine.parts.shut_down().map_err(|error: CommitError| OpenError::Index {
        path: options.path.join("index"),
        reason: error.to_string(),
    })
}
