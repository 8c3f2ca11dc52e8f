//! `email`: one mail over the host's `smtp`, as text and HTML.
//!
//! The host encodes headers and bodies, connects and logs in; here is only what the mail says. Its `Message-ID` is made
//! of the delivery's id, so that every attempt carries the same.

use fanfare_sdk::prelude::*;
use fanfare_sdk::smtp::{Encryption, Mailbox, Message, Server};

/// The secret that holds the password.
const SECRET: &str = "password";
/// Longer subjects are cut: a subject is one line in a list.
const SUBJECT_CHARS_MAX: usize = 200;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Email {
    /// The mail server.
    host: String,
    /// Its port: 587 with `starttls`, 465 with `tls`, as a rule.
    port: u16,
    #[serde(default)]
    encryption: Protection,
    /// Whom to log in as, with the secret `password`; none for no login.
    username: Option<String>,
    /// The sender's address.
    from: String,
    /// The sender's name.
    from_name: Option<String>,
    /// Where answers go.
    reply_to: Option<String>,
    /// Who receives what carries no address of its own.
    to: Option<String>,
}

/// How the connection is protected.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Protection {
    #[default]
    Starttls,
    Tls,
    None,
}

impl Channel for Email {
    fn send(&self, attempt: &Attempt) -> Result<Receipt, SendError> {
        Ok(smtp::send(self.message(attempt)?)?.into())
    }

    fn check(&self) -> Result<(), Fault> {
        check_address("from", &self.from)?;
        self.reply_to.as_deref().map_or(Ok(()), |address| check_address("reply_to", address))?;
        self.to.as_deref().map_or(Ok(()), |address| check_address("to", address))?;
        if self.host.trim().is_empty() {
            return Err(Fault::new("bad-settings", "host: the name of the mail server is missing"));
        }
        Ok(())
    }
}

impl Email {
    fn message(&self, attempt: &Attempt) -> Result<Message, Fault> {
        let no_recipient = || {
            let message = "the delivery carries no address, and the channel has no `to` in its settings";
            Fault::new("no-recipient", message)
        };
        let to = attempt.address.as_deref().or(self.to.as_deref()).ok_or_else(no_recipient)?;
        check_address("address", to)?;
        let notification = &attempt.notification;
        let text = notification.body().or(notification.title()).unwrap_or(&notification.event_type);
        Ok(Message {
            server: self.server(),
            sender: Mailbox { name: self.from_name.clone(), address: self.from.clone() },
            to: vec![Mailbox {
                name: attempt.recipient.display_name.as_deref().map(one_line),
                address: to.to_owned(),
            }],
            reply_to: self.reply_to.clone().map(|address| Mailbox { name: None, address }),
            subject: subject(notification),
            message_id: format!("{}@{}", attempt.delivery_id, self.domain()),
            text: Some(text.to_owned()),
            html: Some(html(notification.title(), text, attempt.recipient.locale.as_deref())),
            // RFC 3834: no vacation notes in answer to a machine.
            headers: vec![("Auto-Submitted".to_owned(), "auto-generated".to_owned())],
            attachments: notification.attachments.clone(),
            extensions: Vec::new(),
        })
    }

    fn server(&self) -> Server {
        Server {
            host: self.host.clone(),
            port: self.port,
            encryption: match self.encryption {
                Protection::Starttls => Encryption::Starttls,
                Protection::Tls => Encryption::Tls,
                Protection::None => Encryption::None,
            },
            username: self.username.clone(),
            password_secret: self.username.as_ref().map(|_| SECRET.to_owned()),
        }
    }

    /// The domain of message ids. They are ASCII; a domain in another script has a reserved name stand in for it.
    fn domain(&self) -> &str {
        let domain = self.from.rsplit_once('@').map_or("", |(_, domain)| domain);
        if domain.is_empty() || !domain.is_ascii() { "fanfare.invalid" } else { domain }
    }
}

/// Only the shape: what a mailbox may be called is the server's to say.
fn check_address(setting: &str, address: &str) -> Result<(), Fault> {
    let shaped =
        address.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if shaped && !address.contains(|c: char| c.is_control() || c.is_whitespace() || "<>,;".contains(c)) {
        return Ok(());
    }
    let shown: String = address.chars().take(80).collect();
    Err(Fault::new(
        "bad-address",
        format!("{setting}: {shown:?} is no e-mail address such as ops@example.org"),
    ))
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn subject(notification: &Notification) -> String {
    let first_line = notification.body().and_then(|body| body.trim().lines().next());
    let text = notification.title().or(first_line).unwrap_or(&notification.event_type);
    let text = one_line(text.trim());
    if text.chars().count() <= SUBJECT_CHARS_MAX {
        return text;
    }
    text.chars().take(SUBJECT_CHARS_MAX - 1).chain(['…']).collect()
}

/// A plain page: a heading, and a paragraph for each run of lines.
fn html(title: Option<&str>, text: &str, locale: Option<&str>) -> String {
    let lang = locale.map(|locale| format!(" lang=\"{}\"", escaped(locale))).unwrap_or_default();
    let heading = title.map(|title| format!("<h2>{}</h2>\n", escaped(title))).unwrap_or_default();
    let text = text.replace("\r\n", "\n");
    let paragraphs = text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
    let paragraphs: String = paragraphs
        .map(|paragraph| format!("<p>{}</p>\n", escaped(paragraph).replace('\n', "<br>\n")))
        .collect();
    format!(
        "<!doctype html>\n<html{lang}><head><meta charset=\"utf-8\"></head><body>\n{heading}{paragraphs}</body></html>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fanfare_sdk::channel!(Email { smtp: ["{settings.host}:{settings.port}"], secrets: [SECRET] });

#[cfg(test)]
mod tests;
