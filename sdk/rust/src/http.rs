//! Requests to the outside, through the gateway's egress door, and what their answers mean for a delivery.
//!
//! The host follows no redirect, bounds bodies and count, and puts secrets in. Here is only the building of a request
//! and the reading of a response.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::attempt::Extensions;
use crate::host;
use crate::outcome::{Fault, Receipt, SendError};

/// A request that is being built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Absolute, `http` or `https`.
    pub url: String,
    /// Its headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
    /// At most what is left of the attempt; none means that.
    pub timeout_ms: Option<u64>,
    /// For later hosts.
    pub extensions: Extensions,
    /// Why it can't be sent, kept until it is, so that building needs no error handling.
    broken: Option<String>,
}

impl Request {
    /// A request with this method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self { method: method.into(), url: url.into(), ..Self::default() }
    }

    /// A GET request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A POST request.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// A body as it is; say what it is with [`Request::header`].
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// A JSON body, and its content type unless one is set already.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.body = body,
            Err(error) => self.broken = Some(format!("the body can't be written as JSON: {error}")),
        }
        if self.header_named("content-type").is_none() {
            self = self.header("content-type", "application/json");
        }
        self
    }

    /// Wait no longer than so many milliseconds.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// The first header of this name, if it is text.
    #[must_use]
    pub fn header_named(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Sends it and waits for the answer, whatever its status.
    ///
    /// # Errors
    ///
    /// [`HttpError`] when there is no answer; as a [`SendError`] it says whether that is worth another try.
    pub fn send(self) -> Result<Response, HttpError> {
        match self.broken {
            Some(message) => Err(HttpError::Invalid(message)),
            None => host::http_send(self),
        }
    }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body, 1 MiB at most.
    pub body: Vec<u8>,
    /// What later hosts add.
    pub extensions: Extensions,
}

impl Response {
    /// The first header of this name, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body as text, with what is no UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether the receiver took the request.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A receipt for 2xx; otherwise a fault with code `http-STATUS` and the beginning of the body.
    ///
    /// # Errors
    ///
    /// See [`Response::refused`].
    pub fn receipt(&self) -> Result<Receipt, SendError> {
        if self.is_success() {
            return Ok(Receipt::new().status(self.status));
        }
        let said = self.snippet();
        let colon = if said.is_empty() { "" } else { ": " };
        let message = format!("the receiver answered {}{colon}{said}", self.status);
        Err(self.refused(format!("http-{}", self.status), message))
    }

    /// An error with this code, judged by the status: 408, 425, 429 and 5xx are worth another try, after
    /// `Retry-After` where the receiver gave one; everything else is not.
    pub fn refused(&self, code: impl Into<String>, message: impl Into<String>) -> SendError {
        let fault = Fault::new(code, message).with_status(self.status);
        match (self.is_transient(), self.retry_after_ms()) {
            (false, _) => SendError::Permanent(fault),
            (true, Some(delay_ms)) => SendError::RetryAfter { delay_ms, fault },
            (true, None) => SendError::Transient(fault),
        }
    }

    /// Whether the status says that another try makes sense.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..=599)
    }

    /// `Retry-After` in milliseconds: seconds, or a date, measured from the receiver's own `Date` where it sent one.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        let text = self.header("retry-after")?.trim();
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(seconds.saturating_mul(1_000));
        }
        let until = httpdate::parse_http_date(text).ok()?;
        let now = self.header("date").and_then(|date| httpdate::parse_http_date(date).ok());
        let now = now.unwrap_or_else(|| UNIX_EPOCH + Duration::from_millis(host::now_ms()));
        let delay = until.duration_since(now).unwrap_or_default();
        Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
    }

    /// The beginning of the body on one line, for messages.
    #[must_use]
    pub fn snippet(&self) -> String {
        const CHARS_MAX: usize = 200;
        let text = self.text();
        let line = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
        line.take(CHARS_MAX).collect()
    }
}

