use fanfare_model::digest::Digest;
use fanfare_model::time::Timestamp;

use super::*;
use crate::engine::Value;
use crate::kinds;
use crate::memory::MemoryEngine;

fn plugins() -> Plugins {
    Plugins::new(Arc::new(MemoryEngine::new()))
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn asked() -> Asked {
    Asked {
        http: vec!["https://api.example.org".to_owned(), "{settings.url}".to_owned()],
        smtp: vec!["smtp.example.org:587".to_owned()],
        secrets: vec!["token".to_owned()],
        secrets_in_body: true,
    }
}

fn component(bytes: &[u8]) -> Component {
    Component {
        digest: Digest::of(bytes),
        bytes: bytes.len() as u64,
        name: "chat".to_owned(),
        version: "1.2.0".to_owned(),
        kind: "channel".to_owned(),
        description: "Sends to a chat.".to_owned(),
        asked: asked(),
        installed_at: at(1_000),
        installed_by: "ann".to_owned(),
    }
}

fn generation(number: u64) -> Generation {
    Generation {
        number,
        plugin: Digest::of(b"x"),
        plugin_name: "chat".to_owned(),
        plugin_version: "1.2.0".to_owned(),
        settings: r#"{"url":"https://x"}"#.to_owned(),
        secrets: [("token".to_owned(), "env:TOKEN".to_owned())].into(),
        grants: GrantLines { http: vec!["https://x".to_owned()], smtp: Vec::new(), allow_private: true },
        asked: asked(),
        before: Some(number - 1),
        made_at: at(2_000),
        made_by: "ann".to_owned(),
        why: "a new version".to_owned(),
    }
}

fn usage() -> Use {
    Use {
        section: Digest::of(b"section"),
        newest: 4,
        current: 3,
        canary: Some(Canary {
            candidate: 4,
            share: 1_000,
            ratio_percent: 200,
            attempts_min: 20,
            started_at: at(3_000),
            new: Score { attempts: 5, faults: 1 },
            old: Score { attempts: 50, faults: 2 },
        }),
        paused: Some(Pause { at: at(4_000), by: "bob".to_owned() }),
        suspended: Some(Suspension {
            at: at(5_000),
            code: "plugin.trap".to_owned(),
            message: "5 traps in a row".to_owned(),
            probes: 2,
        }),
    }
}

fn entry(at_ms: u64, subject: &str) -> AuditEntry {
    AuditEntry {
        at: at(at_ms),
        by: "ann".to_owned(),
        act: "activate".to_owned(),
        subject: subject.to_owned(),
        digest: Some(Digest::of(b"x")),
        generation: Some(4),
        detail: "generation 4 serves".to_owned(),
        added: vec!["http https://x".to_owned()],
        removed: vec!["secret old".to_owned()],
    }
}

fn slot(name: &str) -> Slot {
    Slot::Channel(name.parse().unwrap())
}

/// One line a record: its kind and its bytes. A line that has to change means a new version of the format.
const GOLDEN: &str = include_str!("golden-v1.txt");

#[track_caller]
fn assert_golden(name: &str, bytes: &[u8]) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let kept = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    assert_eq!(Some(hex.as_str()), kept, "the bytes are now\n{name} {hex}");
}

#[test]
fn records_keep_their_bytes() {
    let bytes = records::encode_component(&component(b"x"));
    assert_golden("component", &bytes);
    assert_eq!(records::decode_component(Digest::of(b"x"), &bytes), Ok(component(b"x")));
    let bytes = records::encode_generation(&generation(3));
    assert_golden("generation", &bytes);
    assert_eq!(records::decode_generation(3, &bytes), Ok(generation(3)));
    let bytes = records::encode_use(&usage());
    assert_golden("use", &bytes);
    assert_eq!(records::decode_use(&bytes), Ok(usage()));
    let bytes = records::encode_audit(&entry(7, "channel hook"));
    assert_golden("audit", &bytes);
    assert_eq!(records::decode_audit(at(7), &bytes), Ok(entry(7, "channel hook")));
    for length in 0..bytes.len() {
        assert!(records::decode_audit(at(7), &bytes[..length]).is_err(), "the first {length} bytes");
    }
}

