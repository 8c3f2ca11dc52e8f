//! Delivers, and reports what a guest sees: `{"settings": ..., "attempt": ...}` in the receipt's detail.

use fanfare_sdk::serde_json::{Value, json};

fanfare_components::channel! {
    send |attempt| {
        let settings: Value = fanfare_sdk::settings()?;
        Ok(fanfare_sdk::Receipt::new()
            .detail(json!({ "settings": settings, "attempt": attempt }).to_string()))
    }
}
