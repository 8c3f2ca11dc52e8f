//! Reports what its standard library says of time and chance.

#![allow(clippy::disallowed_methods, reason = "a guest has no clock but the standard library's")]

use std::hash::{BuildHasher, RandomState};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

fanfare_components::channel! {
    send |_| {
        let began = Instant::now();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let chance = RandomState::new().hash_one(7_u8);
        Ok(fanfare_sdk::Receipt::new().detail(format!("{wall} {chance} {}", began.elapsed().as_nanos())))
    }
}
