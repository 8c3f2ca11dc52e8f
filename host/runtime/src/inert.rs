//! WASI, linked because standard libraries import it, and inert: no folders, no environment, no arguments, no sockets.
//!
//! What a guest prints goes to its log. A router's clocks stand still and its chance is given.

use std::convert::Infallible;
use std::time::Duration;

use fanfare_model::time::Timestamp;
use rand_core::TryRng;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder};

use crate::output::Printed;

/// What a router takes for time and chance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frozen {
    pub(crate) now: Timestamp,
    pub(crate) seed: u128,
}

/// A context that gives nothing away; `frozen` is a router's moment and chance.
pub(crate) fn wasi(printed: &Printed, frozen: Option<Frozen>) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdout(printed.clone())
        .stderr(printed.clone())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    if let Some(Frozen { now, seed }) = frozen {
        builder
            .wall_clock(Still(now))
            .monotonic_clock(Still(now))
            .secure_random(Given(folded(seed)))
            .insecure_random(Given(folded(seed)))
            .insecure_random_seed(seed);
    }
    builder.build()
}

/// Clocks that stand still.
struct Still(Timestamp);

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.as_ms())
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        self.0.as_ms().saturating_mul(1_000_000)
    }
}

/// Chance that is the same for the same seed: SplitMix64 (Steele, Lea, Flood 2014). Not for keys.
struct Given(u64);

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let [a, b, c, d, ..] = self.try_next_u64()?.to_le_bytes();
        Ok(u32::from_le_bytes([a, b, c, d]))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(z ^ (z >> 31))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let next = self.try_next_u64()?.to_le_bytes();
            for (place, byte) in chunk.iter_mut().zip(next) {
                *place = byte;
            }
        }
        Ok(())
    }
}

/// Both halves of the seed count.
fn folded(seed: u128) -> u64 {
    u64::try_from((seed >> 64) ^ (seed & u128::from(u64::MAX))).unwrap_or_default()
}
