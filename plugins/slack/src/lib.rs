//! `slack`: an incoming webhook, with Block Kit blocks and a plain fallback text.
//!
//! Slack's limits bound each block (api.slack.com/reference/block-kit/blocks); longer text is cut, and the receipt says
//! so. What the submitter wrote is escaped: it can't mention people or hide a link behind other words.

use fanfare_sdk::prelude::*;

/// Characters in a header block.
const HEADER_MAX: usize = 150;
/// Characters in a section's text, and in the fallback.
const TEXT_MAX: usize = 3_000;

/// Slack's words for what another try does not mend, whatever status they come with
/// (api.slack.com/messaging/webhooks, "Handling errors"; older ones came with 500).
const PERMANENT: [&str; 18] = [
    "action_prohibited",
    "channel_is_archived",
    "channel_not_found",
    "invalid_blocks",
    "invalid_blocks_format",
    "invalid_payload",
    "invalid_token",
    "missing_text_or_fallback_or_attachments",
    "no_active_hooks",
    "no_service",
    "no_service_id",
    "no_team",
    "no_text",
    "posting_to_general_channel_denied",
    "team_disabled",
    "token_revoked",
    "too_many_attachments",
    "user_not_found",
];

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Slack {
    /// The webhook's URL, best as `https://hooks.slack.com/services/${secret:NAME}`.
    url: String,
}

impl Channel for Slack {
    fn send(&self, attempt: &Attempt) -> Result<Receipt, SendError> {
        let message = message(&attempt.notification);
        let response = Request::post(attempt.address_or(&self.url)).json(&message.json).send()?;
        if !response.is_success() {
            return Err(fault(&response));
        }
        let receipt = Receipt::new().status(response.status);
        Ok(if message.cut { receipt.detail("the text was cut to Slack's limits") } else { receipt })
    }
}

struct Message {
    json: Value,
    cut: bool,
}

fn message(notification: &Notification) -> Message {
    let mut cut = false;
    let mut fit = |text: &str, max: usize, escape: Escape| {
        let (text, whole) = fitted(text, max, escape);
        cut |= !whole;
        text
    };
    let mut blocks = Vec::new();
    if let Some(title) = notification.title() {
        let text = fit(&title.replace(['\r', '\n'], " "), HEADER_MAX, Escape::No);
        blocks.push(json!({ "type": "header", "text": { "type": "plain_text", "text": text } }));
    }
    if let Some(body) = notification.body() {
        let text = fit(body, TEXT_MAX, Escape::Yes);
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } }));
    }
    let kind = fit(&notification.event_type, TEXT_MAX, Escape::Yes);
    blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": kind }] }));
    let text = fit(&notification.text(), TEXT_MAX, Escape::Yes);
    Message { json: json!({ "text": text, "blocks": blocks }), cut }
}

/// Whether a text is read as markup, in which `&`, `<` and `>` mean something.
#[derive(Clone, Copy, PartialEq)]
enum Escape {
    Yes,
    No,
}

/// As much of `text` as fits, and whether that is all of it. Counted in UTF-16 units, the strictest way there is; never
/// cut inside a character or an escape.
fn fitted(text: &str, max: usize, escape: Escape) -> (String, bool) {
    let mut buffer = [0; 4];
    let (mut out, mut used) = (String::new(), 0);
    let mut room_for_ellipsis = 0;
    for c in text.chars() {
        let piece: &str = match c {
            '&' if escape == Escape::Yes => "&amp;",
            '<' if escape == Escape::Yes => "&lt;",
            '>' if escape == Escape::Yes => "&gt;",
            c => c.encode_utf8(&mut buffer),
        };
        let units = piece.encode_utf16().count();
        if used + units > max {
            out.truncate(room_for_ellipsis);
            out.push('…');
            return (out, false);
        }
        out.push_str(piece);
        used += units;
        if used < max {
            room_for_ellipsis = out.len();
        }
    }
    (out, true)
}

/// Slack says what is wrong in one word, as the body or as `error` in it.
fn fault(response: &Response) -> SendError {
    let json = response.json();
    let body = response.text();
    let word = json.get("error").and_then(Value::as_str).unwrap_or(body.trim());
    let is_word = (1..=64).contains(&word.len()) && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if !is_word {
        return response
            .receipt()
            .err()
            .unwrap_or_else(|| SendError::transient("no-answer", "an empty answer"));
    }
    let code = word.replace('_', "-");
    let message = format!("Slack answered {} {word}", response.status);
    match word {
        _ if PERMANENT.contains(&word) => Fault::new(code, message).with_status(response.status).into(),
        "rate_limited" | "ratelimited" | "rollup_error" => transient(response, code, message),
        _ => response.refused(code, message),
    }
}

/// Worth another try whatever the status says.
fn transient(response: &Response, code: String, message: String) -> SendError {
    let fault = Fault::new(code, message).with_status(response.status);
    match response.retry_after_ms() {
        Some(delay_ms) => SendError::RetryAfter { delay_ms, fault },
        None => SendError::Transient(fault),
    }
}

fanfare_sdk::channel!(Slack { http: ["{settings.url}"] });

#[cfg(test)]
mod tests;
