//! Allocates without end, and touches what it gets.

fanfare_components::channel! {
    send |_| {
        let mut kept = Vec::new();
        loop {
            kept.push(std::hint::black_box(vec![1_u8; 1 << 20]));
        }
    }
}
