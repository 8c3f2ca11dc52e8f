//! From a guest's mail to MIME: everything encoded by lettre, nothing of the guest's able to break out of its field.

use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment as AttachmentPart, Body, Mailbox as LettreMailbox, MultiPart, SinglePart};
use lettre::{Address, Message as LettreMessage};

use super::{Attachment, Mailbox, Message, SmtpRefusal};
use crate::egress::Host;

const RECIPIENTS_MAX: usize = 100;
const HEADERS_MAX: usize = 50;
const ATTACHMENTS_MAX: usize = 50;
/// A subject, name or header value that is longer is refused, in bytes.
const FIELD_BYTES_MAX: usize = 8 * 1024;

/// Fields that say what the mail is or where it goes: they have places of their own in [`Message`].
const OWN_FIELDS: [&str; 13] = [
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "return-path",
    "received",
    "dkim-signature",
];

pub(super) fn build(message: &Message) -> Result<LettreMessage, SmtpRefusal> {
    limits(message)?;
    if message.to.is_empty() {
        return Err(invalid("the mail has no recipient"));
    }
    let mut builder = LettreMessage::builder().from(mailbox("sender", &message.sender)?);
    for to in &message.to {
        builder = builder.to(mailbox("recipient", to)?);
    }
    if let Some(reply_to) = &message.reply_to {
        builder = builder.reply_to(mailbox("reply-to", reply_to)?);
    }
    one_line("subject", &message.subject)?;
    builder = builder.subject(message.subject.as_str()).message_id(Some(message_id(&message.message_id)?));
    for (name, value) in &message.headers {
        builder = builder.raw_header(header(name, value)?);
    }
    let unbuilt = |error| invalid(format!("the mail can't be put together: {error}"));
    let body = body(message)?;
    if message.attachments.is_empty() {
        return match body {
            Content::One(part) => builder.singlepart(part),
            Content::Both(parts) => builder.multipart(parts),
        }
        .map_err(unbuilt);
    }
    let mut mixed = match body {
        Content::One(part) => MultiPart::mixed().singlepart(part),
        Content::Both(parts) => MultiPart::mixed().multipart(parts),
    };
    for attachment in &message.attachments {
        mixed = mixed.singlepart(attached(attachment)?);
    }
    builder.multipart(mixed).map_err(unbuilt)
}

fn limits(message: &Message) -> Result<(), SmtpRefusal> {
    let counts = [
        ("recipients", message.to.len(), RECIPIENTS_MAX),
        ("header fields", message.headers.len(), HEADERS_MAX),
        ("attachments", message.attachments.len(), ATTACHMENTS_MAX),
    ];
    match counts.iter().find(|(_, count, max)| count > max) {
        Some((what, count, max)) => {
            Err(SmtpRefusal::Limit(format!("{count} {what}; at most {max} are carried")))
        }
        None => Ok(()),
    }
}

enum Content {
    One(SinglePart),
    Both(MultiPart),
}

fn body(message: &Message) -> Result<Content, SmtpRefusal> {
    Ok(match (&message.text, &message.html) {
        (Some(text), Some(html)) => {
            Content::Both(MultiPart::alternative_plain_html(text.clone(), html.clone()))
        }
        (Some(text), None) => Content::One(SinglePart::plain(text.clone())),
        (None, Some(html)) => Content::One(SinglePart::html(html.clone())),
        (None, None) => return Err(invalid("the mail has neither text nor html")),
    })
}

/// Base64 always: other encodings would keep the file's own line ends, and some servers take a bare line feed
/// before a dot for the end of the message.
fn attached(attachment: &Attachment) -> Result<SinglePart, SmtpRefusal> {
    one_line("attachment's name", &attachment.name)?;
    one_line("attachment's content type", &attachment.content_type)?;
    let kind = ContentType::parse(&attachment.content_type)
        .map_err(|_| invalid("an attachment's content type is none; write such as application/pdf"))?;
    let body = Body::new_with_encoding(attachment.content.clone(), ContentTransferEncoding::Base64)
        .map_err(|_| invalid("an attachment can't be encoded"))?;
    Ok(AttachmentPart::new(attachment.name.clone()).body(body, kind))
}

/// The domain goes out in ASCII, so that only a local part in another script needs the server's SMTPUTF8.
fn mailbox(role: &str, mailbox: &Mailbox) -> Result<LettreMailbox, SmtpRefusal> {
    let bad =
        || invalid(format!("the {role}'s address is no e-mail address; write such as alice@example.org"));
    if let Some(name) = &mailbox.name {
        one_line(&format!("{role}'s name"), name)?;
    }
    let (user, domain) = mailbox.address.rsplit_once('@').ok_or_else(bad)?;
    if mailbox.address.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(bad());
    }
    let domain = match Host::parse(domain).map_err(|_| bad())? {
        Host::Name(name) => name,
        // An address in place of a domain is written in brackets, and stays as it was given.
        Host::Address(_) => domain.to_owned(),
    };
    let address = Address::new(user, domain).map_err(|_| bad())?;
    Ok(LettreMailbox::new(mailbox.name.clone(), address))
}

fn message_id(id: &str) -> Result<String, SmtpRefusal> {
    let good = |c: char| c.is_ascii_graphic() && c != '<' && c != '>';
    let is_whole = id.split_once('@').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty());
    if id.len() > 256 || !is_whole || !id.chars().all(good) {
        return Err(invalid("the message id is none; write such as id@example.org, without angle brackets"));
    }
    Ok(format!("<{id}>"))
}

fn header(name: &str, value: &str) -> Result<HeaderValue, SmtpRefusal> {
    one_line("header's value", value)?;
    let lower = name.to_ascii_lowercase();
    let is_token =
        (1..=76).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    if !is_token {
        return Err(invalid("a header's name is none; write letters, digits and hyphens"));
    }
    if OWN_FIELDS.contains(&lower.as_str()) || lower.starts_with("content-") || lower.starts_with("resent-") {
        return Err(invalid(format!(
            "the header {lower} is set from the mail's own fields and can't be given"
        )));
    }
    let name = HeaderName::new_from_ascii(name.to_owned()).map_err(|_| invalid("a header's name is none"))?;
    Ok(HeaderValue::new(name, value.to_owned()))
}

fn one_line(what: &str, text: &str) -> Result<(), SmtpRefusal> {
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(invalid(format!("the {what} holds a line break or control character")));
    }
    if text.len() > FIELD_BYTES_MAX {
        let sentence = format!("the {what} has {} bytes; at most {FIELD_BYTES_MAX} are carried", text.len());
        return Err(SmtpRefusal::Limit(sentence));
    }
    Ok(())
}

fn invalid(sentence: impl Into<String>) -> SmtpRefusal {
    SmtpRefusal::Invalid(sentence.into())
}
