//! Sends a request with a body of 2 MiB.

use fanfare_sdk::Request;

fanfare_components::channel! {
    send |attempt| {
        let target: fanfare_components::Target = fanfare_sdk::settings()?;
        Request::post(attempt.address_or(&target.url)).body(vec![b'x'; 2 << 20]).send()?.receipt()
    }
}