/// Why there is no answer. Each carries a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// Not allowed: not granted, a forbidden address, a secret towards an origin it is not for.
    Denied(String),
    /// Not a request that can be sent.
    Invalid(String),
    /// More requests or bytes than an attempt may use.
    Limit(String),
    /// The name was not resolved.
    Dns(String),
    /// The receiver did not take the connection.
    Connect(String),
    /// TLS failed.
    Tls(String),
    /// It took too long.
    Timeout(String),
    /// The connection broke, or the answer was no HTTP.
    Protocol(String),
}

/// What the network did is worth another try; what the gateway refused is not.
impl From<HttpError> for SendError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Denied(message) => Self::permanent("http-denied", message),
            HttpError::Invalid(message) => Self::permanent("http-invalid", message),
            HttpError::Limit(message) => Self::permanent("http-limit", message),
            HttpError::Dns(message) => Self::transient("http-dns", message),
            HttpError::Connect(message) => Self::transient("http-connect", message),
            HttpError::Tls(message) => Self::transient("http-tls", message),
            HttpError::Timeout(message) => Self::transient("http-timeout", message),
            HttpError::Protocol(message) => Self::transient("http-protocol", message),
        }
    }
}

fn header<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    fn response(status: u16, headers: &[(&str, &str)]) -> Response {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        Response { status, headers: headers.iter().map(own).collect(), ..Response::default() }
    }

    #[test]
    fn statuses_are_judged_as_the_design_says() {
        let _host = Host::new();
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(response(status, &[]).receipt(), Err(SendError::Transient(_))), "{status}");
        }
        for status in [301, 302, 304, 400, 401, 404, 410, 422, 600] {
            assert!(matches!(response(status, &[]).receipt(), Err(SendError::Permanent(_))), "{status}");
        }
        for status in [200, 201, 202, 204] {
            assert_eq!(response(status, &[]).receipt(), Ok(Receipt::new().status(status)));
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        let host = Host::new();
        host.set_now_ms(784_111_777_000);
        assert_eq!(response(503, &[("Retry-After", "30")]).retry_after_ms(), Some(30_000));
        let date = ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT");
        assert_eq!(response(503, &[date]).retry_after_ms(), Some(30_000));
        let theirs = ("date", "Sun, 06 Nov 1994 08:50:00 GMT");
        assert_eq!(response(503, &[date, theirs]).retry_after_ms(), Some(7_000));
        let past = ("retry-after", "Sunday, 06-Nov-94 08:00:00 GMT");
        assert_eq!(response(503, &[past]).retry_after_ms(), Some(0));
        for odd in ["soon", "-1", "1.5", ""] {
            assert_eq!(response(503, &[("retry-after", odd)]).retry_after_ms(), None, "{odd}");
        }
        assert_eq!(
            response(503, &[("retry-after", "18446744073709551615")]).retry_after_ms(),
            Some(u64::MAX)
        );
    }

    #[test]
    fn retry_after_counts_only_where_another_try_makes_sense() {
        let _host = Host::new();
        let header = [("retry-after", "5")];
        assert!(matches!(
            response(429, &header).receipt(),
            Err(SendError::RetryAfter { delay_ms: 5_000, .. })
        ));
        assert!(matches!(response(400, &header).receipt(), Err(SendError::Permanent(_))));
    }

    #[test]
    fn a_fault_quotes_the_body_on_one_bounded_line() {
        let body = format!("no\r\n\u{7}{}", "한".repeat(500)).into_bytes();
        let error = Response { status: 400, body, ..Response::default() }.receipt().unwrap_err();
        let message = &error.fault().message;
        assert!(message.starts_with("the receiver answered 400: no   한"));
        assert!(message.chars().count() < 240 && !message.contains('\n'));
    }

    #[test]
    fn a_body_that_is_no_json_fails_when_the_request_is_sent() {
        let host = Host::new();
        let error = Request::post("http://x").json(&crate::Json::new("{")).send().unwrap_err();
        assert!(matches!(error, HttpError::Invalid(_)));
        assert!(host.requests().is_empty());
    }

    #[test]
    fn json_keeps_a_content_type_that_was_set() {
        let request = Request::post("http://x").header("Content-Type", "application/x+json").json(&1);
        assert_eq!(request.header_named("content-type"), Some("application/x+json"));
        assert_eq!(request.headers.len(), 1);
    }
}
