//! A submission that was parsed, and has not been accepted yet.

use fanfare_model::digest::Digest;
use fanfare_model::json::JsonObject;
use fanfare_model::name::EventType;
use fanfare_model::notification::{Dedup, Target};
use fanfare_model::priority::Priority;
use fanfare_model::state::NotificationState;
use fanfare_model::time::Timestamp;

/// A notification as a client asks for it, parsed once at the edge.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What kind of event it tells of.
    pub event_type: EventType,
    /// Whom it is for; empty means that the router decides.
    pub to: Vec<Target>,
    /// A headline.
    pub title: Option<String>,
    /// The message.
    pub body: Option<String>,
    /// Structured facts.
    pub data: JsonObject,
    /// How urgent it is.
    pub priority: Priority,
    /// Not before this instant.
    pub send_at: Option<Timestamp>,
    /// Not after this instant.
    pub expires_at: Option<Timestamp>,
    /// Suppresses repetitions.
    pub dedup: Option<Dedup>,
    /// The submitter's own remarks.
    pub metadata: JsonObject,
}

/// One request's drafts, and what they share.
#[derive(Debug)]
pub struct Submission {
    /// All of them are accepted together, or none.
    pub drafts: Vec<Draft>,
    /// The name of the API key; idempotency and dedup keys are compared within it.
    pub submitted_by: Option<String>,
    /// The W3C trace context.
    pub traceparent: Option<String>,
    /// Set when the client gave an `Idempotency-Key`.
    pub idempotency: Option<Idempotency>,
}

/// Makes the answer that a repetition of the request gets again.
pub type Answer = Box<dyn Fn(&[&NotificationState]) -> Vec<u8> + Send + Sync>;

/// A client's promise that the same key means the same request.
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// The digest of the canonical body.
    pub body: Digest,
    /// Makes the answer to keep.
    pub answer: Answer,
}

impl std::fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idempotency")
            .field("key", &self.key)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
