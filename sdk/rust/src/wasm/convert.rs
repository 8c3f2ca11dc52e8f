//! Generated records to the SDK's own and back. Strings and lists are moved, never copied.

use super::bindings::channel::fanfare::host::{crypto, http, smtp};
use super::bindings::channel::fanfare::types::types as wit;
use super::bindings::router::exports::fanfare::router::rules;
use crate::crypto::{Algorithm, CryptoError, Hash, KeyFormat};
use crate::smtp::{Encryption, Mailbox, Message, Reply, Server, SmtpError};
use crate::{
    Attachment, Attempt, Contact, Fault, HttpError, Json, Notification, Person, Plan, Priority, Receipt,
    Recipient, Request, Response, SendError, Target,
};

/// A record or enum whose fields or cases have the same names on both sides.
macro_rules! same {
    (record $from:path => $to:path { $($field:ident),+ $(,)? }) => {
        impl From<$from> for $to {
            fn from(from: $from) -> Self {
                Self { $($field: from.$field.into()),+ }
            }
        }
    };
    (enum $from:path => $to:path { $($case:ident),+ $(,)? }) => {
        impl From<$from> for $to {
            fn from(from: $from) -> Self {
                type Theirs = $from;
                match from { $(Theirs::$case => Self::$case),+ }
            }
        }
    };
    (error $from:path => $to:path { $($case:ident),+ $(,)? }) => {
        impl From<$from> for $to {
            fn from(from: $from) -> Self {
                type Theirs = $from;
                match from { $(Theirs::$case(why) => Self::$case(why.into())),+ }
            }
        }
    };
}

same!(enum wit::Priority => Priority { Critical, High, Normal, Low });
same!(record wit::Attachment => Attachment { name, content_type, content, extensions });
same!(record Attachment => wit::Attachment { name, content_type, content, extensions });
same!(record wit::Recipient => Recipient { user, display_name, locale, zone, extensions });
same!(record Receipt => wit::Receipt { provider_id, status, detail, extensions });
same!(record Fault => wit::Fault { code, message, status, extensions });
same!(record rules::Contact => Contact { channel, address });
same!(record Target => rules::Target { channel, user, address, delay_ms, fallback_order, reason, extensions });
same!(record http::Response => Response { status, headers, body, extensions });
same!(record Request => http::Request { method, url, headers, body, timeout_ms, extensions });
same!(record smtp::Reply => Reply { code, text });
same!(record Mailbox => smtp::Mailbox { name, address });
same!(record Server => smtp::Server { host, port, encryption, username, password_secret });
same!(enum Encryption => smtp::Encryption { Starttls, Tls, None });
same!(enum Hash => crypto::Hash { Sha1, Sha256, Sha512 });
same!(enum KeyFormat => crypto::KeyFormat { Raw, Base64, Hex, StandardWebhooks });
same!(enum Algorithm => crypto::Algorithm { Ed25519, RsaPkcs1Sha256, EcdsaP256Sha256 });
same!(error crypto::CryptoError => CryptoError { NoSecret, BadKey });
same!(error http::HttpError => HttpError { Denied, Invalid, Limit, Dns, Connect, Tls, Timeout, Protocol });
same!(error smtp::SmtpError => SmtpError {
    Denied, Invalid, Limit, Dns, Connect, Tls, Timeout, Refused, Protocol,
});

fn all<A, B: From<A>>(list: Vec<A>) -> Vec<B> {
    list.into_iter().map(Into::into).collect()
}

impl From<wit::Notification> for Notification {
    fn from(from: wit::Notification) -> Self {
        Self {
            id: from.id,
            event_type: from.event_type,
            created_at_ms: from.created_at_ms,
            priority: from.priority.into(),
            title: from.title,
            body: from.body,
            data: Json::new(from.data),
            metadata: Json::new(from.metadata),
            template: from.template,
            attachments: all(from.attachments),
            extensions: from.extensions,
        }
    }
}

same!(record wit::Attempt => Attempt {
    delivery_id, number, channel, notification, recipient, address, now_ms, deadline_ms, traceparent, extensions,
});

impl From<SendError> for wit::SendError {
    fn from(from: SendError) -> Self {
        match from {
            SendError::RetryAfter { delay_ms, fault } => {
                Self::RetryAfter(wit::RetryAfter { delay_ms, fault: fault.into() })
            }
            SendError::Transient(fault) => Self::Transient(fault.into()),
            SendError::Permanent(fault) => Self::Permanent(fault.into()),
        }
    }
}

impl From<rules::Person> for Person {
    fn from(from: rules::Person) -> Self {
        Self { recipient: from.recipient.into(), contacts: all(from.contacts), extensions: from.extensions }
    }
}

impl From<Plan> for rules::Plan {
    fn from(from: Plan) -> Self {
        Self { targets: all(from.targets), notes: from.notes, extensions: from.extensions }
    }
}

impl From<Message> for smtp::Message {
    fn from(from: Message) -> Self {
        Self {
            server: from.server.into(),
            sender: from.sender.into(),
            to: all(from.to),
            reply_to: from.reply_to.map(Into::into),
            subject: from.subject,
            message_id: from.message_id,
            text: from.text,
            html: from.html,
            headers: from.headers,
            attachments: all(from.attachments),
            extensions: from.extensions,
        }
    }
}
