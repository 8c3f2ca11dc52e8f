use std::sync::{Arc, Mutex};

use fanfare_model::clock::ManualClock;
use fanfare_model::id::{DeliveryId, IdGenerator, Shard};
use fanfare_model::notification::Notification;
use fanfare_model::outcome::Outcome;
use fanfare_model::time::Timestamp;
use fanfare_test_components as components;
use serde_json::json;

use super::*;
use crate::egress::Grants;
use crate::secrets::{Secret, Secrets};
use crate::{
    AttemptInput, AttemptReport, ChannelSpec, Compiler, Concurrency, Isolation, Limits, RecipientInfo,
    Runtime, RuntimeOptions, Source,
};

const NOW: Timestamp = Timestamp::EPOCH;

/// Says the same each time, and remembers what it saw.
#[derive(Debug)]
struct Says {
    answer: Result<Response, Refusal>,
    seen: Mutex<Vec<SentRequest>>,
}

impl Script for Says {
    fn http(&self, request: SentRequest) -> Result<Response, Refusal> {
        self.seen.lock().unwrap().push(request);
        self.answer.clone()
    }

    fn mail(&self, _: SentMail) -> Result<Reply, SmtpRefusal> {
        Ok(Reply { code: 250, text: "2.0.0 taken".to_owned() })
    }
}

fn answer(status: u16, body: impl Into<Vec<u8>>) -> Result<Response, Refusal> {
    Ok(Response { status, headers: Vec::new(), body: body.into() })
}

fn notification() -> Notification {
    Notification {
        body: Some("hello".to_owned()),
        ..Notification::new(
            IdGenerator::default().next(Shard::EMBEDDED, NOW),
            "test.event".parse().unwrap(),
            NOW,
        )
    }
}

/// One attempt with a granted `https://receiver.example`, whose secret `token` is a setting.
async fn rehearse(
    bytes: &'static [u8],
    script: &Arc<Says>,
    address: Option<&str>,
    about: &Arc<Notification>,
) -> AttemptReport {
    let cache = tempfile::tempdir().unwrap();
    let options = RuntimeOptions {
        cache_dir: cache.path().to_owned(),
        compiler: Compiler::InProcess,
        concurrency: Concurrency { instances_max: 2, guest_threads: 1 },
        ceilings: Limits::default(),
        clock: Arc::new(ManualClock::at(NOW)),
    };
    let runtime = Runtime::rehearse(options, Arc::clone(script) as Arc<dyn Script>).unwrap();
    let source = Source { label: "x.wasm".to_owned(), bytes: bytes.into() };
    let plugin = runtime.load(source).await.unwrap();
    let mut secrets = Secrets::default();
    secrets.insert("token", Secret::new("s3cr3t-value".to_owned()), None);
    let settings = json!({ "url": "https://receiver.example/in", "token": "${secret:token}" });
    let spec = ChannelSpec {
        name: "test".parse().unwrap(),
        number: 1,
        plugin,
        settings: settings.as_object().unwrap().clone(),
        secrets,
        grants: Grants::parse(&["https://receiver.example".to_owned()], &[], false).unwrap(),
        limits: Limits::default(),
    };
    let generation = runtime.stage_channel(spec).await.unwrap();
    generation.set_isolation(Isolation::Warm);
    let input = AttemptInput {
        delivery: DeliveryId { notification: about.id, index: 0 },
        number: 1,
        notification: Arc::clone(about),
        recipient: RecipientInfo::default(),
        address: address.map(str::to_owned),
        traceparent: None,
    };
    generation.send(input).await
}

fn says(answer: Result<Response, Refusal>) -> Arc<Says> {
    Arc::new(Says { answer, seen: Mutex::default() })
}

#[tokio::test]
async fn the_script_sees_what_would_have_left_with_secrets_masked_and_its_answer_comes_back() {
    let script = says(answer(201, "taken, s3cr3t-value"));
    let report = rehearse(components::HTTP_POST, &script, None, &Arc::new(notification())).await;
    let Outcome::Delivered(receipt) = &report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!(receipt.detail.as_deref(), Some("taken, ***"), "answers are masked as in production");
    let seen = script.seen.lock().unwrap();
    let [request] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://receiver.example/in"));
    assert!(request.headers.contains(&("x-token".to_owned(), b"***".to_vec())), "{request:?}");
    assert_eq!(request.body, b"hello");
}

#[tokio::test]
async fn grants_and_limits_hold_in_a_rehearsal_too() {
    let script = says(answer(200, vec![b'x'; 2 * 1024 * 1024]));
    let about = Arc::new(notification());
    let report = rehearse(components::HTTP_POST, &script, Some("https://elsewhere.example/"), &about).await;
    assert_eq!(report.outcome.fault().unwrap().code.as_str(), "channel.http-denied");
    assert!(script.seen.lock().unwrap().is_empty(), "what is not granted never reaches the script");
    let report = rehearse(components::HTTP_POST, &script, None, &about).await;
    assert_eq!(report.outcome.fault().unwrap().code.as_str(), "channel.http-limit");
}

#[tokio::test]
async fn what_the_network_would_have_done_is_an_answer_like_any_other() {
    let script = says(Err(Refusal::Timeout("no complete answer within 15000 ms".to_owned())));
    let report = rehearse(components::HTTP_POST, &script, None, &Arc::new(notification())).await;
    let Outcome::Transient { fault, .. } = &report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!(fault.code.as_str(), "channel.http-timeout");
}

#[tokio::test]
async fn a_header_that_is_none_breaks_the_exchange_and_nothing_else() {
    let bad = Response { status: 200, headers: vec![("bad\nname".to_owned(), Vec::new())], body: Vec::new() };
    let script = says(Ok(bad));
    let report = rehearse(components::HTTP_POST, &script, None, &Arc::new(notification())).await;
    assert_eq!(report.outcome.fault().unwrap().code.as_str(), "channel.http-protocol");
}

#[tokio::test]
async fn a_channels_clock_and_chance_stand_still() {
    let script = says(answer(200, ""));
    let about = Arc::new(notification());
    let one = rehearse(components::PROBE, &script, None, &about).await;
    let two = rehearse(components::PROBE, &script, None, &about).await;
    assert!(matches!(one.outcome, Outcome::Delivered(_)), "{:?}", one.outcome);
    assert_eq!(one.outcome, two.outcome);
}

#[tokio::test]
async fn what_is_cut_is_told() {
    let script = says(answer(200, ""));
    let report = rehearse(components::GARBAGE, &script, None, &Arc::new(notification())).await;
    let told: Vec<String> = report.cuts.iter().map(ToString::to_string).collect();
    assert!(told.contains(&"the fault's message: 60000 bytes given, 1024 kept".to_owned()), "{told:?}");
    assert!(told.iter().any(|cut| cut.starts_with("the fault's code")), "{told:?}");
}
