//! Logs 1,000 lines of 10 KiB, then answers as if nothing were the matter.

fanfare_components::channel! {
    send |_| {
        let line = "x".repeat(10 << 10);
        for n in 0..1_000 {
            fanfare_sdk::log::info(format!("{n} {line}"));
        }
        Ok(fanfare_sdk::Receipt::new())
    }
}
