//! `console`: one line in the gateway's log for each notification. For a first look; it reaches nothing.

use fanfare_sdk::prelude::*;

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Console {
    /// A word before each line.
    prefix: Option<String>,
}

impl Channel for Console {
    fn send(&self, attempt: &Attempt) -> Result<Receipt, SendError> {
        log::info(self.line(attempt));
        Ok(Receipt::new())
    }
}

impl Console {
    /// Everything on one line: what a submitter wrote must not look like lines of its own.
    fn line(&self, attempt: &Attempt) -> String {
        let notification = &attempt.notification;
        let mut words = vec![format!("[{}] {}", notification.priority.as_str(), notification.event_type)];
        let recipient = attempt.address.as_ref().or(attempt.recipient.user.as_ref());
        words.extend(recipient.map(|to| format!("to {to}")));
        if notification.title().or(notification.body()).is_some() {
            words.push(format!("| {}", notification.text().replace('\n', " | ")));
        }
        if let Some(prefix) = &self.prefix {
            words.insert(0, prefix.clone());
        }
        words.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

fanfare_sdk::channel!(Console);

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_sdk::testing::{Host, attempt};

    #[test]
    fn a_notification_is_one_line_in_the_log() {
        let host = Host::new();
        assert_eq!(Console::default().send(&attempt()), Ok(Receipt::new()));
        let line = "[normal] payment.failed | Payment failed | Order 42 could not be charged.";
        assert_eq!(host.log(), [(log::Level::Info, line.to_owned())]);
    }

    #[test]
    fn prefix_and_recipient_are_shown_and_control_characters_are_not() {
        let mut attempt = attempt();
        attempt.address = Some("벨".to_owned());
        attempt.notification.title = Some("a\r\nb\u{1b}[31m".to_owned());
        attempt.notification.body = None;
        let line = Console { prefix: Some("!".to_owned()) }.line(&attempt);
        assert_eq!(line, "! [normal] payment.failed to 벨 | a  | b [31m");
    }

    #[test]
    fn a_notification_without_text_shows_its_type() {
        let mut attempt = attempt();
        (attempt.notification.title, attempt.notification.body) = (None, None);
        assert_eq!(Console::default().line(&attempt), "[normal] payment.failed");
    }
}
