//! Every refusal of the HTTP surface as problem details (RFC 9457), under a stable code of `api::codes`.
//!
//! A sentence in `detail` says what to change. Bounded: a detail quotes at most [`DETAIL_BYTES_MAX`] bytes. Refuses
//! nothing itself.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

pub use super::codes::{Entry, PLACE, TABLE, code, entry};
use crate::intake::Refusal;
use crate::plugins::Refused;

/// Longer details are cut at the last character that fits: they quote what a client sent.
pub const DETAIL_BYTES_MAX: usize = 1_024;

/// The media type of problem details.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A refusal, ready to be sent.
///
/// Boxed, because it travels in every `Result` of the surface and is rare.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: Cow<'static, str>,
    status: StatusCode,
    title: &'static str,
    detail: String,
    pointer: Option<String>,
    retry_after: Option<Duration>,
}

/// The code of a problem, left in the response's extensions for the log line and the metric.
#[derive(Clone, Debug)]
pub(super) struct SentCode {
    pub(super) code: Cow<'static, str>,
    pub(super) pointer: Option<String>,
}

#[derive(Serialize)]
struct Wire<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
}

impl Problem {
    /// A problem of the table, with a sentence that says what to change.
    pub fn new(entry: &'static Entry, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code: Cow::Borrowed(entry.code),
            status: entry.status,
            title: entry.title,
            detail: bounded(detail.into()),
            pointer: None,
            retry_after: None,
        }))
    }

    /// Why an act on plugins or channels was not done, under its own code where the table has it.
    pub(super) fn of_act(refused: &Refused, else_entry: &'static Entry) -> Self {
        let entry = TABLE.iter().find(|entry| entry.code == refused.code).copied();
        Self::new(entry.unwrap_or(else_entry), refused.message.clone())
    }

    /// The same problem, at this JSON pointer (RFC 6901) into the body.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.0.pointer = Some(bounded(pointer.into()));
        self
    }

    /// The same problem, with a `Retry-After` of whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Its sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Where in the body it is.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        self.0.pointer.as_deref()
    }

    fn to_json(&self) -> Vec<u8> {
        let parts = &self.0;
        let wire = Wire {
            r#type: format!("{PLACE}{}", parts.code),
            title: parts.title,
            status: parts.status.as_u16(),
            detail: &parts.detail,
            code: &parts.code,
            pointer: parts.pointer.as_deref(),
        };
        // Strings and a number: this can't fail, and an empty body under the right status is harmless.
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let entry = entry(refusal.code);
        debug_assert!(entry.is_some(), "{} has no line in the table", refusal.code);
        let mut problem = Self::new(entry.unwrap_or(code::INVALID_FIELD), refusal.message);
        problem.0.code = Cow::Borrowed(refusal.code);
        problem.0.pointer = refusal.pointer;
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"fanfare\""));
        }
        if let Some(wait) = self.0.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response.extensions_mut().insert(SentCode { code: self.0.code, pointer: self.0.pointer });
        response
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > DETAIL_BYTES_MAX {
        let end = (0..=DETAIL_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_type_title_status_detail_code_and_pointer() {
        let problem = Problem::new(code::INVALID_FIELD, "say when").at("/send_at");
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        let expected = serde_json::json!({
            "type": "/problems/request.invalid-field", "title": "A field has an invalid value",
            "status": 422, "detail": "say when", "code": "request.invalid-field", "pointer": "/send_at",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn unauthorized_challenges_and_overload_says_when_to_come_back() {
        let response = Problem::new(code::KEY_MISSING, "").into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"fanfare\"");
        let wait = Duration::from_millis(1_200);
        let response = Problem::new(code::OVERLOADED, "").retry_after(wait).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
    }

    #[test]
    fn what_a_client_sent_never_floods_the_detail() {
        let problem = Problem::new(code::INVALID_FIELD, "한".repeat(9_000));
        assert!(problem.detail().len() <= DETAIL_BYTES_MAX + 3);
        assert!(problem.detail().ends_with("한..."));
    }

    #[test]
    fn a_refusal_of_intake_keeps_its_code_and_pointer() {
        let pointer = Some("/to/0/channel".to_owned());
        let refusal = Refusal { code: "channel.unknown", message: "no".to_owned(), pointer };
        let problem = Problem::from(refusal);
        assert_eq!((problem.code(), problem.status().as_u16()), ("channel.unknown", 422));
        assert_eq!(problem.pointer(), Some("/to/0/channel"));
    }
}
