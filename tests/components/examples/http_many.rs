//! Sends twelve requests in one attempt; reports how many were answered, unless one was refused.

use fanfare_sdk::{Receipt, Request};

fanfare_components::channel! {
    send |attempt| {
        let target: fanfare_components::Target = fanfare_sdk::settings()?;
        let mut answered = 0;
        for _ in 0..12 {
            Request::post(attempt.address_or(&target.url)).body("x").send()?;
            answered += 1;
        }
        Ok(Receipt::new().detail(answered.to_string()))
    }
}
