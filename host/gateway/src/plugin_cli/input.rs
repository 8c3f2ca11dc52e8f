//! What a rehearsal is given: one JSON file with the settings and the attempt, every part of which may be left out.
//!
//! Unknown keys are refused with their place, because a misspelt one would rehearse something else than was meant.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fanfare_model::id::{DeliveryId, NotificationId};
use fanfare_model::json::JsonObject;
use fanfare_model::name::ChannelName;
use fanfare_model::notification::Notification;
use fanfare_model::time::Timestamp;
use fanfare_runtime::{AttemptInput, Contact, Person, RecipientInfo};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::failure::Failure;
use super::script::Reply;

/// The clock of a rehearsal that says nothing: 2026-11-21T00:00:00Z, as in the SDK's tests.
pub(super) const NOW_MS: u64 = 1_795_219_200_000;

/// The id of a rehearsal's notification: the same each time, so that two rehearsals are the same.
const ID: [u8; 16] = [1, 0xa1, 0xfb, 0x67, 0x18, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1];

/// The file of `--input`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Input {
    /// The channel's or router's settings.
    pub(super) settings: Option<Map<String, Value>>,
    /// Secrets by name.
    pub(super) secrets: BTreeMap<String, String>,
    /// Origins beside those that the manifest asks for.
    pub(super) grants: Vec<String>,
    /// The channel's name.
    pub(super) channel: Option<String>,
    /// Which attempt it is; 1 for the first.
    pub(super) number: Option<u32>,
    /// The moment, RFC 3339.
    pub(super) now: Option<String>,
    pub(super) address: Option<String>,
    pub(super) traceparent: Option<String>,
    pub(super) recipient: RecipientIn,
    pub(super) notification: NotificationIn,
    /// For routers: whom the notification names.
    pub(super) people: Vec<PersonIn>,
    /// What the outside answers, in order.
    pub(super) replies: Vec<ReplyIn>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RecipientIn {
    user: Option<String>,
    display_name: Option<String>,
    locale: Option<String>,
    zone: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NotificationIn {
    id: Option<String>,
    #[serde(alias = "event_type")]
    r#type: Option<String>,
    priority: Option<String>,
    title: Option<String>,
    body: Option<String>,
    data: Map<String, Value>,
    metadata: Map<String, Value>,
    created_at: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PersonIn {
    user: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    locale: Option<String>,
    #[serde(default)]
    zone: Option<String>,
    #[serde(default)]
    contacts: Vec<ContactIn>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContactIn {
    channel: String,
    #[serde(default)]
    address: Option<String>,
}

/// `{"status": 503, "headers": {"retry-after": "30"}, "body": "busy"}` or `{"fails": "timeout"}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ReplyIn {
    Answer(AnswerIn),
    Fails(FailsIn),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerIn {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FailsIn {
    fails: String,
}

impl Input {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
        let mut json = serde_json::Deserializer::from_slice(&text);
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let at = error.path().to_string();
            let at = if at == "." { String::new() } else { format!(" at {at}") };
            Failure::usage(
                "input.invalid",
                format!("{}{at}: {}", path.display(), error.inner()),
                "`fanfare plugin run --help` shows such a file",
            )
        })
    }

    /// When the rehearsal takes place.
    pub(super) fn now(&self) -> Result<Timestamp, Failure> {
        let now = self.now.as_deref().map(str::parse).transpose();
        Ok(now.map_err(|error| wrong("now", &error))?.unwrap_or(Timestamp::from_ms(NOW_MS)))
    }

    pub(super) fn replies(&self) -> Result<Vec<Reply>, Failure> {
        self.replies.iter().map(ReplyIn::reply).collect()
    }

    pub(super) fn channel(&self) -> Result<ChannelName, Failure> {
        self.channel.as_deref().unwrap_or("rehearsal").parse().map_err(|error| wrong("channel", &error))
    }

    pub(super) fn notification(&self) -> Result<Notification, Failure> {
        let from = &self.notification;
        let id = match &from.id {
            Some(id) => id.parse().map_err(|error| wrong("notification.id", &error))?,
            None => NotificationId::from_bytes(ID),
        };
        let event = from.r#type.as_deref().unwrap_or("rehearsal.event");
        let priority = from.priority.as_deref().map(str::parse).transpose();
        let created_at = from.created_at.as_deref().map(str::parse).transpose();
        let event = event.parse().map_err(|error| wrong("notification.type", &error))?;
        let created_at = match created_at.map_err(|error| wrong("notification.created_at", &error))? {
            Some(at) => at,
            None => self.now()?,
        };
        Ok(Notification {
            title: from.title.clone(),
            body: from.body.clone(),
            data: JsonObject::from(from.data.clone()),
            priority: priority.map_err(|error| wrong("notification.priority", &error))?.unwrap_or_default(),
            metadata: JsonObject::from(from.metadata.clone()),
            traceparent: self.traceparent.clone(),
            ..Notification::new(id, event, created_at)
        })
    }

    pub(super) fn attempt(&self) -> Result<AttemptInput, Failure> {
        let notification = Arc::new(self.notification()?);
        let RecipientIn { user, display_name, locale, zone } = self.recipient.clone();
        Ok(AttemptInput {
            delivery: DeliveryId { notification: notification.id, index: 0 },
            number: self.number.unwrap_or(1).max(1),
            notification,
            recipient: RecipientInfo { user, display_name, locale, zone },
            address: self.address.clone(),
            traceparent: self.traceparent.clone(),
        })
    }

    pub(super) fn people(&self) -> Result<Vec<Person>, Failure> {
        self.people.iter().map(PersonIn::person).collect()
    }
}

impl PersonIn {
    fn person(&self) -> Result<Person, Failure> {
        let contact = |contact: &ContactIn| {
            let channel =
                contact.channel.parse().map_err(|error| wrong("people.contacts.channel", &error))?;
            Ok(Contact { channel, address: contact.address.clone() })
        };
        Ok(Person {
            user: self.user.parse().map_err(|error| wrong("people.user", &error))?,
            display_name: self.display_name.clone(),
            locale: self.locale.clone(),
            zone: self.zone.clone(),
            contacts: self.contacts.iter().map(contact).collect::<Result<_, Failure>>()?,
        })
    }
}

impl ReplyIn {
    fn reply(&self) -> Result<Reply, Failure> {
        match self {
            Self::Fails(FailsIn { fails }) => {
                fails.parse().map_err(|why: String| wrong("replies.fails", &why))
            }
            Self::Answer(AnswerIn { status, headers, body }) => {
                let reply: Reply =
                    status.to_string().parse().map_err(|why: String| wrong("replies.status", &why))?;
                let reply = reply.body(body.as_bytes());
                Ok(headers.iter().fold(reply, |reply, (name, value)| reply.with(name, value)))
            }
        }
    }
}

fn wrong(place: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(
        "input.invalid",
        format!("the input's {place}: {error}"),
        "`fanfare plugin run --help` shows such a file",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Input, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Input::read(file.path()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn an_empty_object_is_an_attempt_and_always_the_same_one() {
        let (one, two) = (parse("{}").unwrap(), parse("{}").unwrap());
        let (one, two) = (one.attempt().unwrap(), two.attempt().unwrap());
        assert_eq!((one.delivery, &one.notification), (two.delivery, &two.notification));
        assert_eq!(one.notification.id.to_string().parse(), Ok(one.notification.id));
    }

    #[test]
    fn mistakes_name_their_place() {
        for (text, says) in [
            (r#"{"notification":{"titel":"x"}}"#, "notification.titel"),
            (r#"{"number":"1"}"#, " at number"),
            ("[", "--help"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        for (text, says) in [
            (r#"{"notification":{"type":"a b"}}"#, "notification.type"),
            (r#"{"notification":{"priority":"soon"}}"#, "notification.priority"),
            (r#"{"now":"today","notification":{}}"#, "now"),
        ] {
            let error = parse(text).unwrap().attempt().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn replies_are_answers_or_failures() {
        let input =
            parse(r#"{"replies":[{"status":503,"headers":{"retry-after":"9"}},{"fails":"dns"}]}"#).unwrap();
        let replies = input.replies().unwrap();
        assert_eq!(replies, [Reply::status(503).with("retry-after", "9"), "dns".parse().unwrap()]);
        assert!(parse(r#"{"replies":[{"fails":"x"}]}"#).unwrap().replies().is_err());
    }
}
