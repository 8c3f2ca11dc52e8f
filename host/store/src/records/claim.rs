//! Records of claims and dead letters.

use serde::{Deserialize, Serialize};

/// Who used an idempotency key, with what body, and what was answered.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct IdempotencyRecord<'a> {
    pub(crate) body: [u8; 32],
    pub(crate) expires_at: u64,
    pub(crate) answer: &'a [u8],
}

/// What of a long answer does not fit its claim.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AnswerPartRecord<'a> {
    /// The claim's own, by which the part is told from those of an earlier claim of the same key.
    pub(crate) expires_at: u64,
    /// How many parts there are behind the claim.
    pub(crate) count: u16,
    pub(crate) bytes: &'a [u8],
}

/// Which notification suppresses repetitions.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DedupRecord {
    pub(crate) id: [u8; 16],
    pub(crate) expires_at: u64,
}

/// What filters ask of a dead letter.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeadRecord<'a> {
    pub(crate) channel: &'a str,
    pub(crate) code: &'a str,
    pub(crate) event_type: &'a str,
}
