//! What is wrong with a configuration, where, and what to do: every fault of a file at once.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file, or the built-in default; lines and columns count from 1, columns in characters.
    File {
        /// The file as it was named.
        file: Arc<str>,
        /// The line.
        line: usize,
        /// The character in it.
        column: usize,
    },
    /// The file as a whole.
    WholeFile(Arc<str>),
    /// A variable of the environment.
    Variable(Arc<str>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::WholeFile(file) => f.write_str(file),
            Self::Variable(name) => write!(f, "${name}"),
        }
    }
}

/// One fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Where it is.
    pub place: Place,
    /// The dotted key, such as `channels.ops-hook.retry.jitter`; empty for what concerns no key.
    pub key: String,
    /// What is wrong.
    pub wrong: String,
    /// What to do about it; empty where the fault says it all.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    /// `file:line:column: key: what is wrong; what to do`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.wrong)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Every fault of a configuration, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// One fault alone.
    pub(super) fn one(error: ConfigError) -> Self {
        Self(vec![error])
    }

    /// The faults.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

/// Collects faults while the configuration is read on.
#[derive(Debug, Default)]
pub(super) struct Faults(RefCell<Vec<ConfigError>>);

impl Faults {
    pub(super) fn note(&self, error: ConfigError) {
        self.0.borrow_mut().push(error);
    }

    /// Nothing, if there was no fault.
    pub(super) fn into_result(self) -> Result<(), ConfigErrors> {
        let mut errors = self.0.into_inner();
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort_by(|one, other| one.place.cmp(&other.place));
        errors.dedup();
        Err(ConfigErrors(errors))
    }
}
