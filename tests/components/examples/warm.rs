//! Tells how often its instance was called, this time included, as the receipt's detail. The address says what else it does:
//! `trap`; `sleep`, for an hour; `fault`; `print`, a line; or `grow:MIB`, which it never gives back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fanfare_sdk::{Fault, Receipt, SendError};

static CALLS: AtomicU32 = AtomicU32::new(0);
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fanfare_components::channel! {
    send |attempt| {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let (verb, number) = attempt.address_or("").split_once(':').unwrap_or((attempt.address_or(""), ""));
        match verb {
            "trap" => std::process::abort(),
            "sleep" => std::thread::sleep(Duration::from_secs(3_600)),
            "fault" => return Err(SendError::Permanent(Fault::new("asked", "as the address asks"))),
            "print" => println!("call {calls}"),
            "grow" => {
                let mib: usize = number.parse().unwrap_or(1);
                KEPT.lock().unwrap().push(std::hint::black_box(vec![1; mib << 20]));
            }
            _ => {}
        }
        Ok(Receipt::new().detail(calls.to_string()))
    }
}
