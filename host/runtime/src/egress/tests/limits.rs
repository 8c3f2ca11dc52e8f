//! What a request and its answer may be.

use std::time::Duration;

use super::support::*;
use crate::egress::Request;

#[tokio::test]
async fn requests_that_are_none_are_refused_by_what_is_wrong_with_them() {
    let context = context(grants(&["http://127.0.0.1:9"], false));
    let url = "http://127.0.0.1:9/";
    let cases = [
        (Request { method: "GE T".to_owned(), ..get(url) }, "the method \"GE T\" is no HTTP method"),
        (Request { method: "CONNECT".to_owned(), ..get(url) }, "the method \"CONNECT\" is not carried"),
        (post(url, &[("a b", "")], ""), "\"a b\" is no header name"),
        (
            post(url, &[("x-a", "1\r\nx-b: 2")], ""),
            "the value of the header x-a holds a line break or control character",
        ),
        (
            post(url, &[("Transfer-Encoding", "chunked")], ""),
            "the header transfer-encoding is not carried, because the gateway frames the request",
        ),
        (post(url, &[("Proxy-Authorization", "x")], ""), "the header proxy-authorization is not carried"),
        (get("http://me:pass@127.0.0.1:9/"), "the URL names a user; send an authorization header instead"),
        (get("file:///etc/passwd"), "the URL's scheme is \"file\"; only https and http are carried"),
    ];
    for (request, wanted) in cases {
        let (code, text) = refused(&plain_door(), &context, request).await;
        assert_eq!(code, "egress.invalid");
        assert!(text.starts_with(wanted), "{text}");
    }
}

#[tokio::test]
async fn the_doors_own_headers_are_dropped_from_the_guests() {
    let sink = Sink::start(|_, _| answer(200, "")).await;
    let context = context(grants(&[&sink.origin()], false));
    let given = [
        ("Host", "evil.example"),
        ("Content-Length", "99"),
        ("Connection", "close"),
        ("Accept-Encoding", "gzip"),
        ("User-Agent", "mine/1"),
    ];
    plain_door().send(&context, post(sink.url("/"), &given, "four")).await.unwrap();
    let (parts, _) = sink.seen().remove(0);
    assert_eq!(parts.headers["host"], sink.address.to_string());
    assert_eq!(parts.headers["content-length"], "4");
    assert_eq!(parts.headers["user-agent"], "mine/1");
    assert!(!parts.headers.contains_key("connection") && !parts.headers.contains_key("accept-encoding"));
}

#[tokio::test]
async fn bodies_over_the_limit_are_cut_off_both_ways() {
    let sink = Sink::start(|_, _| answer(200, &"x".repeat(2_000))).await;
    let mut context = context(grants(&[&sink.origin()], false));
    context.body_bytes_max = 1_000;
    let refusal = refused(&plain_door(), &context, post(sink.url("/"), &[], &"x".repeat(1_001))).await;
    assert_eq!(
        refusal,
        ("egress.limit", "a request body of 1001 bytes; at most 1000 are carried".to_owned())
    );
    assert!(sink.seen().is_empty());
    let (code, text) = refused(&plain_door(), &context, get(sink.url("/"))).await;
    assert_eq!(code, "egress.limit");
    assert_eq!(text, format!("{} answered with a body of more than 1000 bytes", sink.origin()));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off_at_the_limit() {
    let address = raw(b"HTTP/1.1 200 OK\r\n\r\n0123456789abcdef").await;
    let mut context = context(grants(&[&format!("http://{address}")], false));
    context.body_bytes_max = 10;
    let (code, text) = refused(&plain_door(), &context, get(format!("http://{address}/"))).await;
    assert_eq!(code, "egress.limit");
    assert!(text.ends_with("answered with a body of more than 10 bytes"), "{text}");
}

#[tokio::test]
async fn urls_and_headers_have_limits() {
    let context = context(grants(&["http://127.0.0.1:9"], false));
    let url = format!("http://127.0.0.1:9/{}", "x".repeat(9_000));
    let (code, text) = refused(&plain_door(), &context, get(url)).await;
    assert_eq!((code, text.as_str()), ("egress.limit", "a URL of 9019 bytes; at most 8192 are carried"));
    let long = "x".repeat(40_000);
    let (code, text) =
        refused(&plain_door(), &context, post("http://127.0.0.1:9/", &[("x-a", &long)], "")).await;
    assert_eq!(code, "egress.limit");
    assert_eq!(text, "40003 bytes of header fields; at most 32768 are carried");
    let many = vec![("x-a", ""); 101];
    let (_, text) = refused(&plain_door(), &context, post("http://127.0.0.1:9/", &many, "")).await;
    assert_eq!(text, "101 header fields; at most 100 are carried");
}

#[tokio::test]
async fn an_answer_with_too_long_a_head_is_refused() {
    let sink = Sink::start(|_, _| {
        let mut answer = answer(200, "");
        for number in 0..20 {
            let name = http::HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap();
            answer.headers_mut().insert(name, "x".repeat(4_000).parse().unwrap());
        }
        answer
    })
    .await;
    let context = context(grants(&[&sink.origin()], false));
    let (code, text) = refused(&plain_door(), &context, get(sink.url("/"))).await;
    assert_eq!(code, "egress.limit");
    assert!(text.ends_with("answered with more than 65536 bytes of header fields"), "{text}");
}

#[tokio::test]
async fn a_server_that_never_answers_runs_into_the_time_limit() {
    let address = raw(b"").await;
    let context = context(grants(&[&format!("http://{address}")], false));
    let request = Request { timeout: Duration::from_millis(20), ..get(format!("http://{address}/")) };
    let refusal = refused(&plain_door(), &context, request).await;
    assert_eq!(refusal, ("egress.timeout", "no complete answer within 20 ms".to_owned()));
}
