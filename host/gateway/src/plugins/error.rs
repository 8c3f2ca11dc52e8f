//! Why an act on plugins or channels was not done, by what a person does next.

use fanfare_store::engine::{CommitError, ReadError};
use fanfare_store::plugins::InstallError;

/// A stable code, and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Refused {
    /// The stable code.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
    /// The part of a channel's section that it is about, such as `grants`.
    pub part: Option<&'static str>,
}

impl Refused {
    /// About the whole.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), part: None }
    }
}

/// Why nothing was done.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ActError {
    /// There is no such plugin, channel or generation.
    #[error("{}", .0.message)]
    Absent(Refused),
    /// It stands against what is there now.
    #[error("{}", .0.message)]
    Conflict(Refused),
    /// The plugin, its settings or its grants are not good.
    #[error("{}", .0.message)]
    Refused(Refused),
    /// The store can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store can't be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

impl From<InstallError> for ActError {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::TooLarge(_) => Self::Refused(Refused::new("plugin.too-large", error.to_string())),
            InstallError::Read(error) => Self::Read(error),
            InstallError::Commit(error) => Self::Commit(error),
        }
    }
}
