//! `webhook`: the notification as JSON, signed by Standard Webhooks (standardwebhooks.com, specification 1.0).
//!
//! The id in body and header is the delivery's, the same in every attempt, so that a receiver can drop duplicates; the
//! timestamp is the attempt's, so that a late retry is no replay. Without a secret named `signing` nothing is signed.

use std::collections::BTreeMap;

use fanfare_sdk::crypto::{CryptoError, Hash, KeyFormat};
use fanfare_sdk::prelude::*;

/// The secret that signs; `whsec_` and base64.
const SECRET: &str = "signing";

/// Headers that this plugin or the connection itself decides.
const RESERVED: [&str; 7] = [
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Webhook {
    /// Where notifications are posted.
    url: String,
    #[serde(default)]
    method: Method,
    /// Further headers; a value may be a `${secret:NAME}`.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body is JSON whatever this says.
    #[serde(default = "json_type")]
    content_type: String,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Post,
    Put,
    Patch,
}

fn json_type() -> String {
    "application/json".to_owned()
}

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    r#type: &'a str,
    timestamp: String,
    title: &'a Option<String>,
    body: &'a Option<String>,
    data: &'a Json,
    priority: Priority,
    metadata: &'a Json,
}

impl Channel for Webhook {
    fn send(&self, attempt: &Attempt) -> Result<Receipt, SendError> {
        let mut request = Request::new(self.method.as_str(), attempt.address_or(&self.url))
            .header("content-type", &self.content_type)
            .header("user-agent", concat!("fanfare-webhook/", env!("CARGO_PKG_VERSION")))
            .json(&body(attempt));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(traceparent) = &attempt.traceparent {
            request = request.header("traceparent", traceparent);
        }
        signed(request, attempt)?.send()?.receipt()
    }

    fn check(&self) -> Result<(), Fault> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        for (name, value) in &self.headers {
            if name.is_empty() || !name.chars().all(token) {
                return Err(Fault::new("bad-header", format!("headers: {name:?} is no header name")));
            }
            if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(Fault::new("bad-header", format!("headers: {name} is set by the plugin itself")));
            }
            if value.contains(['\r', '\n', '\0']) {
                return Err(Fault::new(
                    "bad-header",
                    format!("headers: {name} has a line break in its value"),
                ));
            }
        }
        if self.content_type.is_empty() || self.content_type.contains(char::is_control) {
            return Err(Fault::new("bad-content-type", "content_type: not a media type"));
        }
        Ok(())
    }
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

fn body(attempt: &Attempt) -> Body<'_> {
    let notification = &attempt.notification;
    Body {
        id: &attempt.delivery_id,
        r#type: &notification.event_type,
        timestamp: fanfare_sdk::time::rfc3339(notification.created_at_ms),
        title: &notification.title,
        body: &notification.body,
        data: &notification.data,
        priority: notification.priority,
        metadata: &notification.metadata,
    }
}

/// Adds the three headers of the standard; the last only where there is a secret.
fn signed(request: Request, attempt: &Attempt) -> Result<Request, SendError> {
    let timestamp = (attempt.now_ms / 1_000).to_string();
    let mut content = format!("{}.{timestamp}.", attempt.delivery_id).into_bytes();
    content.extend_from_slice(&request.body);
    let request = request.header("webhook-id", &attempt.delivery_id).header("webhook-timestamp", timestamp);
    match crypto::hmac(SECRET, KeyFormat::StandardWebhooks, Hash::Sha256, &content) {
        Ok(mac) => {
            Ok(request.header("webhook-signature", format!("v1,{}", fanfare_sdk::encode::base64(&mac))))
        }
        Err(CryptoError::NoSecret(_)) => Ok(request),
        Err(error) => Err(error.into()),
    }
}

fanfare_sdk::channel!(Webhook { http: ["{settings.url}"], secrets: [SECRET] });

#[cfg(test)]
mod tests;
