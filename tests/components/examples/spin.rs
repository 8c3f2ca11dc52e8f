//! Spins for ever, without a call to the host.

fanfare_components::channel! {
    send |attempt| {
        let mut n = u64::from(attempt.number);
        loop {
            n = std::hint::black_box(n.wrapping_mul(3));
        }
    }
}
