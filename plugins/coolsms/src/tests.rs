use super::*;
use fanfare_sdk::testing::{Host, attempt};

fn coolsms() -> CoolSms {
    fanfare_sdk::serde_json::from_value(
        json!({ "api_key": "NCSKEY", "from": "029302266", "to": "010-1234-5678" }),
    )
    .unwrap()
}

fn with_text(title: Option<&str>, body: &str) -> Attempt {
    let mut attempt = attempt();
    attempt.notification.title = title.map(str::to_owned);
    attempt.notification.body = Some(body.to_owned());
    attempt
}

#[test]
fn a_short_korean_text_goes_as_a_signed_sms() {
    let host = Host::new();
    host.set_secret("api-secret", "secret");
    host.reply(200, r#"{"messageId":"M4V1","statusCode":"2000"}"#);
    let receipt = coolsms().send(&with_text(Some("결제 실패"), "주문 42번을 확인해 주세요.")).unwrap();
    assert_eq!((receipt.provider_id.as_deref(), receipt.detail), (Some("M4V1"), None));
    let request = host.requests().remove(0);
    assert_eq!(request.url, "https://api.solapi.com/messages/v4/send");
    let body: Value = fanfare_sdk::serde_json::from_slice(&request.body).unwrap();
    let text = "결제 실패\n주문 42번을 확인해 주세요.";
    let message = json!({ "to": "01012345678", "from": "029302266", "text": text, "type": "SMS" });
    assert_eq!(body, json!({ "message": message }));
    let header = request.header_named("authorization").unwrap();
    let begin = "HMAC-SHA256 apiKey=NCSKEY, date=2026-11-21T00:00:00.000Z, salt=0192f0c10000700080000000000000d10001, ";
    assert!(header.starts_with(begin), "{header}");
}

#[test]
fn the_signature_is_the_keyed_hash_of_date_and_salt() {
    let host = Host::new();
    host.set_secret("api-secret", "key");
    let header = coolsms().authorization(&attempt()).unwrap();
    let part =
        |name: &str| header.split(&format!("{name}=")).nth(1).unwrap().split(", ").next().unwrap().to_owned();
    let data = format!("{}{}", part("date"), part("salt"));
    let mac = crypto::hmac("api-secret", KeyFormat::Raw, Hash::Sha256, data.as_bytes()).unwrap();
    assert_eq!(part("signature"), encode::hex(&mac));
    assert_eq!(part("signature").len(), 64);
    assert!((12..=64).contains(&part("salt").len()), "as the provider asks");
    let mut second = attempt();
    second.number = 2;
    assert_ne!(coolsms().authorization(&second).unwrap(), header);
}

#[test]
fn ninety_bytes_are_an_sms_and_ninety_one_an_lms() {
    let kind = |body: &str| coolsms().message(&with_text(None, body)).unwrap().r#type;
    assert_eq!(kind(&"가".repeat(45)), "SMS");
    assert_eq!(kind(&format!("{}a", "가".repeat(45))), "LMS");
}

#[test]
fn a_long_text_has_its_title_as_subject_and_is_cut_with_a_remark() {
    let attempt = with_text(Some(&"제목".repeat(20)), &"본문 ".repeat(1_000));
    let message = coolsms().message(&attempt).unwrap();
    assert_eq!(message.r#type, "LMS");
    assert_eq!(text::bytes(message.subject.as_deref().unwrap()), SUBJECT_BYTES_MAX);
    assert_eq!(text::bytes(&message.text), LMS_BYTES_MAX);
    assert_eq!(message.remarks, ["the text was cut to 2,000 bytes", "the subject was cut to 40 bytes"]);
}

#[test]
fn replaced_characters_are_told_in_the_receipt() {
    let host = Host::new();
    host.set_secret("api-secret", "s");
    host.reply(200, r#"{"statusCode":"2000"}"#);
    let receipt = coolsms().send(&with_text(None, "결제 💳")).unwrap();
    assert_eq!(receipt.detail.as_deref(), Some("1 characters that EUC-KR can't hold became ?"));
}

#[test]
fn numbers_are_taken_in_the_ways_people_write_them() {
    for text in ["01012345678", "010-1234-5678", "+82 10 1234 5678", "+82-010-1234-5678", "(010) 1234.5678"] {
        assert_eq!(number("to", text), Ok("01012345678".to_owned()), "{text}");
    }
    for text in ["", "12", "+1 555 0100", "hello", "010１２３４"] {
        assert_eq!(number("to", text).unwrap_err().code, "bad-number", "{text}");
    }
}

#[test]
fn without_a_recipient_or_a_secret_nothing_is_sent() {
    let host = Host::new();
    let mut nobody = coolsms();
    nobody.to = None;
    assert!(
        matches!(nobody.send(&attempt()), Err(SendError::Permanent(fault)) if fault.code == "no-recipient")
    );
    assert!(
        matches!(coolsms().send(&attempt()), Err(SendError::Permanent(fault)) if fault.code == "no-secret")
    );
    assert!(host.requests().is_empty());
}

#[test]
fn network_faults_and_bad_settings_are_told_apart() {
    let host = Host::new();
    host.set_secret("api-secret", "s");
    host.fail(HttpError::Timeout("5 s".to_owned()));
    assert!(
        matches!(coolsms().send(&attempt()), Err(SendError::Transient(fault)) if fault.code == "http-timeout")
    );
    assert_eq!(coolsms().check(), Ok(()));
    let mut bad = coolsms();
    bad.api_key = "a, b".to_owned();
    assert!(bad.check().unwrap_err().message.starts_with("api_key"));
}
