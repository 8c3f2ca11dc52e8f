//! Answers with a receipt of 32 MiB.

fanfare_components::channel! {
    send |_| { Ok(fanfare_sdk::Receipt::new().detail("x".repeat(32 << 20))) }
}
