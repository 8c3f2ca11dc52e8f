//! How one attempt ended, as the runtime reports it to dispatch.

use std::time::Duration;

use crate::fault::Fault;

/// What a channel says of a delivery that the receiver took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The receiver's own id for the message.
    pub provider_id: Option<String>,
    /// The receiver's status, 2xx for HTTP.
    pub status: Option<u16>,
    /// A remark for people, such as what was shortened.
    pub detail: Option<String>,
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it.
    Delivered(Receipt),
    /// It may work later: a busy receiver, a network fault, a timeout, a trap.
    Transient {
        /// What went wrong.
        fault: Fault,
        /// The receiver asked to be left alone for so long; a floor for the next attempt.
        retry_after: Option<Duration>,
    },
    /// It will never work as it is.
    Permanent(Fault),
}

impl Outcome {
    /// The fault, unless it was delivered.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Delivered(_) => None,
            Self::Transient { fault, .. } | Self::Permanent(fault) => Some(fault),
        }
    }

    /// A bounded word for metrics and logs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Transient { .. } => "transient",
            Self::Permanent(_) => "permanent",
        }
    }
}

/// Whether an HTTP status is worth another try: 408, 425, 429 and every 5xx. (DESIGN, "Retry", fixed.)
#[must_use]
pub fn status_is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}
