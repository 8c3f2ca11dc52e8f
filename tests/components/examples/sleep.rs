//! Waits for an hour without using the processor.

use std::time::Duration;

fanfare_components::channel! {
    send |_| {
        std::thread::sleep(Duration::from_secs(3_600));
        Ok(fanfare_sdk::Receipt::new())
    }
}
