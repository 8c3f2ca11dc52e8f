use super::*;
use fanfare_sdk::testing::{Host, attempt, notification};

fn send() -> Result<Receipt, SendError> {
    Slack { url: "https://hooks.slack.com/services/fanfare-secret-00".to_owned() }.send(&attempt())
}

#[test]
fn a_notification_becomes_blocks_and_a_fallback_text() {
    let host = Host::new();
    host.reply(200, "ok");
    assert_eq!(send(), Ok(Receipt::new().status(200)));
    let request = host.requests().remove(0);
    assert_eq!(request.url, "https://hooks.slack.com/services/fanfare-secret-00");
    let body: Value = fanfare_sdk::serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["text"], "Payment failed\nOrder 42 could not be charged.");
    assert_eq!(body["blocks"][0]["text"], json!({ "type": "plain_text", "text": "Payment failed" }));
    assert_eq!(body["blocks"][1]["text"]["text"], "Order 42 could not be charged.");
    assert_eq!(body["blocks"][2]["elements"][0]["text"], "payment.failed");
}

#[test]
fn markup_of_the_submitter_is_escaped_where_slack_reads_markup() {
    let mut notification = notification();
    notification.title = Some("<a> &\n한글".to_owned());
    notification.body = Some("<!channel> & <http://x|y>".to_owned());
    let json = message(&notification).json;
    assert_eq!(json["blocks"][0]["text"]["text"], "<a> & 한글");
    assert_eq!(json["blocks"][1]["text"]["text"], "&lt;!channel&gt; &amp; &lt;http://x|y&gt;");
}

#[test]
fn long_text_is_cut_between_characters_and_the_receipt_says_so() {
    for (text, max, expected) in [
        ("abc", 3, ("abc", true)),
        ("abcd", 3, ("ab…", false)),
        ("a&b", 5, ("a…", false)),
        ("💳💳", 3, ("💳…", false)),
    ] {
        assert_eq!(fitted(text, max, Escape::Yes), (expected.0.to_owned(), expected.1), "{text}");
    }
    let host = Host::new();
    host.reply(200, "ok");
    let mut attempt = attempt();
    attempt.notification.title = Some("한".repeat(400));
    attempt.notification.body = Some("<".repeat(10_000));
    let slack = Slack { url: "https://hooks.slack.com/x".to_owned() };
    assert!(slack.send(&attempt).unwrap().detail.unwrap().contains("cut"));
    let body: Value = fanfare_sdk::serde_json::from_slice(&host.requests()[0].body).unwrap();
    let units = |value: &Value| value["text"]["text"].as_str().unwrap().encode_utf16().count();
    assert_eq!(units(&body["blocks"][0]), HEADER_MAX);
    assert!(units(&body["blocks"][1]) <= TEXT_MAX);
}

#[test]
fn a_notification_without_text_still_makes_a_message() {
    let mut notification = notification();
    (notification.title, notification.body) = (None, Some("  ".to_owned()));
    let json = message(&notification).json;
    assert_eq!(
        (json["text"].as_str(), json["blocks"].as_array().unwrap().len()),
        (Some("payment.failed"), 1)
    );
}

#[test]
fn slacks_words_decide_what_is_worth_another_try() {
    let host = Host::new();
    for (status, word) in
        [(400, "invalid_payload"), (404, "no_service"), (410, "channel_is_archived"), (500, "no_text")]
    {
        host.reply(status, word);
        let code = word.replace('_', "-");
        assert!(
            matches!(send(), Err(SendError::Permanent(fault)) if fault.code == code && fault.status == Some(status))
        );
    }
    host.reply(500, "rollup_error");
    assert!(matches!(send(), Err(SendError::Transient(fault)) if fault.code == "rollup-error"));
    host.reply_with(429, &[("Retry-After", "30")], "rate_limited");
    assert!(
        matches!(send(), Err(SendError::RetryAfter { delay_ms: 30_000, fault }) if fault.code == "rate-limited")
    );
    host.reply(429, r#"{"ok":false,"error":"ratelimited"}"#);
    assert!(matches!(send(), Err(SendError::Transient(fault)) if fault.code == "ratelimited"));
}

#[test]
fn an_answer_that_is_not_slacks_own_is_judged_by_its_status() {
    let host = Host::new();
    host.reply(502, "<html>Bad gateway</html>");
    assert!(matches!(send(), Err(SendError::Transient(fault)) if fault.code == "http-502"));
    host.reply(403, "");
    assert!(matches!(send(), Err(SendError::Permanent(fault)) if fault.code == "http-403"));
    host.reply(400, "some_new_word");
    assert!(matches!(send(), Err(SendError::Permanent(fault)) if fault.code == "some-new-word"));
}
