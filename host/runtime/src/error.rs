//! Why a component is not loaded, and why a generation does not serve. Each has a stable code.

/// Why a component is not loaded.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LoadError {
    /// It is not what it should be.
    #[error("{label}: {why}")]
    Invalid {
        /// Its file or name.
        label: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// It is too large.
    #[error("{label}: it has {bytes} bytes, and 64 MiB are allowed; strip its debug information")]
    TooLarge {
        /// Its file or name.
        label: String,
        /// Its size.
        bytes: usize,
    },
    /// It was built for another contract.
    #[error("{label}: it was built for contract {theirs}, and this host serves {ours}; {remedy}")]
    Version {
        /// Its file or name.
        label: String,
        /// What it exports.
        theirs: String,
        /// What is served.
        ours: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It can't be compiled.
    #[error("{label}: it can't be compiled: {why}")]
    Compile {
        /// Its file or name.
        label: String,
        /// What the compiler said.
        why: String,
    },
}

impl LoadError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "plugin.invalid",
            Self::TooLarge { .. } => "plugin.too-large",
            Self::Version { .. } => "plugin.version",
            Self::Compile { .. } => "plugin.compile",
        }
    }
}

/// Why a generation does not serve.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StageError {
    /// The plugin is of the other kind.
    #[error("the plugin {plugin} is a {is}, and a {wanted} is wanted here")]
    WrongKind {
        /// The plugin's name.
        plugin: String,
        /// What it is.
        is: &'static str,
        /// What is wanted.
        wanted: &'static str,
    },
    /// The settings do not fit the plugin's schema.
    #[error("the settings do not fit the plugin {plugin}: {why}")]
    Settings {
        /// The plugin's name.
        plugin: String,
        /// Each fault, with where it is.
        why: String,
    },
    /// The plugin needs what is not granted.
    #[error("the plugin {plugin} needs {needs}, which is not granted; paste {paste} into the section")]
    MissingGrant {
        /// The plugin's name.
        plugin: String,
        /// What it needs.
        needs: String,
        /// The line to paste.
        paste: String,
    },
    /// A secret is missing or was not asked for.
    #[error("{0}")]
    Secret(String),
    /// The imports can't be linked.
    #[error("the plugin {plugin} does not fit this host: {why}")]
    Link {
        /// The plugin's name.
        plugin: String,
        /// What is missing.
        why: String,
    },
    /// The plugin's own check failed.
    #[error("the plugin {plugin} refuses its settings: {message} ({fault})")]
    Check {
        /// The plugin's name.
        plugin: String,
        /// The fault's code.
        fault: String,
        /// The fault's sentence.
        message: String,
    },
}

impl StageError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongKind { .. } => "plugin.kind",
            Self::Settings { .. } => "config.settings",
            Self::MissingGrant { .. } => "config.grant",
            Self::Secret(_) => "config.secret",
            Self::Link { .. } => "plugin.link",
            Self::Check { .. } => "plugin.check",
        }
    }
}
