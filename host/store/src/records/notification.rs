//! The record of a notification's body.

use std::time::Duration;

use fanfare_model::id::{DeliveryId, NotificationId};
use fanfare_model::json::JsonObject;
use fanfare_model::name::BadName;
use fanfare_model::notification::{Dedup, Notification, Target};
use fanfare_model::priority::Priority;
use fanfare_model::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{damaged, decode, encode};
use crate::engine::{ReadError, Value};

#[derive(Serialize, Deserialize)]
struct NotificationV1<'a> {
    #[serde(borrow)]
    event_type: &'a str,
    created_at: u64,
    to: Vec<TargetV1<'a>>,
    title: Option<&'a str>,
    body: Option<&'a str>,
    data: &'a str,
    priority: u8,
    send_at: Option<u64>,
    expires_at: Option<u64>,
    dedup: Option<(&'a str, u64)>,
    metadata: &'a str,
    traceparent: Option<&'a str>,
    submitted_by: Option<&'a str>,
    alert_about: Option<([u8; 16], u16)>,
}

#[derive(Serialize, Deserialize)]
enum TargetV1<'a> {
    Channel { channel: &'a str, address: Option<&'a str> },
    User { user: &'a str },
}

pub(crate) fn encode_notification(notification: &Notification) -> Value {
    let to = notification.to.iter().map(TargetV1::of).collect();
    encode(&NotificationV1 {
        event_type: notification.event_type.as_str(),
        created_at: notification.created_at.as_ms(),
        to,
        title: notification.title.as_deref(),
        body: notification.body.as_deref(),
        data: notification.data.as_str(),
        priority: notification.priority.rank(),
        send_at: notification.send_at.map(Timestamp::as_ms),
        expires_at: notification.expires_at.map(Timestamp::as_ms),
        dedup: notification.dedup.as_ref().map(|dedup| (dedup.key.as_str(), millis(dedup.window))),
        metadata: notification.metadata.as_str(),
        traceparent: notification.traceparent.as_deref(),
        submitted_by: notification.submitted_by.as_deref(),
        alert_about: notification.alert_about.map(|id| (id.notification.to_bytes(), id.index)),
    })
}

impl<'a> TargetV1<'a> {
    fn of(target: &'a Target) -> Self {
        match target {
            Target::Channel { channel, address } => {
                Self::Channel { channel: channel.as_str(), address: address.as_deref() }
            }
            Target::User { user } => Self::User { user: user.as_str() },
        }
    }

    fn into_target(self) -> Result<Target, BadName> {
        Ok(match self {
            Self::Channel { channel, address } => {
                Target::Channel { channel: channel.parse()?, address: address.map(str::to_owned) }
            }
            Self::User { user } => Target::User { user: user.parse()? },
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn decode_notification(id: NotificationId, bytes: &[u8]) -> Result<Notification, ReadError> {
    const WHAT: &str = "notification";
    let record: NotificationV1<'_> = decode(WHAT, bytes)?;
    let to = record.to.into_iter().map(TargetV1::into_target).collect::<Result<_, _>>();
    // Most have no metadata, and the parser is the dearest part of reading a body.
    let object = |text| match text {
        "{}" => Ok(JsonObject::default()),
        text => JsonObject::kept(text).map_err(|error| damaged(WHAT, &error)),
    };
    Ok(Notification {
        id,
        event_type: record.event_type.parse().map_err(|error| damaged(WHAT, &error))?,
        created_at: Timestamp::from_ms(record.created_at),
        to: to.map_err(|error| damaged(WHAT, &error))?,
        title: record.title.map(str::to_owned),
        body: record.body.map(str::to_owned),
        data: object(record.data)?,
        priority: Priority::from_rank(record.priority).ok_or_else(|| damaged(WHAT, &"its priority"))?,
        send_at: record.send_at.map(Timestamp::from_ms),
        expires_at: record.expires_at.map(Timestamp::from_ms),
        dedup: record
            .dedup
            .map(|(key, window)| Dedup { key: key.to_owned(), window: Duration::from_millis(window) }),
        metadata: object(record.metadata)?,
        traceparent: record.traceparent.map(str::to_owned),
        submitted_by: record.submitted_by.map(str::to_owned),
        alert_about: record
            .alert_about
            .map(|(id, index)| DeliveryId { notification: NotificationId::from_bytes(id), index }),
    })
}
