//! The email channel end to end: the real binary, a mail server of a distribution, and what came out of it.

use std::path::Path;

use serde_json::{Value, json};

use crate::child::{Gateway, call_with};
use crate::mailbox::{CERTIFICATE, MailServer};

/// Longer lines may be broken by servers on the way (RFC 5322, section 2.1.1).
const LINE_OCTETS_MAX: usize = 998;

struct Post {
    gateway: Gateway,
    server: MailServer,
    _folder: tempfile::TempDir,
}

/// A gateway with a mail channel; `settings` and `channel` are further lines of its section. `None` without a mail server.
fn post(settings: &str, channel: &str, trusts_the_server: bool) -> Option<Post> {
    let server = MailServer::start()?;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let port = server.address.port();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
         [users.ann]\nname = \"앤 해서웨이\"\nlocale = \"ko-KR\"\n\
         contacts = [{{ channel = \"mail\", address = \"ann@example.org\" }}]\n\
         [routers.default]\nplugin = \"rules\"\n[[routers.default.settings.rules]]\nname = \"all\"\nthen = {{ channels = [\"mail\"] }}\n\
         [channels.mail]\nplugin = \"email\"\n{channel}\n\
         grants = {{ smtp = [\"localhost:{port}\"], allow_private = true }}\n\
         [channels.mail.settings]\nhost = \"localhost\"\nport = {port}\nfrom = \"fanfare@example.org\"\n{settings}\n"
    );
    std::fs::write(&config, text).unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, if trusts_the_server { CERTIFICATE } else { "" }).unwrap();
    let gateway = Gateway::start_with(&config, &[("SSL_CERT_FILE", roots.as_path())]);
    Some(Post { gateway, server, _folder: folder })
}

impl Post {
    /// Submits and waits for the end; answers the notification.
    fn send(&self, body: &Value) -> Value {
        let (status, _, answer) = call_with(
            self.gateway.address,
            "POST",
            "/api/v1/notifications",
            "prefer: wait=60\r\n",
            &body.to_string(),
        )
        .unwrap();
        assert!(matches!(status, 200 | 202), "{status}: {answer}");
        self.get(&format!("/api/v1/notifications/{}", answer["id"].as_str().unwrap()))
    }

