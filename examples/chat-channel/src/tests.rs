use super::*;
use fanfare_sdk::testing::{Host, attempt};

fn chat() -> Chat {
    // What the plugin sees in place of `${secret:chat}`; the gateway puts the value in when the request leaves.
    Chat { url: "https://chat.example/messages".to_owned(), token: "fanfare-secret-00".to_owned() }
}

#[test]
fn a_notification_is_posted_to_the_room_in_the_address() {
    let host = Host::new();
    host.reply(201, "");
    let mut attempt = attempt();
    attempt.address = Some("ops".to_owned());
    assert_eq!(chat().send(&attempt), Ok(Receipt::new().status(201)));
    let request = host.requests().remove(0);
    assert_eq!(request.header_named("authorization"), Some("Bearer fanfare-secret-00"));
    let body: Value = fanfare_sdk::serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, json!({ "room": "ops", "text": "Payment failed\nOrder 42 could not be charged." }));
}

#[test]
fn a_busy_server_is_asked_again_when_it_says_and_a_refusal_is_final() {
    let host = Host::new();
    host.reply_with(429, &[("retry-after", "20")], "");
    host.reply(403, "no such room");
    assert!(matches!(chat().send(&attempt()), Err(SendError::RetryAfter { delay_ms: 20_000, .. })));
    assert!(matches!(chat().send(&attempt()), Err(SendError::Permanent(fault)) if fault.code == "http-403"));
}
