//! Mail through a server that the operator granted. The host encodes, connects and authenticates.

use crate::attempt::{Attachment, Extensions};
use crate::host;
use crate::outcome::{Fault, Receipt, SendError};

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Plain at first, then TLS, or nothing is sent.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None.
    None,
}

/// Where mail is handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// A name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub encryption: Encryption,
    /// Whom to log in as.
    pub username: Option<String>,
    /// The name of the secret that holds the password.
    pub password_secret: Option<String>,
}

/// An address and the name before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// The name, in any script.
    pub name: Option<String>,
    /// The address.
    pub address: String,
}

/// One mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it is handed in.
    pub server: Server,
    /// Who sends it.
    pub sender: Mailbox,
    /// Who receives it.
    pub to: Vec<Mailbox>,
    /// Where answers go.
    pub reply_to: Option<Mailbox>,
    /// The subject, in any script.
    pub subject: String,
    /// Without angle brackets; the same in every attempt.
    pub message_id: String,
    /// The text part.
    pub text: Option<String>,
    /// The HTML part.
    pub html: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Files.
    pub attachments: Vec<Attachment>,
    /// For later hosts.
    pub extensions: Extensions,
}

/// What the server answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Its code, 2xx for good.
    pub code: u16,
    /// Its text.
    pub text: String,
}

impl Reply {
    /// The beginning of its text on one line, for messages.
    #[must_use]
    pub fn snippet(&self) -> String {
        const CHARS_MAX: usize = 200;
        let line = self.text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
        line.take(CHARS_MAX).collect()
    }
}

/// Why a mail was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmtpError {
    /// Not allowed: not granted, or a forbidden address.
    Denied(String),
    /// Not a mail that can be sent.
    Invalid(String),
    /// More than an attempt may use.
    Limit(String),
    /// The server's name was not resolved.
    Dns(String),
    /// The server did not take the connection.
    Connect(String),
    /// TLS failed.
    Tls(String),
    /// It took too long.
    Timeout(String),
    /// The server answered 4xx or 5xx.
    Refused(Reply),
    /// The connection broke, or the answer was no SMTP.
    Protocol(String),
}

/// Hands one mail to its server.
///
/// # Errors
///
/// See [`SmtpError`]; as a [`SendError`] it says what is worth another try.
pub fn send(message: Message) -> Result<Reply, SmtpError> {
    host::smtp_send(message)
}

impl From<Reply> for Receipt {
    fn from(reply: Reply) -> Self {
        Self::new().status(reply.code).detail(reply.snippet())
    }
}

/// A 4xx reply and whatever the network did are worth another try (RFC 5321, 4.2.1); the rest is not.
impl From<SmtpError> for SendError {
    fn from(error: SmtpError) -> Self {
        match error {
            SmtpError::Denied(message) => Self::permanent("smtp-denied", message),
            SmtpError::Invalid(message) => Self::permanent("smtp-invalid", message),
            SmtpError::Limit(message) => Self::permanent("smtp-limit", message),
            SmtpError::Dns(message) => Self::transient("smtp-dns", message),
            SmtpError::Connect(message) => Self::transient("smtp-connect", message),
            SmtpError::Tls(message) => Self::transient("smtp-tls", message),
            SmtpError::Timeout(message) => Self::transient("smtp-timeout", message),
            SmtpError::Protocol(message) => Self::transient("smtp-protocol", message),
            SmtpError::Refused(reply) => refused(&reply),
        }
    }
}

fn refused(reply: &Reply) -> SendError {
    let message = format!("the mail server answered {} {}", reply.code, reply.snippet());
    let fault = Fault::new(format!("smtp-{}", reply.code), message).with_status(reply.code);
    if (400..500).contains(&reply.code) { SendError::Transient(fault) } else { SendError::Permanent(fault) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_4xx_reply_is_transient_and_a_5xx_reply_permanent() {
        let of = |code| SendError::from(SmtpError::Refused(Reply { code, text: "no".to_owned() }));
        assert!(matches!(of(421), SendError::Transient(fault) if fault.code == "smtp-421"));
        assert!(matches!(of(550), SendError::Permanent(fault) if fault.status == Some(550)));
    }

    #[test]
    fn a_long_reply_is_quoted_on_one_bounded_line() {
        let reply = Reply { code: 550, text: format!("no\r\n{}", "한".repeat(500)) };
        let error = SendError::from(SmtpError::Refused(reply.clone()));
        let message = &error.fault().message;
        assert!(message.starts_with("the mail server answered 550 no  한"), "{message}");
        assert!(message.chars().count() < 240);
        assert_eq!(Receipt::from(reply).detail.map(|detail| detail.chars().count()), Some(200));
    }

    #[test]
    fn a_broken_connection_is_transient_and_a_refusal_by_the_gateway_is_not() {
        assert!(matches!(SmtpError::Connect(String::new()).into(), SendError::Transient(_)));
        assert!(matches!(SmtpError::Denied(String::new()).into(), SendError::Permanent(_)));
    }
}
