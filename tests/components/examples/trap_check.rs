//! Traps in `check`; `send` is well-behaved.

fanfare_components::channel! {
    check {
        std::process::abort();
    }
    send |_| { Ok(fanfare_sdk::Receipt::new()) }
}
