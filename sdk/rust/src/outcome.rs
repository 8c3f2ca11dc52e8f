//! What a plugin answers: a receipt, or a fault and whether trying again makes sense.

use serde::Serialize;

use crate::attempt::Extensions;

/// What the receiver said when it took the message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The receiver's own id for it.
    pub provider_id: Option<String>,
    /// Its status, 2xx for HTTP.
    pub status: Option<u16>,
    /// A remark for people, such as what was shortened.
    pub detail: Option<String>,
    /// For later hosts.
    pub extensions: Extensions,
}

impl Receipt {
    /// Taken, with nothing more to say.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the receiver's own id.
    #[must_use]
    pub fn provider_id(mut self, id: impl Into<String>) -> Self {
        self.provider_id = Some(id.into());
        self
    }

    /// With the receiver's status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// With a remark for people.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// What went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Stable and kebab-case, such as `invalid-payload`. The gateway shows it as `channel.invalid-payload`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The receiver's status, where there was one.
    pub status: Option<u16>,
    /// For later hosts.
    pub extensions: Extensions,
}

impl Fault {
    /// A fault without a status.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), ..Self::default() }
    }

    /// The same fault with the receiver's status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

/// Why an attempt failed, by what the host should do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The receiver asked to be left alone for so long.
    RetryAfter {
        /// How long, in milliseconds.
        delay_ms: u64,
        /// What went wrong.
        fault: Fault,
    },
    /// It may work later: the host's retry policy says when.
    Transient(Fault),
    /// It will never work as it is.
    Permanent(Fault),
}

impl SendError {
    /// It may work later.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Transient(Fault::new(code, message))
    }

    /// It will never work as it is.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Permanent(Fault::new(code, message))
    }

    /// What went wrong.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        match self {
            Self::RetryAfter { fault, .. } | Self::Transient(fault) | Self::Permanent(fault) => fault,
        }
    }
}

/// A fault by itself is permanent: a plugin has to say so when trying again makes sense.
impl From<Fault> for SendError {
    fn from(fault: Fault) -> Self {
        Self::Permanent(fault)
    }
}
