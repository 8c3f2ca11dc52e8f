//! Why a request did not go out or brought nothing back: a stable code, and a sentence a person can act on.

use std::net::IpAddr;

use super::address::AddressClass;

/// Why nothing came back. The sentences never hold a secret's value, nor a URL's path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not allowed.
    #[error(transparent)]
    Denied(Denial),
    /// It is no request that can be sent.
    #[error("{0}")]
    Invalid(String),
    /// More bytes than an attempt may send or take.
    #[error("{0}")]
    Limit(String),
    /// The name has no address.
    #[error("{0}")]
    Dns(String),
    /// Nobody answered at the address.
    #[error("{0}")]
    Connect(String),
    /// No trusted connection came about.
    #[error("{0}")]
    Tls(String),
    /// It took too long.
    #[error("{0}")]
    Timeout(String),
    /// The connection broke, or the answer was no HTTP.
    #[error("{0}")]
    Protocol(String),
}

impl Refusal {
    /// Whether the request was on its way when it failed; one whose body `fits` is only over a limit by its response.
    pub(crate) fn has_left(&self, fits: bool) -> bool {
        match self {
            Self::Timeout(_) | Self::Protocol(_) => true,
            Self::Limit(_) => fits,
            Self::Denied(_) | Self::Invalid(_) | Self::Dns(_) | Self::Connect(_) | Self::Tls(_) => false,
        }
    }

    /// The stable code, the same in API, log, metric and docs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.code(),
            Self::Invalid(_) => "egress.invalid",
            Self::Limit(_) => "egress.limit",
            Self::Dns(_) => "egress.dns",
            Self::Connect(_) => "egress.connect",
            Self::Tls(_) => "egress.tls",
            Self::Timeout(_) => "egress.timeout",
            Self::Protocol(_) => "egress.protocol",
        }
    }
}

/// What is not allowed about it. `line` is the configuration that would allow it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The place is not granted.
    #[error("{place} is not granted to this channel; to allow it, put into the channel's section: {line}")]
    NotGranted {
        /// The origin or mail server.
        place: String,
        /// What to paste.
        line: String,
    },
    /// The place is granted and leads to an address that is not.
    #[error(
        "{place} resolves to {address}, {class}, which a name may not reach; to allow it, put into the channel's section: {line}"
    )]
    Address {
        /// The origin or mail server.
        place: String,
        /// What it resolved to.
        address: IpAddr,
        /// What that is.
        class: AddressClass,
        /// What to paste.
        line: String,
    },
    /// The secret is not for this place.
    #[error(
        "the secret {secret:?} is not for {place}: a secret goes only to origins granted by name; to allow it, put into the channel's section: {line}"
    )]
    SecretElsewhere {
        /// The secret's name.
        secret: String,
        /// The origin.
        place: String,
        /// What to paste.
        line: String,
    },
    /// The secret is bound to origins of its own, and this is none of them.
    #[error("the secret {secret:?} is bound to {bound} and is not put into a request to {place}")]
    SecretBound {
        /// The secret's name.
        secret: String,
        /// The origin.
        place: String,
        /// The origins it is for.
        bound: String,
    },
    /// The plugin did not ask to have secrets put into bodies.
    #[error(
        "the secret {0:?} stands in the request's body, and this plugin's manifest does not ask for secrets there; use it in the URL or a header"
    )]
    SecretInBody(String),
    /// A password would be readable on the way.
    #[error(
        "the password for {place} would cross the network in clear; set encryption to \"starttls\" or \"tls\""
    )]
    PasswordInClear {
        /// The mail server.
        place: String,
    },
}

impl Denial {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotGranted { .. } => "egress.denied",
            Self::Address { .. } => "egress.private-address",
            Self::SecretElsewhere { .. } | Self::SecretBound { .. } => "egress.secret-origin",
            Self::SecretInBody(_) => "egress.secret-in-body",
            Self::PasswordInClear { .. } => "egress.clear-password",
        }
    }
}
