//! Why a command ended without doing what it was asked: a code, a sentence, a remedy.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use fanfare_pack::BuildError;
use fanfare_runtime::{LoadError, StageError};

/// Exit code of arguments and files that can't be used.
pub(super) const EXIT_USAGE: u8 = 2;

/// A failure that a person can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Failure {
    /// Stable, dotted.
    pub(super) code: String,
    /// What is wrong, and where.
    pub(super) message: String,
    /// What to do; empty where the message says it.
    pub(super) remedy: String,
    /// Whether the arguments are at fault, not the plugin.
    usage: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.remedy) }
    }
}

impl Failure {
    /// The plugin, or the machine, is at fault.
    pub(super) fn new(code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), remedy: remedy.into(), usage: false }
    }

    /// The arguments are at fault.
    pub(super) fn usage(code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(code, message, remedy) }
    }

    /// A file that can't be read or written.
    pub(super) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::usage(
            "file.unusable",
            format!("{}: {error}", path.display()),
            "check the path and its permissions",
        )
    }

    /// For scripts, in the shape of the API's problems.
    pub(super) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "code": self.code, "detail": self.message, "remedy": self.remedy })
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        if self.usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let (code, remedy) = match &error {
            BuildError::Start { .. } => {
                ("build.cargo", "install Rust with https://rustup.rs, so that cargo is found")
            }
            BuildError::Target(_) => ("build.target", ""),
            BuildError::File { .. } => ("build.file", "give the folder of a plugin's project"),
            BuildError::Metadata { .. } => ("build.project", ""),
            BuildError::Failed { command, .. } if command.starts_with("cargo metadata") => (
                "build.project",
                "give the folder of a plugin's project; `fanfare plugin new NAME` makes one",
            ),
            BuildError::Failed { .. } => ("build.failed", "mend what the compiler says"),
            BuildError::NoManifest(_) => ("build.no-manifest", ""),
            BuildError::Pack { .. } => ("build.pack", ""),
        };
        Self::new(code, error.to_string(), remedy)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::new(error.code(), error.to_string(), "")
    }
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        let remedy = match &error {
            StageError::Settings { .. } | StageError::Check { .. } => {
                "give settings that fit with --settings"
            }
            StageError::Secret(_) => "give it with --secret NAME=VALUE",
            _ => "",
        };
        Self::new(error.code(), error.to_string(), remedy)
    }
}
