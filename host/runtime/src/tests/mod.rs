//! Each limit is hit by a component made for it, and a neighbour goes on.
//!
//! Limits of time are far away but for the one that a test is about, so that a busy machine changes nothing.

mod account;
mod corpus;
mod live;
mod warm;
mod wasi_http;

use std::sync::Arc;
use std::time::Duration;

use fanfare_model::clock::ManualClock;
use fanfare_model::id::{DeliveryId, IdGenerator, Shard};
use fanfare_model::notification::Notification;
use fanfare_model::outcome::Outcome;
use fanfare_model::time::Timestamp;
use fanfare_test_components as components;
use serde_json::{Map, Value, json};

use crate::egress::{DoorOptions, Grants};
use crate::secrets::{Secret, Secrets};
use crate::{
    AttemptInput, AttemptReport, ChannelGeneration, ChannelSpec, Compiler, Concurrency, Isolation, Limits,
    RecipientInfo, RouterSpec, Runtime, RuntimeOptions, Source, StageError,
};

const NOW: Timestamp = Timestamp::EPOCH;

struct Bench {
    runtime: Runtime,
    cache: tempfile::TempDir,
}

fn bench() -> Bench {
    bench_with(DoorOptions::default())
}

fn bench_with(door: DoorOptions) -> Bench {
    let cache = tempfile::tempdir().unwrap();
    let options = RuntimeOptions {
        cache_dir: cache.path().to_owned(),
        compiler: Compiler::InProcess,
        concurrency: Concurrency { instances_max: 8, guest_threads: 2 },
        ceilings: limits(),
        clock: Arc::new(ManualClock::at(NOW)),
    };
    let runtime = Runtime::start_with(options, None, door);
    Bench { runtime: runtime.unwrap(), cache }
}

const FAR: Duration = Duration::from_secs(3_600);

/// The design's, but for time.
fn limits() -> Limits {
    Limits { wall: FAR, cpu: FAR, ..Limits::default() }
}

fn input(address: Option<&str>) -> AttemptInput {
    let notification = Arc::new(notification());
    AttemptInput {
        delivery: DeliveryId { notification: notification.id, index: 0 },
        number: 1,
        notification,
        recipient: RecipientInfo::default(),
        address: address.map(str::to_owned),
        traceparent: None,
    }
}

