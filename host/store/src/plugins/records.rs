//! What lies on disk: the store's usual version byte and postcard, apart from the layer's types.

use std::collections::BTreeMap;

use fanfare_model::digest::Digest;
use fanfare_model::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::types::{
    Asked, AuditEntry, Canary, Component, Generation, GrantLines, Pause, Score, Suspension, Use,
};
use crate::engine::{ReadError, Value};
use crate::records::{decode, encode};

#[derive(Serialize, Deserialize)]
struct AskedRecord {
    http: Vec<String>,
    smtp: Vec<String>,
    secrets: Vec<String>,
    secrets_in_body: bool,
}

#[derive(Serialize, Deserialize)]
struct ComponentRecord {
    bytes: u64,
    name: String,
    version: String,
    kind: String,
    description: String,
    asked: AskedRecord,
    installed_at: u64,
    installed_by: String,
}

#[derive(Serialize, Deserialize)]
struct GenerationRecord {
    plugin: [u8; 32],
    plugin_name: String,
    plugin_version: String,
    settings: String,
    secrets: BTreeMap<String, String>,
    grant_http: Vec<String>,
    grant_smtp: Vec<String>,
    allow_private: bool,
    asked: AskedRecord,
    before: Option<u64>,
    made_at: u64,
    made_by: String,
    why: String,
}

#[derive(Serialize, Deserialize)]
struct CanaryRecord {
    candidate: u64,
    share: u16,
    ratio_percent: u32,
    attempts_min: u32,
    started_at: u64,
    /// Attempts and faults of the candidate, then of the other.
    scores: [u64; 4],
}

#[derive(Serialize, Deserialize)]
struct UseRecord {
    section: [u8; 32],
    newest: u64,
    current: u64,
    canary: Option<CanaryRecord>,
    /// Since when, and by whom.
    paused: Option<(u64, String)>,
    /// Since when, code, message, probes.
    suspended: Option<(u64, String, String, u32)>,
}

#[derive(Serialize, Deserialize)]
struct AuditRecord {
    by: String,
    act: String,
    subject: String,
    digest: Option<[u8; 32]>,
    generation: Option<u64>,
    detail: String,
    added: Vec<String>,
    removed: Vec<String>,
}

impl From<&Asked> for AskedRecord {
    fn from(asked: &Asked) -> Self {
        let Asked { http, smtp, secrets, secrets_in_body } = asked.clone();
        Self { http, smtp, secrets, secrets_in_body }
    }
}

impl From<AskedRecord> for Asked {
    fn from(record: AskedRecord) -> Self {
        let AskedRecord { http, smtp, secrets, secrets_in_body } = record;
        Self { http, smtp, secrets, secrets_in_body }
    }
}

pub(super) fn encode_component(component: &Component) -> Value {
    let Component { name, version, kind, description, installed_by, .. } = component.clone();
    encode(&ComponentRecord {
        bytes: component.bytes,
        name,
        version,
        kind,
        description,
        asked: (&component.asked).into(),
        installed_at: component.installed_at.as_ms(),
        installed_by,
    })
}

pub(super) fn decode_component(digest: Digest, bytes: &[u8]) -> Result<Component, ReadError> {
    let record: ComponentRecord = decode("component", bytes)?;
    Ok(Component {
        digest,
        bytes: record.bytes,
        name: record.name,
        version: record.version,
        kind: record.kind,
        description: record.description,
        asked: record.asked.into(),
        installed_at: Timestamp::from_ms(record.installed_at),
        installed_by: record.installed_by,
    })
}

pub(super) fn encode_generation(generation: &Generation) -> Value {
    let generation = generation.clone();
    encode(&GenerationRecord {
        plugin: *generation.plugin.as_bytes(),
        plugin_name: generation.plugin_name,
        plugin_version: generation.plugin_version,
        settings: generation.settings,
        secrets: generation.secrets,
        grant_http: generation.grants.http,
        grant_smtp: generation.grants.smtp,
        allow_private: generation.grants.allow_private,
        asked: (&generation.asked).into(),
        before: generation.before,
        made_at: generation.made_at.as_ms(),
        made_by: generation.made_by,
        why: generation.why,
    })
}

pub(super) fn decode_generation(number: u64, bytes: &[u8]) -> Result<Generation, ReadError> {
    let record: GenerationRecord = decode("generation", bytes)?;
    Ok(Generation {
        number,
        plugin: Digest::from_bytes(record.plugin),
        plugin_name: record.plugin_name,
        plugin_version: record.plugin_version,
        settings: record.settings,
        secrets: record.secrets,
        grants: GrantLines {
            http: record.grant_http,
            smtp: record.grant_smtp,
            allow_private: record.allow_private,
        },
        asked: record.asked.into(),
        before: record.before,
        made_at: Timestamp::from_ms(record.made_at),
        made_by: record.made_by,
        why: record.why,
    })
}

pub(super) fn encode_use(usage: &Use) -> Value {
    let canary = usage.canary.as_ref().map(|canary| CanaryRecord {
        candidate: canary.candidate,
        share: canary.share,
        ratio_percent: canary.ratio_percent,
        attempts_min: canary.attempts_min,
        started_at: canary.started_at.as_ms(),
        scores: [canary.new.attempts, canary.new.faults, canary.old.attempts, canary.old.faults],
    });
    let suspended =
        usage.suspended.clone().map(|halt| (halt.at.as_ms(), halt.code, halt.message, halt.probes));
    encode(&UseRecord {
        section: *usage.section.as_bytes(),
        newest: usage.newest,
        current: usage.current,
        canary,
        paused: usage.paused.clone().map(|pause| (pause.at.as_ms(), pause.by)),
        suspended,
    })
}

pub(super) fn decode_use(bytes: &[u8]) -> Result<Use, ReadError> {
    let record: UseRecord = decode("use", bytes)?;
    let canary = record.canary.map(|canary| {
        let [attempts, faults, old_attempts, old_faults] = canary.scores;
        Canary {
            candidate: canary.candidate,
            share: canary.share,
            ratio_percent: canary.ratio_percent,
            attempts_min: canary.attempts_min,
            started_at: Timestamp::from_ms(canary.started_at),
            new: Score { attempts, faults },
            old: Score { attempts: old_attempts, faults: old_faults },
        }
    });
    let suspended = record.suspended.map(|(at, code, message, probes)| Suspension {
        at: Timestamp::from_ms(at),
        code,
        message,
        probes,
    });
    Ok(Use {
        section: Digest::from_bytes(record.section),
        newest: record.newest,
        current: record.current,
        canary,
        paused: record.paused.map(|(at, by)| Pause { at: Timestamp::from_ms(at), by }),
        suspended,
    })
}

pub(super) fn encode_audit(entry: &AuditEntry) -> Value {
    let entry = entry.clone();
    encode(&AuditRecord {
        by: entry.by,
        act: entry.act,
        subject: entry.subject,
        digest: entry.digest.map(|digest| *digest.as_bytes()),
        generation: entry.generation,
        detail: entry.detail,
        added: entry.added,
        removed: entry.removed,
    })
}

pub(super) fn decode_audit(at: Timestamp, bytes: &[u8]) -> Result<AuditEntry, ReadError> {
    let record: AuditRecord = decode("audit", bytes)?;
    Ok(AuditEntry {
        at,
        by: record.by,
        act: record.act,
        subject: record.subject,
        digest: record.digest.map(Digest::from_bytes),
        generation: record.generation,
        detail: record.detail,
        added: record.added,
        removed: record.removed,
    })
}
