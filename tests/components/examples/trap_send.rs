//! Traps in `send`, without a word.

fanfare_components::channel! {
    send |_| {
        std::process::abort();
    }
}
