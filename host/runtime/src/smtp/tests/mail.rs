//! What a mail looks like on the wire, and which are refused before they get there.

use super::server::*;
use crate::smtp::*;

async fn sent(change: impl FnOnce(&mut Message)) -> (String, Vec<String>) {
    let server = SmtpServer::start(Manners::default()).await;
    let mut message = mail_to(&server);
    change(&mut message);
    plain_mailer().send(&granted(&server), message).await.unwrap();
    (server.mails().remove(0), server.commands())
}

async fn refused(change: impl FnOnce(&mut Message)) -> String {
    let mut message = mail("127.0.0.1", 25);
    change(&mut message);
    plain_mailer().send(&context(&["127.0.0.1:25"], false), message).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_plain_mail_has_the_fields_it_was_given() {
    let (mail, commands) = sent(|message| {
        message.reply_to = Some(Mailbox { name: None, address: "answers@example.org".to_owned() });
        message.headers.push(("X-Delivery".to_owned(), "abc".to_owned()));
    })
    .await;
    for line in [
        "From: Fanfare <fanfare@example.org>\r\n",
        "To: alice@example.org\r\n",
        "Reply-To: answers@example.org\r\n",
        "Subject: Subject\r\n",
        "Message-ID: <id-1@fanfare.example>\r\n",
        "X-Delivery: abc\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "\r\n\r\nHello\r\n",
    ] {
        assert!(mail.contains(line), "{line:?} in {mail}");
    }
    assert!(mail.contains("Date: "));
    assert!(commands.contains(&"MAIL FROM:<fanfare@example.org>".to_owned()), "{commands:?}");
    assert!(commands.contains(&"RCPT TO:<alice@example.org>".to_owned()));
}

#[tokio::test]
async fn other_scripts_are_encoded_in_subject_names_addresses_and_bodies() {
    let (mail, commands) = sent(|message| {
        message.subject = "결제 실패".to_owned();
        message.to =
            vec![Mailbox { name: Some("김철수".to_owned()), address: "kim@예시.example".to_owned() }];
        message.text = Some("안녕하세요, 결제가 실패했습니다.".to_owned());
        message.message_id = "id-2@fanfare.example".to_owned();
    })
    .await;
    assert!(mail.is_ascii(), "{mail}");
    assert!(mail.contains("Subject: =?utf-8?b?6rKw7KCcIOyLpO2MqA==?=\r\n"), "{mail}");
    assert!(mail.contains("To: =?utf-8?b?6rmA7LKg7IiY?= <kim@xn--vv4b11d.example>\r\n"), "{mail}");
    assert!(mail.contains("Content-Transfer-Encoding: base64\r\n"), "{mail}");
    assert!(commands.contains(&"RCPT TO:<kim@xn--vv4b11d.example>".to_owned()), "{commands:?}");
}

#[tokio::test]
async fn text_and_html_are_alternatives_and_attachments_stand_beside_them() {
    let (mail, _) = sent(|message| {
        message.html = Some("<p>Hello</p>".to_owned());
        message.attachments.push(Attachment {
            name: "보고서.txt".to_owned(),
            content_type: "text/plain".to_owned(),
            content: b"a\n.\nRSET\n".to_vec(),
        });
    })
    .await;
    let at = |text: &str| mail.find(text).unwrap_or_else(|| panic!("{text:?} in {mail}"));
    assert!(at("multipart/mixed") < at("multipart/alternative"));
    assert!(at("multipart/alternative") < at("text/plain; charset=utf-8"));
    assert!(at("text/plain; charset=utf-8") < at("text/html; charset=utf-8"));
    assert!(at("text/html; charset=utf-8") < at("Content-Disposition: attachment"));
    // Base64 of the file: its line feeds and dots do not appear in the conversation.
    assert!(mail.contains("YQouClJTRVQK"), "{mail}");
}

#[tokio::test]
async fn a_dot_on_a_line_of_its_own_does_not_end_the_mail() {
    let (mail, commands) =
        sent(|message| message.text = Some("a\n.\nRCPT TO:<eve@example.org>\n".to_owned())).await;
    assert!(mail.contains("a\r\n..\r\nRCPT TO:<eve@example.org>\r\n"), "{mail}");
    assert!(!commands.iter().any(|command| command.contains("eve")));
}

#[tokio::test]
async fn fields_that_would_break_out_are_refused_by_name() {
    let evil = "x\r\nBcc: eve@example.org";
    let broken = "holds a line break or control character";
    assert_eq!(refused(|m| m.subject = evil.to_owned()).await, format!("the subject {broken}"));
    assert_eq!(
        refused(|m| m.sender.name = Some(evil.to_owned())).await,
        format!("the sender's name {broken}")
    );
    let header = ("X-A".to_owned(), evil.to_owned());
    assert_eq!(refused(|m| m.headers.push(header)).await, format!("the header's value {broken}"));
    let header = ("X-A: b\r\nBcc".to_owned(), "c".to_owned());
    assert_eq!(
        refused(|m| m.headers.push(header)).await,
        "a header's name is none; write letters, digits and hyphens"
    );
    let header = ("Bcc".to_owned(), "eve@example.org".to_owned());
    assert_eq!(
        refused(|m| m.headers.push(header)).await,
        "the header bcc is set from the mail's own fields and can't be given"
    );
    let id = "the message id is none; write such as id@example.org, without angle brackets";
    for bad in ["<a@b>", "a", "a@b\r\nX: y", "@b", "a b@c"] {
        assert_eq!(refused(|m| m.message_id = bad.to_owned()).await, id);
    }
    let address = "the recipient's address is no e-mail address; write such as alice@example.org";
    for bad in
        ["alice", "alice@", "@example.org", "a@b>\r\nRCPT TO:<eve@example.org", "alice@exa mple.org", ""]
    {
        let to = vec![Mailbox { name: None, address: bad.to_owned() }];
        assert_eq!(refused(|m| m.to = to).await, address, "{bad}");
    }
    let file =
        Attachment { name: evil.to_owned(), content_type: "text/plain".to_owned(), content: Vec::new() };
    assert_eq!(refused(|m| m.attachments.push(file)).await, format!("the attachment's name {broken}"));
}

#[tokio::test]
async fn a_mail_has_a_recipient_a_body_and_limits() {
    assert_eq!(refused(|m| m.to.clear()).await, "the mail has no recipient");
    assert_eq!(refused(|m| m.text = None).await, "the mail has neither text nor html");
    let alice = || Mailbox { name: None, address: "alice@example.org".to_owned() };
    let many = std::iter::repeat_with(alice).take(101).collect();
    assert_eq!(refused(|m| m.to = many).await, "101 recipients; at most 100 are carried");
    let long = "x".repeat(9_000);
    assert_eq!(refused(|m| m.subject = long).await, "the subject has 9000 bytes; at most 8192 are carried");
    let server = SmtpServer::start(Manners::default()).await;
    let mailer = Mailer::new(MailerOptions { message_bytes_max: 1_000, ..MailerOptions::default() });
    let message = Message { text: Some("x".repeat(2_000)), ..mail_to(&server) };
    let refusal = mailer.send(&granted(&server), message).await.unwrap_err();
    assert_eq!(refusal.code(), "smtp.limit");
    assert!(refusal.to_string().ends_with("at most 1000 are carried"), "{refusal}");
    assert_eq!(server.connections(), 0);
}
