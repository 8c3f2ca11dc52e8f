//! Mail through a granted server: the grant on host and port, the address check of HTTP, then lettre's SMTP.
//!
//! The connection goes to the very address that was checked, while TLS verifies the name. `STARTTLS` is
//! required where it is asked for, never opportunistic, and a password never crosses a network in clear.
//! Bounds: message bytes, recipients, idle connections, time around the whole exchange.
//!
//! Connections are pooled here and not by lettre: its pool takes back a connection whose exchange was given up
//! halfway, and the next message would read the answers to the last one.

mod mailer;
mod message;
mod pool;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use mailer::{Mailer, MailerOptions};

use crate::egress::{Denial, Grants};
use crate::secrets::{AttemptSecrets, Secret};

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encryption {
    /// Plain first, then TLS by `STARTTLS`; without it nothing is sent.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None.
    None,
}

/// A mail server, and who we are there.
#[derive(Clone, Debug)]
pub struct Server {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the connection is protected.
    pub encryption: Encryption,
    /// The account; may hold a secret's marker.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
}

/// A name and an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Shown to people.
    pub name: Option<String>,
    /// Such as `alice@example.org`; its domain may be in any script.
    pub address: String,
}

/// A file that goes with a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Shown to people.
    pub name: String,
    /// Such as `application/pdf`.
    pub content_type: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// One mail.
#[derive(Clone, Debug)]
pub struct Message {
    /// Through which server.
    pub server: Server,
    /// From whom.
    pub sender: Mailbox,
    /// To whom; at least one.
    pub to: Vec<Mailbox>,
    /// Where answers go.
    pub reply_to: Option<Mailbox>,
    /// The subject, in any script.
    pub subject: String,
    /// Without angle brackets; the same in every attempt.
    pub message_id: String,
    /// The plain part.
    pub text: Option<String>,
    /// The HTML part.
    pub html: Option<String>,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
    /// Files.
    pub attachments: Vec<Attachment>,
}

/// On whose behalf a mail goes out.
#[derive(Clone)]
pub struct SmtpContext {
    /// The channel's grants.
    pub grants: Arc<Grants>,
    /// The attempt's secrets.
    pub secrets: Arc<AttemptSecrets>,
    /// For everything: resolving, connecting, greeting and sending.
    pub timeout: Duration,
}

/// What the server answered to the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its three digits.
    pub code: u16,
    /// Its text, lines joined.
    pub text: String,
}

/// Why a mail was not taken. The sentences never hold a secret's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmtpRefusal {
    /// It is not allowed.
    #[error(transparent)]
    Denied(Denial),
    /// It is no mail that can be sent.
    #[error("{0}")]
    Invalid(String),
    /// It is larger than allowed.
    #[error("{0}")]
    Limit(String),
    /// The server's name has no address.
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
    /// The server answered 4xx or 5xx.
    #[error("the mail server refused: {} {}", .0.code, .0.text)]
    Refused(Reply),
    /// The connection broke, or the server does not speak SMTP as this mail needs it.
    #[error("{0}")]
    Protocol(String),
}

impl SmtpRefusal {
    /// The stable code, the same in API, log, metric and docs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.code(),
            Self::Invalid(_) => "smtp.invalid",
            Self::Limit(_) => "smtp.limit",
            Self::Dns(_) => "smtp.dns",
            Self::Connect(_) => "smtp.connect",
            Self::Tls(_) => "smtp.tls",
            Self::Timeout(_) => "smtp.timeout",
            Self::Refused(_) => "smtp.refused",
            Self::Protocol(_) => "smtp.protocol",
        }
    }
}
