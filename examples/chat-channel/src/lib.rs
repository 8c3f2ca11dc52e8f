//! A channel for a chat server: a struct of settings, one function, one macro.

use fanfare_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
struct Chat {
    /// Where messages are posted.
    url: String,
    /// The bearer token, as `${secret:NAME}`.
    token: String,
}

impl Channel for Chat {
    fn send(&self, attempt: &Attempt) -> Result<Receipt, SendError> {
        let text = attempt.notification.text();
        let response = Request::post(&self.url)
            .header("authorization", format!("Bearer {}", self.token))
            .json(&json!({ "room": attempt.address_or("general"), "text": text }))
            .send()?;
        response.receipt()
    }
}

fanfare_sdk::channel!(Chat { http: ["{settings.url}"] });

#[cfg(test)]
mod tests;
