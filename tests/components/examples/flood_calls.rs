//! Calls the host a million times.

use fanfare_sdk::serde_json::Value;

fanfare_components::channel! {
    send |_| {
        for _ in 0..1_000_000 {
            let _ = fanfare_sdk::settings::<Value>();
        }
        Ok(fanfare_sdk::Receipt::new())
    }
}
