//! Does what the address says: `transient`, `permanent`, `retry-after:MS`, or anything else to deliver.
//! `transient:N` fails in the first N attempts, and delivers then.

use fanfare_sdk::{Fault, Receipt, SendError};

fanfare_components::channel! {
    send |attempt| {
        let (verb, number) = attempt.address_or("").split_once(':').unwrap_or((attempt.address_or(""), ""));
        let number: u64 = number.parse().unwrap_or(u64::MAX);
        let fault = |code: &str| Fault::new(code, "as the address asks").with_status(503);
        match verb {
            "transient" if u64::from(attempt.number) <= number => {
                Err(SendError::Transient(fault("scripted-transient")))
            }
            "permanent" => Err(SendError::Permanent(fault("scripted-permanent"))),
            "retry-after" if attempt.number == 1 => {
                Err(SendError::RetryAfter { delay_ms: number, fault: fault("scripted-retry-after") })
            }
            _ => Ok(Receipt::new().status(200)),
        }
    }
}
