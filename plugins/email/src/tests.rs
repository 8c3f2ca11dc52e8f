use super::*;
use fanfare_sdk::smtp::{Reply, SmtpError};
use fanfare_sdk::testing::{Host, attempt};

fn email(settings: Value) -> Email {
    fanfare_sdk::serde_json::from_value(settings).unwrap()
}

fn plain() -> Email {
    email(
        json!({ "host": "mail.example", "port": 587, "from": "fanfare@example.org", "to": "ops@example.org" }),
    )
}

fn accepted() -> Result<Reply, SmtpError> {
    Ok(Reply { code: 250, text: "2.0.0 queued as 42".to_owned() })
}

#[test]
fn a_notification_becomes_a_mail_with_both_parts() {
    let host = Host::new();
    host.mail_reply(accepted());
    let receipt = plain().send(&attempt()).unwrap();
    assert_eq!((receipt.status, receipt.detail.as_deref()), (Some(250), Some("2.0.0 queued as 42")));
    let mail = host.mails().remove(0);
    assert_eq!((mail.subject.as_str(), mail.to[0].address.as_str()), ("Payment failed", "ops@example.org"));
    assert_eq!(mail.text.as_deref(), Some("Order 42 could not be charged."));
    assert!(mail.html.unwrap().contains("<h2>Payment failed</h2>\n<p>Order 42 could not be charged.</p>"));
    assert_eq!(mail.message_id, format!("{}@example.org", attempt().delivery_id));
    assert_eq!((mail.server.username, mail.server.password_secret), (None, None));
}

#[test]
fn an_address_replaces_the_channels_own_recipient() {
    let mut attempt = attempt();
    attempt.address = Some("홍길동@예시.한국".to_owned());
    attempt.recipient.display_name = Some("홍길동\r\nBcc: x".to_owned());
    let mail = plain().message(&attempt).unwrap();
    assert_eq!(
        mail.to,
        [Mailbox {
            name: Some("홍길동  Bcc: x".to_owned()), address: "홍길동@예시.한국".to_owned()
        }]
    );
}

#[test]
fn a_message_id_is_the_same_in_every_attempt_and_ascii() {
    let mut attempt = attempt();
    let first = plain().message(&attempt).unwrap().message_id;
    (attempt.number, attempt.now_ms) = (3, attempt.now_ms + 9_000);
    assert_eq!(plain().message(&attempt).unwrap().message_id, first);
    let idn = email(json!({ "host": "h", "port": 25, "from": "a@예시.한국", "to": "b@c.d" }));
    assert!(idn.message(&attempt).unwrap().message_id.ends_with("@fanfare.invalid"));
}

#[test]
fn login_and_protection_come_from_the_settings() {
    let email = email(json!({
        "host": "h", "port": 465, "encryption": "tls", "username": "u", "from": "a@b", "from_name": "알림", "reply_to": "r@b",
        "to": "t@b",
    }));
    let mail = email.message(&attempt()).unwrap();
    assert_eq!(mail.server.encryption, Encryption::Tls);
    assert_eq!(
        (mail.server.username.as_deref(), mail.server.password_secret.as_deref()),
        (Some("u"), Some("password"))
    );
    assert_eq!((mail.sender.name.as_deref(), mail.reply_to.unwrap().address.as_str()), (Some("알림"), "r@b"));
    assert_eq!(plain().server().encryption, Encryption::Starttls);
}

#[test]
fn what_a_submitter_writes_is_escaped_and_stays_in_its_place() {
    let mut attempt = attempt();
    attempt.notification.title = Some("a\r\nBcc: x@y <b>".to_owned());
    attempt.notification.body = Some("1 < 2 & \"q\"\nsecond\r\n\r\nthird".to_owned());
    attempt.recipient.locale = Some("ko\"><x".to_owned());
    let mail = plain().message(&attempt).unwrap();
    assert_eq!(mail.subject, "a  Bcc: x@y <b>");
    let html = mail.html.unwrap();
    assert!(html.contains("<p>1 &lt; 2 &amp; &quot;q&quot;<br>\nsecond</p>\n<p>third</p>"), "{html}");
    assert!(html.contains("lang=\"ko&quot;&gt;&lt;x\""));
}

#[test]
fn the_subject_falls_back_and_is_bounded() {
    let mut notification = attempt().notification;
    notification.title = None;
    assert_eq!(subject(&notification), "Order 42 could not be charged.");
    notification.body = None;
    assert_eq!(subject(&notification), "payment.failed");
    notification.title = Some("한".repeat(900));
    assert_eq!(subject(&notification).chars().count(), SUBJECT_CHARS_MAX);
}

#[test]
fn replies_4xx_are_transient_and_5xx_permanent() {
    let host = Host::new();
    let refuse = |code| host.mail_reply(Err(SmtpError::Refused(Reply { code, text: "no".to_owned() })));
    refuse(451);
    assert!(
        matches!(plain().send(&attempt()), Err(SendError::Transient(fault)) if fault.status == Some(451))
    );
    refuse(550);
    assert!(matches!(plain().send(&attempt()), Err(SendError::Permanent(fault)) if fault.code == "smtp-550"));
    host.mail_reply(Err(SmtpError::Connect("refused".to_owned())));
    assert!(
        matches!(plain().send(&attempt()), Err(SendError::Transient(fault)) if fault.code == "smtp-connect")
    );
    host.mail_reply(Err(SmtpError::Denied("not granted".to_owned())));
    assert!(
        matches!(plain().send(&attempt()), Err(SendError::Permanent(fault)) if fault.code == "smtp-denied")
    );
}

#[test]
fn a_mail_without_a_proper_recipient_is_never_sent() {
    let host = Host::new();
    let nobody = email(json!({ "host": "h", "port": 25, "from": "a@b" }));
    assert!(
        matches!(nobody.send(&attempt()), Err(SendError::Permanent(fault)) if fault.code == "no-recipient")
    );
    let mut attempt = attempt();
    for address in ["", "x", "@b", "a@", "a@b\r\nRCPT TO:<c@d>", "a@b, c@d", "<a@b>"] {
        attempt.address = Some(address.to_owned());
        assert!(
            matches!(nobody.send(&attempt), Err(SendError::Permanent(fault)) if fault.code == "bad-address"),
            "{address}"
        );
    }
    assert!(host.mails().is_empty());
}

#[test]
fn bad_addresses_in_the_settings_are_refused_by_name() {
    let bad = email(json!({ "host": "h", "port": 25, "from": "nobody" }));
    assert!(bad.check().unwrap_err().message.starts_with("from: \"nobody\""));
    assert_eq!(plain().check(), Ok(()));
}
