use super::*;
use fanfare_sdk::testing::{Host, attempt};

fn webhook(settings: Value) -> Webhook {
    fanfare_sdk::serde_json::from_value(settings).unwrap()
}

fn plain() -> Webhook {
    webhook(json!({ "url": "http://127.0.0.1:9000/hook" }))
}

#[test]
fn the_body_has_the_documented_fields_and_the_deliverys_id() {
    let host = Host::new();
    host.reply(200, "");
    let mut attempt = attempt();
    attempt.notification.title = Some("결제 실패 💳".to_owned());
    assert_eq!(plain().send(&attempt), Ok(Receipt::new().status(200)));
    let request = host.requests().remove(0);
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "http://127.0.0.1:9000/hook"));
    assert_eq!(request.header_named("content-type"), Some("application/json"));
    let body: Value = fanfare_sdk::serde_json::from_slice(&request.body).unwrap();
    let expected = json!({
        "id": attempt.delivery_id,
        "type": "payment.failed",
        "timestamp": "2026-11-21T00:00:00.000Z",
        "title": "결제 실패 💳",
        "body": "Order 42 could not be charged.",
        "data": { "order": { "id": 42, "total": 19.5 } },
        "priority": "normal",
        "metadata": {},
    });
    assert_eq!(body, expected);
}

#[test]
fn the_signature_is_that_of_the_standard_webhooks_reference() {
    // The pair of secret, id, timestamp and payload is the one in the reference libraries' own tests.
    let host = Host::new();
    host.set_secret("signing", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let mut attempt = attempt();
    attempt.delivery_id = "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned();
    attempt.now_ms = 1_614_265_330_000;
    let request = Request::post("http://x").body(r#"{"test": 2432232314}"#);
    let request = signed(request, &attempt).unwrap();
    let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(request.header_named("webhook-signature"), Some(signature));
    assert_eq!(request.header_named("webhook-timestamp"), Some("1614265330"));
    assert_eq!(request.header_named("webhook-id"), Some("msg_p5jXN8AQM9LWM0D4loKWxJek"));
}

#[test]
fn without_a_secret_nothing_is_signed_and_a_bad_secret_is_permanent() {
    let host = Host::new();
    host.reply(204, "");
    plain().send(&attempt()).unwrap();
    assert_eq!(host.requests()[0].header_named("webhook-signature"), None);
    assert!(host.requests()[0].header_named("webhook-id").is_some());
    host.set_secret("signing", "whsec_no base64!");
    let error = plain().send(&attempt()).unwrap_err();
    assert!(matches!(error, SendError::Permanent(fault) if fault.code == "bad-key"));
}

#[test]
fn address_method_headers_and_content_type_can_be_chosen() {
    let host = Host::new();
    host.reply(200, "");
    let webhook = webhook(json!({
        "url": "https://own.example", "method": "PUT", "headers": { "X-Team": "ops" },
        "content_type": "application/vnd.fanfare+json",
    }));
    let mut attempt = attempt();
    attempt.address = Some("https://other.example/x".to_owned());
    attempt.traceparent = Some("00-a-b-01".to_owned());
    webhook.send(&attempt).unwrap();
    let request = host.requests().remove(0);
    assert_eq!((request.method.as_str(), request.url.as_str()), ("PUT", "https://other.example/x"));
    assert_eq!(request.header_named("x-team"), Some("ops"));
    assert_eq!(request.header_named("traceparent"), Some("00-a-b-01"));
    assert_eq!(request.header_named("content-type"), Some("application/vnd.fanfare+json"));
}

#[test]
fn faults_follow_the_status() {
    let host = Host::new();
    host.reply(503, "later");
    host.reply_with(429, &[("retry-after", "30")], "");
    host.reply(400, "no");
    host.reply(302, "");
    host.fail(HttpError::Connect("refused".to_owned()));
    let send = || plain().send(&attempt()).unwrap_err();
    assert!(matches!(send(), SendError::Transient(fault) if fault.code == "http-503"));
    assert!(matches!(send(), SendError::RetryAfter { delay_ms: 30_000, .. }));
    assert!(matches!(send(), SendError::Permanent(fault) if fault.status == Some(400)));
    assert!(matches!(send(), SendError::Permanent(fault) if fault.status == Some(302)));
    assert!(matches!(send(), SendError::Transient(fault) if fault.code == "http-connect"));
}

#[test]
fn headers_that_can_not_be_sent_are_refused_by_name() {
    let check = |name: &str, value: &str| {
        webhook(json!({ "url": "http://x", "headers": { name: value } }))
            .check()
            .map_err(|fault| fault.message)
    };
    assert_eq!(check("x-ok", "1"), Ok(()));
    assert!(check("bad name", "1").unwrap_err().contains("bad name"));
    assert!(check("Webhook-Id", "1").unwrap_err().contains("Webhook-Id"));
    assert!(check("x", "a\r\nb").unwrap_err().contains("line break"));
}

#[test]
fn unknown_settings_are_refused() {
    let settings = json!({ "url": "http://x", "uri": 1 });
    assert!(fanfare_sdk::serde_json::from_value::<Webhook>(settings).is_err());
}
