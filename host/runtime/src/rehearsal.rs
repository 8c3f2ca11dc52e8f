//! Rehearsals: the same runtime, the same doors, and a script in place of the network.
//!
//! A request goes through parsing, allow-list, secrets and limits as in production; what would then be resolved and
//! connected is handed to the [`Script`], with every secret masked, and its answer goes back through limits and masks.
//! What a rehearsal leaves out is therefore DNS, the address check and TLS. Guests' clocks and chance stand still, so that the same
//! attempt is made in the same way each time.

use std::fmt;

use crate::egress::{Refusal, Response};
use crate::smtp::{Reply, SmtpRefusal};

/// A request that would have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentRequest {
    /// Such as `POST`.
    pub method: String,
    /// As it would be sent.
    pub url: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// A mail that would have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMail {
    /// `host:port`.
    pub server: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// The mail as it would be transmitted.
    pub message: Vec<u8>,
}

/// The outside, as a test writes it. Secrets never reach it.
pub trait Script: Send + Sync + fmt::Debug {
    /// Answers a request.
    ///
    /// # Errors
    /// What the network would have done.
    fn http(&self, request: SentRequest) -> Result<Response, Refusal>;

    /// Answers a mail.
    ///
    /// # Errors
    /// What the network or the server would have done.
    fn mail(&self, mail: SentMail) -> Result<Reply, SmtpRefusal>;
}

#[cfg(test)]
mod tests;
