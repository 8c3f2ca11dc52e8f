//! Takes handles of the host's and never gives one back.

fanfare_components::channel! {
    send |_| {
        loop {
            std::mem::forget(wasip2::clocks::monotonic_clock::subscribe_duration(1));
        }
    }
}
