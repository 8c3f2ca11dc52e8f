//! A store that nobody serves, held by a tool.

use std::sync::Arc;

use super::super::journal::Segments;
use super::super::lock::DirectoryLock;
use super::super::{EmbeddedOptions, OpenError};

/// Held as long as the tool works.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) segments: Arc<Segments>,
    _lock: DirectoryLock,
}

impl Owned {
    /// Locks what is there; creates nothing where there is no store.
    pub(crate) fn take(options: &EmbeddedOptions) -> Result<Self, OpenError> {
        let journal = options.path.join("journal");
        if !options.files.exists(&journal) {
            return Err(OpenError::Absent { path: options.path.clone() });
        }
        let lock = DirectoryLock::take(&options.path)?;
        Ok(Self { segments: Arc::new(Segments::new(options.files.clone(), journal)), _lock: lock })
    }
}
