//! Claims: what an idempotency key or a dedup key stands for, as it is found, guarded and kept.
//!
//! A kept answer may be longer than a value of the engine, so it is cut into parts of [`PART_BYTES`]; what bounds it
//! is the transaction.

use std::collections::{HashMap, HashSet};

use fanfare_model::digest::Digest;
use fanfare_model::fault::{Fault, code};
use fanfare_model::id::{NotificationId, Shard};
use fanfare_model::state::NotificationState;
use fanfare_model::time::Timestamp;

use crate::accept::{AcceptError, IdempotencyClaim, NewNotification};
use crate::engine::{Direction, Key, Precondition, ReadError, Record};
use crate::keys::{self, Kind};
use crate::ledger::Ledger;
use crate::records::{self, AnswerPartRecord, DedupRecord, IdempotencyRecord};
use crate::writes::Writes;

/// Small enough that a page of the sweep stays small in memory, and large enough that nearly no answer is cut.
pub(crate) const PART_BYTES: usize = 128 << 10;

const WHAT: &str = "claim";

/// The claims that a request meets, and what must not change until it commits.
pub(crate) struct Claims {
    records: HashMap<Key, Record>,
    guarded: HashSet<Key>,
    pub(crate) preconditions: Vec<Precondition>,
    /// Dedup keys that this very request claims.
    own: HashMap<Digest, NotificationId>,
}

impl Claims {
    pub(crate) async fn read(
        ledger: &Ledger,
        items: &[NewNotification],
        claim: Option<&IdempotencyClaim>,
    ) -> Result<Self, ReadError> {
        let dedup = items.iter().filter_map(|item| item.dedup.as_ref()).map(|claim| dedup_key(&claim.key));
        let keys: Vec<Key> = dedup.chain(claim.map(|claim| idempotency_key(&claim.key))).collect();
        let mut claims = Self {
            records: HashMap::new(),
            guarded: HashSet::new(),
            preconditions: Vec::new(),
            own: HashMap::new(),
        };
        // Most requests have none, and cost no read.
        if !keys.is_empty() {
            let records = ledger.engine.get_many(keys.clone()).await?;
            let found = keys.into_iter().zip(records);
            claims.records = found.filter_map(|(key, record)| Some((key, record?))).collect();
        }
        Ok(claims)
    }

    fn guard(&mut self, key: Key) {
        if self.guarded.insert(key.clone()) {
            let precondition = match self.records.get(&key) {
                Some(record) => Precondition::Unchanged(key, record.version),
                None => Precondition::Absent(key),
            };
            self.preconditions.push(precondition);
        }
    }

