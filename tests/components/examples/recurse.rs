//! Recurses without end, with frames that live on the host's stack alone.

#[inline(never)]
fn down(n: u64) -> u64 {
    if n == u64::MAX { 0 } else { down(n + 1).wrapping_mul(3) ^ n }
}

fanfare_components::channel! {
    send |attempt| {
        Ok(fanfare_sdk::Receipt::new().provider_id(down(u64::from(attempt.number)).to_string()))
    }
}
