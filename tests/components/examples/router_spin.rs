//! A router that spins for ever.

fanfare_components::router!(|_, _, now_ms| {
    let mut n = now_ms;
    loop {
        n = std::hint::black_box(n.wrapping_mul(3));
    }
});
