//! What changes while a generation serves: secrets, limits, and the end of it all.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::egress::tests::support::Sink;
use crate::report::CallEnd;

fn token(value: &str) -> Secrets {
    let mut secrets = Secrets::default();
    secrets.insert("token", Secret::new(value.to_owned()), None);
    secrets
}

#[tokio::test]
async fn a_rotated_secret_is_sent_from_the_next_call_on_by_the_same_generation() {
    let sink = Sink::start(|_, _| http::Response::new(String::new().into())).await;
    let bench = bench();
    let grants = Grants::parse(&[sink.origin()], &[], true).unwrap();
    let settings = json!({ "url": sink.url("/"), "token": "${secret:token}" });
    let generation = bench.stage(components::HTTP_POST, settings, grants, token("first")).await.unwrap();
    generation.send(input(None)).await;
    let renewal = generation.renewal(token("second"), limits()).unwrap();
    generation.send(input(None)).await;
    renewal.apply();
    generation.send(input(None)).await;
    let seen: Vec<_> = sink.seen().iter().map(|(parts, _)| parts.headers["x-token"].clone()).collect();
    assert_eq!(seen, ["first", "first", "second"]);
    assert_eq!(generation.usage().calls, 3, "one account, for there is one generation");
}

#[tokio::test]
async fn a_renewal_without_a_secret_that_the_settings_name_is_refused_and_changes_nothing() {
    let bench = bench();
    let settings = json!({ "token": "${secret:token}" });
    let generation =
        bench.stage(components::ECHO, settings, Grants::default(), token("first")).await.unwrap();
    let error = generation.renewal(Secrets::default(), limits()).unwrap_err();
    assert_eq!(error.code(), "config.secret");
    assert!(error.to_string().contains("token"), "{error}");
    let report = generation.send(input(None)).await;
    assert!(matches!(report.outcome, Outcome::Delivered(_)), "{:?}", report.outcome);
}

#[tokio::test]
async fn renewed_limits_stay_below_the_ceilings() {
    let bench = bench();
    let generation =
        bench.stage(components::ALLOCATE, json!({}), Grants::default(), Secrets::default()).await.unwrap();
    let wide = Limits { memory_bytes: u64::MAX, ..limits() };
    generation.renewal(Secrets::default(), wide).unwrap().apply();
    let report = generation.send(input(None)).await;
    assert_eq!(report.outcome.fault().unwrap().code.as_str(), "plugin.memory");
    assert!(report.usage.memory_bytes_peak <= limits().memory_bytes);
}

/// A server that tells when it has a request, and answers it when it is told to.
struct Held {
    address: SocketAddr,
    asked: oneshot::Receiver<()>,
    answer: oneshot::Sender<()>,
}

async fn held() -> Held {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ((tell, asked), (answer, told)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let read = stream.read(&mut [0; 4_096]).await.unwrap();
        assert!(read > 0);
        tell.send(()).unwrap();
        if told.await.is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    Held { address, asked, answer }
}

async fn under_way(bench: &Bench, held: &Held) -> tokio::task::JoinHandle<AttemptReport> {
    let origin = format!("http://{}", held.address);
    let grants = Grants::parse(std::slice::from_ref(&origin), &[], true).unwrap();
    let settings = json!({ "url": origin });
    let generation = bench.stage(components::HTTP_POST, settings, grants, Secrets::default()).await.unwrap();
    tokio::spawn(async move { generation.send(input(None)).await })
}

#[tokio::test]
async fn a_stop_lets_the_call_under_way_end_and_takes_no_other() {
    let (bench, mut held) = (bench(), held().await);
    let other =
        bench.stage(components::DELIVER, json!({}), Grants::default(), Secrets::default()).await.unwrap();
    let call = under_way(&bench, &held).await;
    (&mut held.asked).await.unwrap();
    let stop = bench.runtime.stop(FAR);
    tokio::pin!(stop);
    let none = std::future::poll_fn(|context| std::task::Poll::Ready(stop.as_mut().poll(context))).await;
    assert!(none.is_pending(), "it waits for the call");
    let refused = other.send(input(None)).await;
    assert_eq!(refused.outcome.fault().unwrap().code.as_str(), "host.stopping");
    held.answer.send(()).unwrap();
    assert_eq!(stop.await, 0);
    let report = call.await.unwrap();
    assert!(matches!(report.outcome, Outcome::Delivered(_)), "{:?}", report.outcome);
}

#[tokio::test]
async fn a_stop_at_its_deadline_takes_back_what_still_runs() {
    let (bench, mut held) = (bench(), held().await);
    let call = under_way(&bench, &held).await;
    (&mut held.asked).await.unwrap();
    assert_eq!(bench.runtime.stop(Duration::ZERO).await, 1);
    let report = call.await.unwrap();
    assert_eq!(report.end, CallEnd::GivenUp);
    assert_eq!(report.outcome.fault().unwrap().code.as_str(), "host.stopping");
}
