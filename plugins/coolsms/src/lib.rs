//! `coolsms`: Korean text messages through CoolSMS, which is SOLAPI's v4 API (docs.solapi.com, "Send a message").
//!
//! A text of up to 90 EUC-KR bytes goes as SMS, a longer one as LMS, cut at 2,000. Requests are signed by the host's
//! `crypto` with the secret `api-secret`; the salt is delivery and attempt, because the API refuses one that it has seen.

mod answer;
mod codes;
mod text;

use fanfare_sdk::crypto::{Hash, KeyFormat};
use fanfare_sdk::prelude::*;
use fanfare_sdk::{encode, time};

use text::{LMS_BYTES_MAX, SMS_BYTES_MAX, SUBJECT_BYTES_MAX};

/// The secret that signs.
const SECRET: &str = "api-secret";
const API: &str = "https://api.solapi.com";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CoolSms {
    /// The API key; the secret that belongs to it is `api-secret`.
    api_key: String,
    /// The sender's number, registered with the provider.
    from: String,
    /// Who receives what carries no number of its own.
    to: Option<String>,
    /// Where the API is.
    #[serde(default = "api")]
    base_url: String,
}

fn api() -> String {
    API.to_owned()
}

#[derive(Debug, PartialEq, Serialize)]
struct Message {
    to: String,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    text: String,
    r#type: &'static str,
    /// What was changed to make it fit, for people.
    #[serde(skip)]
    remarks: Vec<String>,
}

impl Channel for CoolSms {
    fn send(&self, attempt: &Attempt) -> Result<Receipt, SendError> {
        let message = self.message(attempt)?;
        let url = format!("{}/messages/v4/send", self.base_url.trim_end_matches('/'));
        let response = Request::post(url)
            .header("authorization", self.authorization(attempt)?)
            .json(&json!({ "message": message }))
            .send()?;
        let mut receipt = answer::receipt(&response)?;
        if !message.remarks.is_empty() {
            receipt.detail = Some(message.remarks.join("; "));
        }
        Ok(receipt)
    }

    fn check(&self) -> Result<(), Fault> {
        number("from", &self.from)?;
        self.to.as_deref().map_or(Ok(String::new()), |to| number("to", to))?;
        // It goes into a header whose parts are separated by commas.
        if self.api_key.trim().is_empty()
            || self.api_key.contains(|c: char| c.is_control() || ", =".contains(c))
        {
            return Err(Fault::new("bad-settings", "api_key: not a key as the provider's console shows it"));
        }
        Ok(())
    }
}

impl CoolSms {
    fn message(&self, attempt: &Attempt) -> Result<Message, Fault> {
        let no_recipient = || {
            let message = "the delivery carries no phone number, and the channel has no `to` in its settings";
            Fault::new("no-recipient", message)
        };
        let to = attempt.address.as_deref().or(self.to.as_deref()).ok_or_else(no_recipient)?;
        let (to, from) = (number("address", to)?, number("from", &self.from)?);
        let notification = &attempt.notification;
        let whole = text::encodable(&notification.text());
        if text::bytes(&whole.text) <= SMS_BYTES_MAX {
            let remarks = remarks(whole.replaced, Vec::new());
            return Ok(Message { to, from, subject: None, text: whole.text, r#type: "SMS", remarks });
        }
        // A long text has its title above it, so the text begins with the body.
        let title = notification.title().map(text::encodable);
        let body = notification.body().map_or(whole, text::encodable);
        let cut = [
            (text::bytes(&body.text) > LMS_BYTES_MAX).then_some("the text was cut to 2,000 bytes"),
            title
                .as_ref()
                .is_some_and(|title| text::bytes(&title.text) > SUBJECT_BYTES_MAX)
                .then_some("the subject was cut to 40 bytes"),
        ];
        let replaced = body.replaced + title.as_ref().map_or(0, |title| title.replaced);
        let subject =
            title.map(|title| text::cut(&title.text.replace('\n', " "), SUBJECT_BYTES_MAX).to_owned());
        let text = text::cut(&body.text, LMS_BYTES_MAX).to_owned();
        let remarks = remarks(replaced, cut.into_iter().flatten().collect());
        Ok(Message { to, from, subject, text, r#type: "LMS", remarks })
    }

    /// `HMAC-SHA256` over date and salt, in hexadecimal.
    fn authorization(&self, attempt: &Attempt) -> Result<String, SendError> {
        let date = time::rfc3339(attempt.now_ms);
        let salt = format!("{}{:04}", attempt.delivery_id.replace('-', ""), attempt.number);
        let mac = crypto::hmac(SECRET, KeyFormat::Raw, Hash::Sha256, format!("{date}{salt}").as_bytes())?;
        let signature = encode::hex(&mac);
        Ok(format!("HMAC-SHA256 apiKey={}, date={date}, salt={salt}, signature={signature}", self.api_key))
    }
}

fn remarks(replaced: usize, cut: Vec<&str>) -> Vec<String> {
    let replaced = (replaced > 0).then(|| format!("{replaced} characters that EUC-KR can't hold became ?"));
    cut.into_iter().map(str::to_owned).chain(replaced).collect()
}

/// Digits alone, in the Korean form; +82 becomes the leading 0.
fn number(setting: &str, text: &str) -> Result<String, Fault> {
    let compact: String = text.chars().filter(|c| !" -.()".contains(*c)).collect();
    let national = match compact.strip_prefix("+82") {
        Some(rest) => format!("0{}", rest.trim_start_matches('0')),
        None => compact,
    };
    if (4..=12).contains(&national.len()) && national.chars().all(|c| c.is_ascii_digit()) {
        return Ok(national);
    }
    let shown: String = text.chars().take(40).collect();
    let message =
        format!("{setting}: {shown:?} is no Korean phone number such as 01012345678 or +821012345678");
    Err(Fault::new("bad-number", message))
}

fanfare_sdk::channel!(CoolSms { http: ["{settings.base_url}"], secrets: [SECRET] });

#[cfg(test)]
mod tests;
