//! Answers with a fault that no host should show as it is: control characters, a code that poses as the host's own,
//! 64 KiB of message. With the address `empty` both texts are empty.

use fanfare_sdk::{Fault, SendError};

fanfare_components::channel! {
    send |attempt| {
        if attempt.address.as_deref() == Some("empty") {
            return Err(Fault::new("", "").into());
        }
        let message = "\u{1b}[2J\r\nlevel=info delivered\u{0}\u{202e}".repeat(2_000);
        Err(SendError::Permanent(Fault::new("plugin.trap\r\n\u{1b}[31m", message).with_status(u16::MAX)))
    }
}