fn notification() -> Notification {
    Notification {
        title: Some("${secret:token}".to_owned()),
        body: Some("body".to_owned()),
        ..Notification::new(
            IdGenerator::default().next(Shard::EMBEDDED, NOW),
            "test.event".parse().unwrap(),
            NOW,
        )
    }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

impl Bench {
    async fn stage(
        &self,
        bytes: &'static [u8],
        settings: Value,
        grants: Grants,
        secrets: Secrets,
    ) -> Result<Arc<ChannelGeneration>, StageError> {
        let source = Source { label: "test.wasm".to_owned(), bytes: bytes.into() };
        let plugin = self.runtime.load(source).await.unwrap();
        let spec = ChannelSpec {
            name: "test".parse().unwrap(),
            number: 1,
            plugin,
            settings: object(&settings),
            secrets,
            grants,
            limits: limits(),
        };
        self.runtime.stage_channel(spec).await
    }

    async fn send(&self, bytes: &'static [u8], address: Option<&str>) -> AttemptReport {
        self.send_within(bytes, address, limits()).await
    }

    /// The limits are the call's: the check before has all the time that it wants.
    async fn send_within(
        &self,
        bytes: &'static [u8],
        address: Option<&str>,
        limits: Limits,
    ) -> AttemptReport {
        let generation = self.stage(bytes, json!({}), Grants::default(), Secrets::default()).await.unwrap();
        generation.renewal(Secrets::default(), limits).unwrap().apply();
        generation.send(input(address)).await
    }
}

#[tokio::test]
async fn a_flooded_log_is_cut_and_counted() {
    let report = bench().send(components::FLOOD_LOG, None).await;
    let lines = report.log.len();
    assert!(lines <= 100 && report.log.iter().all(|line| line.message.len() <= 4_096), "{lines}");
    let flooded = report.log_dropped > 0
        || matches!(&report.outcome, Outcome::Transient { fault, .. } if fault.code.as_str() == "plugin.calls");
    assert!(flooded, "{:?}", report.outcome);
}

#[tokio::test]
async fn garbage_in_a_fault_is_made_safe() {
    let report = bench().send(components::GARBAGE, None).await;
    let fault = report.outcome.fault().unwrap();
    assert!(fault.code.as_str().starts_with("channel."), "a guest can't pose as the host: {fault:?}");
    assert!(fault.message.starts_with(" [2J  level=info delivered  "), "{fault:?}");
    assert!(!fault.message.contains(char::is_control) && fault.message.len() <= 1_024);
    assert!(!fault.message.contains('\u{202e}'), "the text reads in the order that it has");
    assert_eq!(fault.status, None, "no receiver answers with 65535");
}

#[tokio::test]
async fn a_guest_sees_no_files_environment_or_arguments() {
    let report = bench().send(components::PEEK, None).await;
    let Outcome::Delivered(receipt) = report.outcome else { panic!("{:?}", report.outcome) };
    let seen: Value = serde_json::from_str(&receipt.detail.unwrap()).unwrap();
    let nothing =
        json!({ "environment": [], "arguments": [], "folders": [], "passwd": null, "written": false });
    assert_eq!(seen, nothing);
}

#[tokio::test]
async fn what_a_guest_prints_goes_to_its_log() {
    let report = bench().send(components::STDIO, None).await;
    assert!(!report.log.is_empty());
}

#[tokio::test]
async fn a_guest_sees_a_marker_for_a_secret_and_a_submitted_text_names_none() {
    let bench = bench();
    let mut secrets = Secrets::default();
    secrets.insert("token", Secret::new("s3cr3t-value".to_owned()), None);
    let settings = json!({ "token": "${secret:token}" });
    let generation = bench.stage(components::ECHO, settings, Grants::default(), secrets).await.unwrap();
    let report = generation.send(input(None)).await;
    let Outcome::Delivered(receipt) = report.outcome else { panic!("{:?}", report.outcome) };
    let seen = receipt.detail.unwrap();
    assert!(!seen.contains("s3cr3t"), "{seen}");
    assert!(seen.contains("fanfare-secret-"), "{seen}");
    assert!(seen.contains("${secret:token}"), "the submitter's text stays as it is: {seen}");
}

#[tokio::test]
async fn a_check_that_fails_or_traps_keeps_a_generation_from_serving() {
    let bench = bench();
    for bytes in [components::CHECK_FAULT, components::TRAP_CHECK] {
        let error = bench.stage(bytes, json!({}), Grants::default(), Secrets::default()).await.unwrap_err();
        assert_eq!(error.code(), "plugin.check", "{error}");
    }
}

#[tokio::test]
async fn a_router_decides_the_same_each_time_because_clock_and_chance_stand_still() {
    let bench = bench();
    let source = Source { label: "probe.wasm".to_owned(), bytes: components::ROUTER_PROBE.into() };
    let plugin = bench.runtime.load(source).await.unwrap();
    let spec =
        RouterSpec { name: "default".to_owned(), number: 1, plugin, settings: Map::new(), limits: limits() };
    let router = bench.runtime.stage_router(spec).await.unwrap();
    let about = Arc::new(notification());
    let now = Timestamp::from_ms(1_700_000_000_123);
    let one = router.route(Arc::clone(&about), Vec::new(), now).await.unwrap();
    let two = router.route(about, Vec::new(), now).await.unwrap();
    assert_eq!(one, two);
    assert!(one.notes.iter().any(|note| note.contains("1700000000123")), "{:?}", one.notes);
}

#[tokio::test]
async fn compiled_code_that_was_tampered_with_is_made_again() {
    let cache = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let runtime = Runtime::start(RuntimeOptions {
            cache_dir: cache.path().to_owned(),
            compiler: Compiler::InProcess,
            concurrency: Concurrency { instances_max: 2, guest_threads: 1 },
            ceilings: Limits::default(),
            clock: Arc::new(ManualClock::at(NOW)),
        });
        let source = Source { label: "d.wasm".to_owned(), bytes: components::DELIVER.into() };
        runtime.unwrap().load(source).await.unwrap();
        if round == 0 {
            for entry in std::fs::read_dir(cache.path()).unwrap() {
                let path = entry.unwrap().path();
                let mut code = std::fs::read(&path).unwrap();
                let middle = code.len() / 2;
                code[middle] ^= 0xff;
                std::fs::write(&path, code).unwrap();
            }
        }
    }
}