    /// The answer that was kept for the same request.
    pub(crate) async fn replay(
        &self,
        ledger: &Ledger,
        claim: &IdempotencyClaim,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, AcceptError> {
        let Some(record) = self.records.get(&idempotency_key(&claim.key)) else { return Ok(None) };
        let kept: IdempotencyRecord<'_> = records::decode(WHAT, &record.value)?;
        if kept.expires_at <= now.as_ms() {
            return Ok(None);
        }
        if kept.body != *claim.body.as_bytes() {
            return Err(AcceptError::IdempotencyMismatch);
        }
        let mut answer = kept.answer.to_vec();
        if answer.len() == PART_BYTES {
            read_parts(ledger, &claim.key, kept.expires_at, &mut answer).await?;
        }
        Ok(Some(answer))
    }

    /// The state with which `item` is stored: its own, or suppressed by an earlier one.
    pub(crate) fn decide(
        &mut self,
        item: &NewNotification,
        now: Timestamp,
        writes: &mut Writes,
    ) -> Result<NotificationState, ReadError> {
        let Some(claim) = &item.dedup else { return Ok(item.state.clone()) };
        let key = dedup_key(&claim.key);
        self.guard(key.clone());
        let first = match self.own.get(&claim.key) {
            Some(first) => Some(*first),
            None => self.claimed(&key, now)?,
        };
        if let Some(first) = first {
            let mut state = item.state.clone();
            state.deliveries.clear();
            let message = format!("a repetition of {first}, inside its dedup window");
            state.suppress(Fault::new(code::DUPLICATE, message), Some(first), now);
            return Ok(state);
        }
        let id = item.state.id;
        self.own.insert(claim.key, id);
        let record = DedupRecord { id: id.to_bytes(), expires_at: now.plus(claim.window).as_ms() };
        writes.put(key, records::encode(&record));
        Ok(item.state.clone())
    }

    fn claimed(&self, key: &Key, now: Timestamp) -> Result<Option<NotificationId>, ReadError> {
        let Some(record) = self.records.get(key) else { return Ok(None) };
        let claim: DedupRecord = records::decode(WHAT, &record.value)?;
        Ok((claim.expires_at > now.as_ms()).then(|| NotificationId::from_bytes(claim.id)))
    }

    /// Keeps an answer: the first [`PART_BYTES`] with the claim, the rest in records behind it. An answer that is
    /// exactly so long has a part too, an empty one.
    pub(crate) fn keep(
        &mut self,
        claim: &IdempotencyClaim,
        answer: &[u8],
        now: Timestamp,
        writes: &mut Writes,
    ) {
        let key = idempotency_key(&claim.key);
        self.guard(key.clone());
        let expires_at = now.plus(claim.keep).as_ms();
        let (first, rest) = answer.split_at(answer.len().min(PART_BYTES));
        let record = IdempotencyRecord { body: *claim.body.as_bytes(), expires_at, answer: first };
        writes.put(key, records::encode(&record));
        if first.len() < PART_BYTES {
            return;
        }
        let parts: Vec<&[u8]> = if rest.is_empty() { vec![rest] } else { rest.chunks(PART_BYTES).collect() };
        let count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
        for (number, bytes) in (0..count).zip(parts) {
            let part = AnswerPartRecord { expires_at, count, bytes };
            let key = keys::answer_part(Shard::EMBEDDED, &claim.key, number);
            writes.put(key, records::encode(&part));
        }
    }
}

/// Appends the parts behind the claim whose window ends at `expires_at`. Those of an earlier claim of the same key
/// may lie behind them until they are swept.
async fn read_parts(
    ledger: &Ledger,
    digest: &Digest,
    expires_at: u64,
    answer: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let range = keys::answer_parts(Shard::EMBEDDED, digest);
    let page = ledger.engine.scan(range, usize::from(u16::MAX), Direction::Forward).await?;
    let (mut read, mut expected) = (0, 0);
    for (_, record) in &page {
        let part: AnswerPartRecord<'_> = records::decode(WHAT, &record.value)?;
        if part.expires_at != expires_at {
            break;
        }
        (read, expected) = (read + 1, part.count);
        answer.extend_from_slice(part.bytes);
    }
    if read == expected {
        return Ok(());
    }
    Err(records::damaged(WHAT, &format!("it has {read} of {expected} parts of its answer")))
}

/// When a claim, or a part of its answer, ends; `None` for a key that is neither.
pub(crate) fn expires_at(key: &[u8], value: &[u8]) -> Result<Option<u64>, ReadError> {
    Ok(match key.get(2) {
        Some(b'I') if keys::is_answer_part(key) => {
            Some(records::decode::<AnswerPartRecord<'_>>(WHAT, value)?.expires_at)
        }
        Some(b'I') => Some(records::decode::<IdempotencyRecord<'_>>(WHAT, value)?.expires_at),
        Some(b'K') => Some(records::decode::<DedupRecord>(WHAT, value)?.expires_at),
        _ => None,
    })
}

fn dedup_key(digest: &Digest) -> Key {
    keys::claim(Shard::EMBEDDED, Kind::Dedup, digest)
}

fn idempotency_key(digest: &Digest) -> Key {
    keys::claim(Shard::EMBEDDED, Kind::Idempotency, digest)
}
