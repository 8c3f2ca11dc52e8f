//! Every refusal of the HTTP surface as problem details (RFC 9457), under a stable code.
//!
//! Owns the one table of codes. A code never changes its meaning or its status; a sentence in `detail` says
//! what to change. Bounded: a detail quotes at most [`DETAIL_BYTES_MAX`] bytes. Refuses nothing itself.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::intake::Refusal;
use crate::plugins::Refused;

/// Longer details are cut at the last character that fits: they quote what a client sent.
pub const DETAIL_BYTES_MAX: usize = 1_024;

/// The media type of problem details.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The stable code.
    pub code: &'static str,
    /// The status that goes with it, always.
    pub status: StatusCode,
    /// A short summary, the same each time.
    pub title: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

macro_rules! table {
    ($($name:ident = $code:literal, $status:ident, $title:literal, $remedy:literal;)+) => {
        /// The codes of the HTTP surface, one constant each.
        pub mod code {
            use super::{Entry, StatusCode};
            $(
                #[doc = concat!("`", $code, "`: ", $title, ".")]
                pub const $name: &Entry = &Entry {
                    code: $code, status: StatusCode::$status, title: $title, remedy: $remedy,
                };
            )+
        }

        /// All of them, in the order of their statuses.
        pub const TABLE: &[&Entry] = &[$(code::$name),+];
    };
}