/// `fanfare store check` reads them so.
#[test]
fn each_record_is_verified_as_what_its_key_says() {
    let digest = Digest::of(b"x");
    let slot = Slot::Channel("chat".parse().unwrap());
    let records = [
        (keys::intent(&digest), Value::from(&b""[..])),
        (keys::chunk(&digest, 0), Value::from(&b"x"[..])),
        (keys::component(&digest), records::encode_component(&component(b"x"))),
        (keys::usage(&slot), records::encode_use(&usage())),
        (keys::generation(&slot, 3), records::encode_generation(&generation(3))),
        (keys::audit(at(7), 0), records::encode_audit(&entry(7, "channel hook"))),
    ];
    for (key, value) in &records {
        assert_eq!(kinds::verify(key, value), Ok(()), "{key:02x?}");
        let cut = value.get(..value.len().saturating_sub(1)).unwrap();
        assert!(value.is_empty() || kinds::verify(key, cut).is_err(), "{key:02x?}");
    }
    let mut unknown = keys::intent(&digest);
    unknown[keys::PART_AT] = b'?';
    assert!(kinds::verify(&unknown, &[]).is_err());
    assert!(kinds::verify(&keys::intent(&digest)[..20], &[]).is_err());
}

#[tokio::test]
async fn a_component_of_many_chunks_comes_back_whole_and_goes_without_a_trace() {
    let plugins = plugins();
    // Two transactions of chunks, and the last chunk is not full.
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let component = component(&bytes);
    assert!(plugins.install(&component, &bytes, Some(&entry(1, "plugin chat"))).await.unwrap());
    assert!(!plugins.install(&component, &bytes, None).await.unwrap());
    assert_eq!(plugins.components().await.unwrap(), std::slice::from_ref(&component));
    assert!(plugins.bytes(component.digest).await.unwrap() == Some(bytes));
    assert!(plugins.remove(component.digest, &entry(2, "plugin chat")).await.unwrap());
    assert!(!plugins.remove(component.digest, &entry(3, "plugin chat")).await.unwrap());
    assert_eq!(plugins.bytes(component.digest).await, Ok(None));
    let chunks = keys::all(keys::Part::Chunk);
    assert!(plugins.engine.scan(chunks, 10, Direction::Forward).await.unwrap().is_empty());
    assert_eq!(plugins.audit(Some("plugin chat"), 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_component_that_is_too_large_is_refused_before_anything_is_written() {
    let plugins = plugins();
    let bytes = vec![0; COMPONENT_BYTES_MAX + 1];
    let refused = plugins.install(&component(&bytes), &bytes, None).await.unwrap_err();
    assert_eq!(refused, InstallError::TooLarge(COMPONENT_BYTES_MAX + 1));
    let all = crate::keys::all(fanfare_model::id::Shard::EMBEDDED, crate::keys::Kind::Plugin);
    assert!(plugins.engine.scan(all, 1, Direction::Forward).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_cut_off_install_left_is_swept_and_what_is_whole_stays() {
    let plugins = plugins();
    plugins.install(&component(b"whole"), b"whole", None).await.unwrap();
    let cut = Digest::of(b"cut off");
    let changes = vec![
        Change::Put(keys::intent(&cut), [].into()),
        Change::Put(keys::chunk(&cut, 0), b"cut"[..].into()),
    ];
    let left = Transaction { preconditions: Vec::new(), changes };
    plugins.commit(Class::Intake, left).await.unwrap();
    assert_eq!(plugins.sweep_components().await, Ok(1));
    assert_eq!(plugins.sweep_components().await, Ok(0));
    assert_eq!(plugins.bytes(Digest::of(b"whole")).await, Ok(Some(b"whole".to_vec())));
    let chunks = keys::all(keys::Part::Chunk);
    assert_eq!(plugins.engine.scan(chunks, 10, Direction::Forward).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_damaged_component_is_an_error_and_never_served() {
    let plugins = plugins();
    let component = component(b"good bytes");
    plugins.install(&component, b"good bytes", None).await.unwrap();
    let bad = Change::Put(keys::chunk(&component.digest, 0), b"evil bytes"[..].into());
    let transaction = Transaction { preconditions: Vec::new(), changes: vec![bad] };
    plugins.commit(Class::Settle, transaction).await.unwrap();
    let refused = plugins.bytes(component.digest).await.unwrap_err();
    assert!(refused.0.contains("install it again"), "{refused}");
}

#[tokio::test]
async fn what_a_slot_uses_its_generations_and_the_audit_are_written_as_one() {
    let plugins = plugins();
    for number in 1..=3 {
        let step = Move {
            slot: slot("hook"),
            usage: Use { newest: number, current: number, ..usage() },
            generation: Some(generation(number)),
            audit: Some(entry(number, "channel hook")),
        };
        plugins.write(vec![step]).await.unwrap();
    }
    let other = Move { slot: slot("hook-2"), usage: usage(), generation: Some(generation(9)), audit: None };
    let router = Move {
        slot: Slot::Router("default".to_owned()),
        usage: usage(),
        generation: None,
        audit: Some(entry(9, "router default")),
    };
    plugins.write(vec![other, router]).await.unwrap();
    let numbers: Vec<u64> =
        plugins.generations(&slot("hook"), 10).await.unwrap().iter().map(|g| g.number).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(plugins.generation(&slot("hook"), 2).await, Ok(Some(generation(2))));
    assert_eq!(plugins.generation(&slot("hook-2"), 2).await, Ok(None));
    let slots: Vec<String> = plugins.uses().await.unwrap().iter().map(|(slot, _)| slot.to_string()).collect();
    assert_eq!(slots, ["channel hook", "channel hook-2", "router default"]);
    let subjects: Vec<String> =
        plugins.audit(None, 2).await.unwrap().into_iter().map(|e| e.subject).collect();
    assert_eq!(subjects, ["router default", "channel hook"]);
}

#[tokio::test]
async fn the_oldest_generations_make_room_but_never_the_one_that_serves() {
    let plugins = plugins();
    let last = GENERATIONS_MAX as u64 + 3;
    for number in 1..=last {
        let usage = Use { newest: number, current: 1, canary: None, ..usage() };
        let step = Move { slot: slot("hook"), usage, generation: Some(generation(number)), audit: None };
        plugins.write(vec![step]).await.unwrap();
    }
    let kept = plugins.generations(&slot("hook"), 5_000).await.unwrap();
    assert!(kept.iter().any(|generation| generation.number == 1));
    let step = Move {
        slot: slot("hook"),
        usage: Use { newest: last + 1, current: last + 1, canary: None, ..usage() },
        generation: Some(generation(last + 1)),
        audit: None,
    };
    plugins.write(vec![step]).await.unwrap();
    assert_eq!(plugins.generation(&slot("hook"), 1).await, Ok(None));
}

#[tokio::test]
async fn the_oldest_audit_entries_make_room() {
    let plugins = plugins();
    for number in 0..AUDIT_MAX as u64 + 5 {
        plugins.note(&entry(number, "channel hook")).await.unwrap();
    }
    assert_eq!(plugins.prune_audit().await, Ok(5));
    assert_eq!(plugins.prune_audit().await, Ok(0));
    let entries = plugins.audit(None, AUDIT_MAX * 2).await.unwrap();
    assert_eq!((entries.len(), entries.last().unwrap().at), (AUDIT_MAX, at(5)));
}

#[test]
fn what_is_asked_beyond_what_was_approved_is_told_line_by_line() {
    let less = Asked { http: vec!["https://api.example.org".to_owned()], ..Asked::default() };
    assert_eq!(
        asked().beyond(&less),
        ["http {settings.url}", "smtp smtp.example.org:587", "secret token", "secrets in request bodies"]
    );
    assert!(less.beyond(&asked()).is_empty());
}
