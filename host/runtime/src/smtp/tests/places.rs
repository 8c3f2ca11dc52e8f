//! Where mail may go, and how it gets there.

use std::time::Duration;

use tokio::net::TcpListener;

use super::server::*;
use crate::egress::tests::support::Script;
use crate::secrets::{AttemptSecrets, Secret, Secrets};
use crate::smtp::*;

async fn refused(mailer: &Mailer, context: &SmtpContext, message: Message) -> (&'static str, String) {
    let refusal = mailer.send(context, message).await.unwrap_err();
    (refusal.code(), refusal.to_string())
}

fn with_account(mut message: Message, encryption: Encryption) -> Message {
    message.server.encryption = encryption;
    message.server.username = Some("user".to_owned());
    message.server.password = Some(Secret::new("s3cr3t-pass"));
    message
}

#[tokio::test]
async fn a_server_that_is_not_granted_is_denied_with_the_line_to_paste() {
    let context = context(&["127.0.0.1:2525"], false);
    let refusal = refused(&plain_mailer(), &context, mail("smtp.example.org", 587)).await;
    assert_eq!(
        refusal,
        (
            "egress.denied",
            "smtp.example.org:587 is not granted to this channel; to allow it, put into the channel's section: \
             grants = { smtp = [\"127.0.0.1:2525\", \"smtp.example.org:587\"] }"
                .to_owned()
        )
    );
}

#[tokio::test]
async fn a_granted_name_needs_allow_private_for_a_private_address() {
    let server = SmtpServer::start(Manners::default()).await;
    let port = server.address.port();
    let name = format!("mail.example:{port}");
    let mailer = mailer(Script::new(&[&["127.0.0.1"]]));
    let refusal = refused(&mailer, &context(&[&name], false), mail("mail.example", port)).await;
    let text = format!(
        "mail.example:{port} resolves to 127.0.0.1, a loopback address, which a name may not reach; to allow it, put into \
         the channel's section: grants = {{ smtp = [\"mail.example:{port}\"], allow_private = true }}"
    );
    assert_eq!(refusal, ("egress.private-address", text));
    let reply = mailer.send(&context(&[&name], true), mail("mail.example", port)).await.unwrap();
    assert_eq!(reply, Reply { code: 250, text: "queued as 1".to_owned() });
}

#[tokio::test]
async fn finished_connections_are_used_again_by_the_same_account_only() {
    let server = SmtpServer::start(Manners::default()).await;
    let (mailer, context) = (plain_mailer(), granted(&server));
    for _ in 0..3 {
        mailer.send(&context, mail_to(&server)).await.unwrap();
    }
    assert_eq!((server.mails().len(), server.connections()), (3, 1));
    mailer.send(&context, with_account(mail_to(&server), Encryption::None)).await.unwrap();
    assert_eq!((server.mails().len(), server.connections()), (4, 2));
}

#[tokio::test]
async fn a_connection_whose_mail_was_given_up_is_not_used_again() {
    let manners = Manners { replies: vec![(".", "silence")], ..Manners::default() };
    let server = SmtpServer::start(manners).await;
    let mailer = plain_mailer();
    let context = SmtpContext { timeout: Duration::from_millis(100), ..granted(&server) };
    for _ in 0..2 {
        let refusal = refused(&mailer, &context, mail_to(&server)).await;
        assert_eq!(refusal, ("smtp.timeout", "the mail server did not finish within 100 ms".to_owned()));
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn tls_verifies_the_name_while_the_checked_address_is_connected() {
    for encryption in [Encryption::Tls, Encryption::Starttls] {
        let server = SmtpServer::start(Manners { tls: Some(encryption), ..Manners::default() }).await;
        let port = server.address.port();
        let mailer = mailer(Script::new(&[&["127.0.0.1"]]));
        let good = context(&[&format!("server.example:{port}")], true);
        let message = with_account(mail("server.example", port), encryption);
        mailer.send(&good, message).await.unwrap();
        assert!(server.commands().iter().any(|command| command == "AUTH PLAIN AHVzZXIAczNjcjN0LXBhc3M="));
        let other = context(&[&format!("other.example:{port}")], true);
        let message = with_account(mail("other.example", port), encryption);
        let (code, text) = refused(&mailer, &other, message).await;
        assert_eq!(code, "smtp.tls");
        assert!(text.starts_with(&format!("no trusted connection to other.example:{port}: ")), "{text}");
    }
}

#[tokio::test]
async fn starttls_is_required_where_it_is_asked_for() {
    let server = SmtpServer::start(Manners::default()).await;
    let message = with_account(mail_to(&server), Encryption::Starttls);
    let (code, text) = refused(&plain_mailer(), &granted(&server), message).await;
    assert_eq!(code, "smtp.tls");
    assert!(text.contains("does not offer STARTTLS; set encryption to \"tls\""), "{text}");
    assert!(server.commands().iter().all(|command| command.starts_with("EHLO")), "nothing else was said");
}

#[tokio::test]
async fn a_password_does_not_cross_a_network_in_clear() {
    let context = context(&["10.0.0.1:25"], false);
    let refusal =
        refused(&plain_mailer(), &context, with_account(mail("10.0.0.1", 25), Encryption::None)).await;
    assert_eq!(
        refusal,
        (
            "egress.clear-password",
            "the password for 10.0.0.1:25 would cross the network in clear; set encryption to \"starttls\" or \"tls\"".to_owned()
        )
    );
}

#[tokio::test]
async fn refusals_carry_the_servers_code_and_text_with_secrets_masked() {
    for (command, reply, code, text) in [
        ("MAIL", "451 4.3.0 try later", 451, "4.3.0 try later"),
        ("RCPT", "550 5.1.1 no such user", 550, "5.1.1 no such user"),
        ("DATA", "554 no", 554, "no"),
        (".", "552 too big", 552, "too big"),
        ("AUTH", "535 not s3cr3t-pass", 535, "not ***"),
    ] {
        let server =
            SmtpServer::start(Manners { replies: vec![(command, reply)], ..Manners::default() }).await;
        let mut secrets = Secrets::default();
        secrets.insert("password", Secret::new("s3cr3t-pass"), None);
        let (attempt, _) = AttemptSecrets::mark(&serde_json::Map::new(), &secrets).unwrap();
        let context = SmtpContext { secrets: attempt.into(), ..granted(&server) };
        let message = with_account(mail_to(&server), Encryption::None);
        let refusal = plain_mailer().send(&context, message).await.unwrap_err();
        assert_eq!(refusal, SmtpRefusal::Refused(Reply { code, text: text.to_owned() }));
        assert_eq!(refusal.to_string(), format!("the mail server refused: {code} {text}"));
    }
}

#[tokio::test]
async fn names_without_addresses_closed_ports_and_other_servers_have_their_codes() {
    let refusal =
        refused(&plain_mailer(), &context(&["gone.example:25"], false), mail("gone.example", 25)).await;
    assert_eq!(refusal, ("smtp.dns", "gone.example has no address: no such name".to_owned()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let granted = context(&[&address.to_string()], false);
    let refusal = refused(&plain_mailer(), &granted, mail("127.0.0.1", address.port())).await;
    assert_eq!(refusal, ("smtp.connect", format!("no connection to {address}: connection refused")));
    let server =
        SmtpServer::start(Manners { replies: vec![("EHLO", "hello there")], ..Manners::default() }).await;
    let (code, text) = refused(&plain_mailer(), &super::server::granted(&server), mail_to(&server)).await;
    assert_eq!(code, "smtp.protocol");
    assert!(text.contains("answered something that is no SMTP"), "{text}");
}