table! {
    INVALID_JSON = "request.invalid-json", BAD_REQUEST, "The body is not JSON",
        "Send one JSON value in UTF-8; the detail names line and column.";
    BAD_QUERY = "request.bad-query", BAD_REQUEST, "The query string can't be understood",
        "Use the parameters that the detail lists, each at most once, with a value of the named form.";
    BAD_CURSOR = "request.bad-cursor", BAD_REQUEST, "The cursor is not one of ours",
        "Pass next_cursor of the previous page unchanged, or leave cursor away to begin anew.";
    BAD_HEADER = "request.bad-header", BAD_REQUEST, "A header can't be understood",
        "Correct or leave away the header that the detail names.";
    BAD_ID = "request.bad-id", BAD_REQUEST, "The id in the path is not one of ours",
        "Use the id exactly as the gateway gave it.";
    UNEXPECTED_BODY = "request.unexpected-body", BAD_REQUEST, "This call takes no body",
        "Put filters into the query string and send no body.";
    BAD_BODY = "request.incomplete", BAD_REQUEST, "The body ended early",
        "Send as many bytes as content-length says.";
    KEY_MISSING = "access.key-missing", UNAUTHORIZED, "An API key is needed",
        "Send `Authorization: Bearer KEY` with a key from [[keys]] of the configuration.";
    KEY_UNKNOWN = "access.key-unknown", UNAUTHORIZED, "The API key is not known",
        "Check the key; its sha256 has to stand in [[keys]] of the configuration.";
    SCOPE = "access.scope", FORBIDDEN, "The API key lacks a scope",
        "Use a key with the named scope, or add the scope to this key in the configuration.";
    ORIGIN = "access.origin", FORBIDDEN, "Requests from web pages are refused",
        "Without API keys no request may carry an Origin header; configure [[keys]] to serve browsers.";
    NOT_FOUND = "route.unknown", NOT_FOUND, "There is nothing at this path",
        "See the README for the paths; they begin with /api/v1/.";
    NOTIFICATION_UNKNOWN = "notification.unknown", NOT_FOUND, "There is no such notification",
        "Check the id; histories are removed after their time.";
    DELIVERY_UNKNOWN = "delivery.unknown", NOT_FOUND, "There is no such delivery",
        "Check the id: the notification's id, a dash and a number.";
    PLUGIN_UNKNOWN = "plugin.unknown", NOT_FOUND, "There is no such plugin",
        "List them with `fanfare plugin list`, or install one.";
    CHANNEL_ABSENT = "channel.absent", NOT_FOUND, "The channel is not configured",
        "Add its section to the configuration and reload it.";
    METHOD = "route.method", METHOD_NOT_ALLOWED, "The path does not take this method",
        "Use one of the methods in the Allow header.";
    READ_TIMEOUT = "request.timeout", REQUEST_TIMEOUT, "The body took too long",
        "Send the whole body within server.read_timeout.";
    IN_FLIGHT = "idempotency.in-flight", CONFLICT, "The first request with this key is still under way",
        "Wait for its answer, then repeat the request.";
    ENDED = "notification.ended", CONFLICT, "The notification has ended already",
        "There is nothing left to cancel.";
    NOT_DEAD = "dlq.not-dead", CONFLICT, "The delivery is not a dead letter",
        "List the dead letters; it may have been sent again or discarded already.";
    PLUGIN_APPROVAL = "plugin.approval", CONFLICT, "The plugin asks for more than was approved",
        "Look at what it asks for, and approve it with the activation.";
    PLUGIN_IN_USE = "plugin.in-use", CONFLICT, "The plugin is needed",
        "Activate another plugin where it is needed first.";
    CHANNEL_SUSPENDED = "channel.suspended", CONFLICT, "The channel is suspended",
        "Resume it, or activate another plugin without a canary.";
    NO_ROLLBACK = "channel.no-rollback", CONFLICT, "There is no generation to go back to",
        "Activate the plugin that is wanted.";
    TOO_LARGE = "request.too-large", PAYLOAD_TOO_LARGE, "The request is too large",
        "Stay inside the limit that the detail names.";
    MEDIA = "request.media-type", UNSUPPORTED_MEDIA_TYPE, "The body has to be JSON",
        "Send `content-type: application/json`.";
    HOST = "access.host", MISDIRECTED_REQUEST, "Without API keys only loopback hosts are answered",
        "Use http://127.0.0.1 or http://localhost, or configure [[keys]].";
    INVALID_FIELD = "request.invalid-field", UNPROCESSABLE_ENTITY, "A field has an invalid value",
        "Correct the field at the pointer.";
    UNKNOWN_FIELD = "request.unknown-field", UNPROCESSABLE_ENTITY, "A field is not known",
        "Take the field at the pointer away or correct its name; your own facts go into data or metadata.";
    EMPTY_BATCH = "request.empty-batch", UNPROCESSABLE_ENTITY, "The batch is empty",
        "Send an array of 1 to 1,000 notifications.";
    CHANNEL_UNKNOWN = "channel.unknown", UNPROCESSABLE_ENTITY, "No such channel is configured",
        "Name a channel from [channels] of the configuration.";
    USER_UNKNOWN = "user.unknown", UNPROCESSABLE_ENTITY, "No such user is configured",
        "Name a user from [users] of the configuration.";
    KEY_REUSED = "idempotency.mismatch", UNPROCESSABLE_ENTITY, "The idempotency key was used with another body",
        "Use a new key for a new request.";
    PLUGIN_INVALID = "plugin.invalid", UNPROCESSABLE_ENTITY, "The component is no plugin that this host serves",
        "Build it with the SDK, and try it with `fanfare plugin check`.";
    PLUGIN_TOO_LARGE = "plugin.too-large", UNPROCESSABLE_ENTITY, "The component is too large",
        "Strip its debug information: 64 MiB are allowed.";
    PLUGIN_VERSION = "plugin.version", UNPROCESSABLE_ENTITY, "The plugin was built for another contract",
        "Build it with a matching SDK, or start a matching Fanfare.";
    PLUGIN_COMPILE = "plugin.compile", UNPROCESSABLE_ENTITY, "The component can't be compiled",
        "Try it with `fanfare plugin check`.";
    PLUGIN_KIND = "plugin.kind", UNPROCESSABLE_ENTITY, "The plugin is of the other kind",
        "Name a channel plugin.";
    PLUGIN_LINK = "plugin.link", UNPROCESSABLE_ENTITY, "The plugin does not fit this host",
        "Build it against the contract that this host serves.";
    PLUGIN_CHECK = "plugin.check", UNPROCESSABLE_ENTITY, "The plugin refuses its settings",
        "Correct the settings that the detail names.";
    PLUGIN_UNREADABLE = "plugin.unreadable", UNPROCESSABLE_ENTITY, "The component can't be read",
        "Install it again.";
    BAD_SETTINGS = "config.settings", UNPROCESSABLE_ENTITY, "The settings do not fit the plugin",
        "Correct the settings that the detail names.";
    BAD_GRANT = "config.grant", UNPROCESSABLE_ENTITY, "A grant is missing or can't be read",
        "Grant what the plugin needs, in the configuration or with the activation.";
    BAD_SECRET = "config.secret", UNPROCESSABLE_ENTITY, "A secret is missing or too many",
        "Name the secrets that the plugin asks for, by a reference of the configuration.";
    PANIC = "server.panic", INTERNAL_SERVER_ERROR, "The gateway made a mistake",
        "The log has the details; please report it. The request may or may not have been accepted.";
    INTERNAL = "server.internal", INTERNAL_SERVER_ERROR, "The gateway can't read its store",
        "The log has the details.";
    OVERLOADED = "server.overloaded", SERVICE_UNAVAILABLE, "The gateway has more work than it can take",
        "Repeat the request after the time in Retry-After.";
    STORE_FAILED = "store.failed", SERVICE_UNAVAILABLE, "The store refuses to write",
        "The log has the details; nothing was accepted. Repeat the request later.";
    SHUTTING_DOWN = "server.shutting-down", SERVICE_UNAVAILABLE, "The gateway is stopping",
        "Repeat the request after the time in Retry-After.";
    STORE_FULL = "store.full", INSUFFICIENT_STORAGE, "The disk is full",
        "Make room on the disk of store.path; the gateway goes on by itself.";
}

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
            r#type: format!("/problems/{}", parts.code),
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
        let entry = TABLE.iter().find(|entry| entry.code == refusal.code).copied();
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
    fn codes_are_unique_and_in_the_order_of_their_statuses() {
        let mut codes: Vec<_> = TABLE.iter().map(|entry| entry.code).collect();
        assert!(TABLE.is_sorted_by_key(|entry| entry.status));
        assert!(TABLE.iter().all(|entry| entry.remedy.ends_with('.') && !entry.title.ends_with('.')));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), TABLE.len());
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
