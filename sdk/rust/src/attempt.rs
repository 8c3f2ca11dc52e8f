//! What a plugin is given: the notification, who receives it, and the attempt it is part of.

use serde::ser::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Names and values that later hosts may add; unknown names are to be ignored.
pub type Extensions = Vec<(String, String)>;

/// How urgent a notification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before everything else.
    Critical,
    /// Before normal.
    High,
    /// What a notification has when it says nothing.
    #[default]
    Normal,
    /// When nothing more urgent waits.
    Low,
}

impl Priority {
    /// Its word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// JSON text as the submitter wrote it. Serialising it splices the text; only [`Json::parse`] reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(String);

impl Json {
    /// Takes JSON text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its value; null where the text is no JSON, which the host never hands out.
    #[must_use]
    pub fn parse(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl Default for Json {
    fn default() -> Self {
        Self::new("{}")
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// A file that goes with a notification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// Its file name.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// What later hosts add.
    pub extensions: Extensions,
}

/// What a client submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Notification {
    /// The same in every attempt.
    pub id: String,
    /// A dotted event type, such as `payment.failed`.
    pub event_type: String,
    /// When it was accepted, in milliseconds since 1970-01-01T00:00:00Z.
    pub created_at_ms: u64,
    /// How urgent it is.
    pub priority: Priority,
    /// A headline.
    pub title: Option<String>,
    /// The message.
    pub body: Option<String>,
    /// An object of structured facts.
    pub data: Json,
    /// An object of the submitter's own remarks.
    pub metadata: Json,
    /// The name of a template, once the gateway renders them.
    pub template: Option<String>,
    /// Files that go with it.
    pub attachments: Vec<Attachment>,
    /// What later hosts add.
    pub extensions: Extensions,
}

impl Notification {
    /// Title and body on lines of their own; the event type where there is neither.
    #[must_use]
    pub fn text(&self) -> String {
        match (self.title(), self.body()) {
            (Some(title), Some(body)) => format!("{title}\n{body}"),
            (Some(text), None) | (None, Some(text)) => text.to_owned(),
            (None, None) => self.event_type.clone(),
        }
    }

    /// The title, unless it is missing or blank.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref().filter(|text| !text.trim().is_empty())
    }

    /// The body, unless it is missing or blank.
    #[must_use]
    pub fn body(&self) -> Option<&str> {
        self.body.as_deref().filter(|text| !text.trim().is_empty())
    }
}

/// Who receives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recipient {
    /// The user's id in the gateway's directory; none for a bare address.
    pub user: Option<String>,
    /// The name to address them by.
    pub display_name: Option<String>,
    /// BCP 47, such as `ko-KR`.
    pub locale: Option<String>,
    /// An IANA time zone, such as `Asia/Seoul`.
    pub zone: Option<String>,
    /// What later hosts add.
    pub extensions: Extensions,
}

/// One try to deliver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// The same in every attempt for one delivery: the key by which a receiver drops duplicates.
    pub delivery_id: String,
    /// 1 for the first attempt.
    pub number: u32,
    /// The channel's name in the configuration.
    pub channel: String,
    /// What to carry.
    pub notification: Notification,
    /// To whom.
    pub recipient: Recipient,
    /// Replaces the destination in the settings: a URL, an e-mail address, a phone number.
    pub address: Option<String>,
    /// When this attempt began, in milliseconds since the epoch.
    pub now_ms: u64,
    /// How many milliseconds are left for it.
    pub deadline_ms: u64,
    /// The W3C trace context.
    pub traceparent: Option<String>,
    /// What later hosts add.
    pub extensions: Extensions,
}

impl Attempt {
    /// The address that this attempt carries, else the channel's own.
    #[must_use]
    pub fn address_or<'a>(&'a self, own: &'a str) -> &'a str {
        self.address.as_deref().unwrap_or(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_spliced_into_json_as_it_was_written() {
        let data = Json::new(r#"{"z":1.0,"a":"한"}"#);
        let text = serde_json::to_string(&serde_json::json!({ "n": 1 })).unwrap();
        assert_eq!(text, r#"{"n":1}"#);
        assert_eq!(serde_json::to_string(&(data,)).unwrap(), r#"[{"z":1.0,"a":"한"}]"#);
        assert!(serde_json::to_string(&Json::new("{")).is_err());
    }

    #[test]
    fn text_falls_back_to_what_there_is() {
        let of = |title: Option<&str>, body: Option<&str>| {
            let (title, body) = (title.map(str::to_owned), body.map(str::to_owned));
            Notification { event_type: "a.b".to_owned(), title, body, ..Notification::default() }.text()
        };
        assert_eq!(of(Some("t"), Some("b")), "t\nb");
        assert_eq!(of(Some(" "), Some("b")), "b");
        assert_eq!(of(None, None), "a.b");
    }
}
