//! `wasi:http` goes through the same door: the same grants, addresses, secrets and limits, and the same account.

use super::*;
use crate::egress::tests::support::{Script, Sink};

struct Post {
    report: AttemptReport,
    said: String,
}

async fn post(bench: &Bench, url: String, address: Option<&str>, title: &str) -> Post {
    let grants = Grants::parse(std::slice::from_ref(&url), &[], true).unwrap();
    let mut secrets = Secrets::default();
    secrets.insert("token", Secret::new("s3cr3t-value".to_owned()), None);
    let settings = json!({ "url": url, "token": "${secret:token}" });
    let generation = bench.stage(components::HTTP_WASI, settings, grants, secrets).await.unwrap();
    let about =
        Notification { title: Some(title.to_owned()), body: Some("x".repeat(10_000)), ..notification() };
    let report = generation.send(AttemptInput { notification: Arc::new(about), ..input(address) }).await;
    let Outcome::Delivered(receipt) = &report.outcome else { panic!("{:?}", report.outcome) };
    let said = receipt.detail.clone().unwrap();
    Post { report, said }
}

/// Answers with the token that it was sent.
async fn sink() -> Sink {
    Sink::start(|parts, _| {
        let token = parts.headers["x-token"].to_str().unwrap().to_owned();
        http::Response::new(token.into())
    })
    .await
}

#[tokio::test]
async fn a_guest_with_a_client_of_its_own_is_answered_and_its_secrets_are_put_in_and_masked() {
    let (bench, sink) = (bench(), sink().await);
    let Post { report, said } = post(&bench, sink.origin(), None, "1").await;
    assert_eq!(said, "200 ***");
    let (parts, body) = sink.seen().pop().unwrap();
    assert_eq!((parts.method.as_str(), parts.headers["x-token"].as_bytes()), ("POST", &b"s3cr3t-value"[..]));
    assert_eq!(parts.headers["host"].to_str().unwrap(), sink.address.to_string());
    assert_eq!(body.len(), 10_000);
    let usage = report.usage;
    assert_eq!((usage.requests, usage.bytes_out, usage.bytes_in), (1, 10_000, 3));
    assert_eq!(report.requests.len(), 1);
    assert_eq!((report.requests[0].origin.clone(), report.requests[0].status), (sink.origin(), Some(200)));
}

#[tokio::test]
async fn connections_are_kept_for_the_next_request() {
    let (bench, sink) = (bench(), sink().await);
    post(&bench, sink.origin(), None, "5").await;
    assert_eq!(sink.seen().len(), 5);
    // One is back only once its task has run, and a request does not wait for that.
    assert!(sink.connections() < 5, "{}", sink.connections());
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_the_log_says_what_to_paste() {
    let (bench, sink, other) = (bench(), sink().await, sink().await);
    let Post { report, said } = post(&bench, sink.origin(), Some(&other.origin()), "1").await;
    assert!(said.contains("HttpRequestDenied"), "{said}");
    let log: Vec<&str> = report.log.iter().map(|line| line.message.as_str()).collect();
    assert!(log.iter().any(|line| line.contains("not granted") && line.contains(&other.origin())), "{log:?}");
    assert_eq!((other.connections(), report.usage.bytes_out), (0, 0));
}

#[tokio::test]
async fn a_name_that_leads_to_a_metadata_address_is_not_called() {
    let resolver = Script::new(&[&["169.254.169.254"]]);
    let bench = bench_with(DoorOptions { resolver, ..DoorOptions::default() });
    let Post { report, said } = post(&bench, "http://inside.example".to_owned(), None, "1").await;
    assert!(said.contains("HttpRequestDenied"), "{said}");
    assert!(report.log.iter().any(|line| line.message.contains("169.254.169.254")), "{:?}", report.log);
}

#[tokio::test]
async fn an_attempt_makes_as_many_requests_as_by_the_hosts_own_interface() {
    let (bench, sink) = (bench(), sink().await);
    let Post { report, said } = post(&bench, sink.origin(), None, "12").await;
    assert!(said.contains("HttpRequestDenied"), "{said}");
    assert_eq!(sink.seen().len(), 8);
    assert!(
        report.log.iter().any(|line| line.message.contains("no more than 8 requests")),
        "{:?}",
        report.log
    );
}