    fn get(&self, path: &str) -> Value {
        let (status, answer) = crate::child::call(self.gateway.address, "GET", path, "").unwrap();
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

fn to(address: &str) -> Value {
    json!({ "type": "a.b", "title": "Hello", "to": [{ "channel": "mail", "address": address }] })
}

#[test]
fn a_mail_in_korean_arrives_whole_as_text_and_as_html() {
    let settings = "encryption = \"none\"\nfrom_name = \"팡파르\"\nreply_to = \"ops@example.org\"";
    let Some(post) = post(settings, "", false) else { return };
    let title = "결제 실패 – 주문 1042 «긴 제목» ".repeat(4);
    let body =
        format!("첫째 줄 <b>굵게</b> & \"따옴표\"\n.\n점 하나\n\n{}", "한 문단이 매우 깁니다. ".repeat(200));
    let ended = post
        .send(&json!({ "type": "payment.failed", "title": title, "body": body, "to": [{ "user": "ann" }] }));
    assert_eq!(ended["deliveries"][0]["status"], "delivered", "{ended}");

    let taken = post.server.taken();
    let [mail] = taken.as_slice() else { panic!("{taken:?}") };
    assert!(mail.envelope.contains("<fanfare@example.org>") && mail.envelope.ends_with("ann@example.org"));
    assert_eq!(mail.field("subject").trim(), title.trim());
    assert_eq!(mail.field("from").replace('"', ""), "팡파르 <fanfare@example.org>");
    assert_eq!(mail.field("to").replace('"', ""), "앤 해서웨이 <ann@example.org>");
    assert_eq!(mail.field("reply-to"), "ops@example.org");
    assert_eq!(mail.field("auto-submitted"), "auto-generated");
    let delivery = ended["deliveries"][0]["id"].as_str().unwrap();
    assert_eq!(mail.field("message-id"), format!("<{delivery}@example.org>"));
    mailparse::dateparse(&mail.field("date")).unwrap();
    assert!(mail.bytes.is_ascii(), "any server on the way can carry it");
    assert!(mail.bytes.split(|byte| *byte == b'\n').all(|line| line.len() <= LINE_OCTETS_MAX));

    let parsed = mail.parsed();
    assert_eq!(parsed.ctype.mimetype, "multipart/alternative");
    let [text, html] = parsed.subparts.as_slice() else { panic!("{parsed:?}") };
    assert_eq!((text.ctype.mimetype.as_str(), text.ctype.charset.as_str()), ("text/plain", "utf-8"));
    assert_eq!(text.get_body().unwrap().replace("\r\n", "\n").trim_end(), body.trim_end());
    assert_eq!((html.ctype.mimetype.as_str(), html.ctype.charset.as_str()), ("text/html", "utf-8"));
    let html = html.get_body().unwrap();
    assert!(html.contains("<html lang=\"ko-KR\">") && html.contains("한 문단이 매우 깁니다."), "{html}");
    assert!(
        html.contains("&lt;b&gt;굵게&lt;/b&gt; &amp; &quot;따옴표&quot;"),
        "what is submitted is no markup: {html}"
    );
}

#[test]
fn addresses_in_other_scripts_arrive_with_their_domain_in_ascii() {
    let Some(post) = post("encryption = \"none\"", "", false) else { return };
    let ended = post.send(&to("앤@우편.example"));
    assert_eq!(ended["deliveries"][0]["status"], "delivered", "{ended}");
    let taken = post.server.taken();
    assert!(taken[0].envelope.ends_with("앤@xn--vo5bi2v.example"), "{}", taken[0].envelope);
}

#[test]
fn a_mail_that_the_server_puts_off_is_sent_again_under_the_same_message_id() {
    let retry = "retry = { initial_delay = \"10ms\" }";
    let Some(post) = post("encryption = \"none\"", retry, false) else { return };
    let ended = post.send(&to("busy@example.org"));
    let delivery = &ended["deliveries"][0];
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&"delivered".into(), &2.into()), "{ended}");
    let trace = post.get(&format!("/api/v1/notifications/{}/trace", ended["id"].as_str().unwrap()));
    let trace = trace.to_string();
    let first = "attempt 1 failed: channel.smtp-450: the mail server answered 450 4.3.2 not now";
    assert!(trace.contains(first) && trace.contains(r#""outcome":"transient""#), "{trace}");
    let taken = post.server.taken();
    let [first, second] = taken.as_slice() else { panic!("{taken:?}") };
    assert_eq!(first.field("message-id"), second.field("message-id"));
}

#[test]
fn a_mailbox_that_does_not_exist_makes_a_dead_letter_in_the_servers_words_at_once() {
    let Some(post) = post("encryption = \"none\"", "", false) else { return };
    let ended = post.send(&to("gone@example.org"));
    let delivery = &ended["deliveries"][0];
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&"dead".into(), &1.into()), "{ended}");
    let letters = post.get("/api/v1/admin/dlq");
    let fault = &letters["items"][0]["fault"];
    assert_eq!((&fault["code"], &fault["status"]), (&"channel.smtp-550".into(), &550.into()), "{letters}");
    assert!(fault["message"].as_str().unwrap().contains("5.1.1 there is no such mailbox"), "{letters}");
    assert_eq!(post.server.taken().len(), 0);
    let ended = post.send(&to("ann@example.org"));
    assert_eq!(ended["deliveries"][0]["status"], "delivered", "the next one goes: {ended}");
}

const LOGIN: &str = "encryption = \"starttls\"\nusername = \"fanfare\"";

fn password(folder: &Path, text: &str) -> String {
    let file = folder.join("password");
    std::fs::write(&file, text).unwrap();
    format!(
        "secrets = {{ password = {:?} }}\nretry = {{ max_retries = 0 }}",
        format!("file:{}", file.display())
    )
}

#[test]
fn starttls_protects_the_login_and_the_mail() {
    let folder = tempfile::tempdir().unwrap();
    let Some(post) = post(LOGIN, &password(folder.path(), "pass word\n"), true) else { return };
    let ended = post.send(&to("ann@example.org"));
    assert_eq!(ended["deliveries"][0]["status"], "delivered", "{ended}");
    let taken = post.server.taken();
    let envelope = &taken[0].envelope;
    // Extended SMTP, secured, authenticated.
    assert!(
        envelope.contains("-received_protocol esmtpsa\n") && envelope.contains("auth_id fanfare\n"),
        "{envelope}"
    );
}

#[test]
fn a_wrong_password_and_a_server_of_unknown_authority_get_no_mail() {
    let folder = tempfile::tempdir().unwrap();
    for (word, trusted, code) in
        [("wrong", true, "channel.smtp-535"), ("pass word", false, "channel.smtp-tls")]
    {
        let Some(post) = post(LOGIN, &password(folder.path(), word), trusted) else { return };
        let ended = post.send(&to("ann@example.org"));
        let delivery = &ended["deliveries"][0];
        assert_eq!(
            (&delivery["status"], &delivery["last_fault"]["code"]),
            (&"dead".into(), &code.into()),
            "{ended}"
        );
        assert!(!ended.to_string().contains(word), "{ended}");
        assert_eq!(post.server.taken().len(), 0);
    }
}
