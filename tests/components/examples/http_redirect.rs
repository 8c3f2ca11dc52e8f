//! Calls the address, else `url`; for a receiver that redirects. Reports status and `Location` that it saw.

use fanfare_sdk::{Receipt, Request};

fanfare_components::channel! {
    send |attempt| {
        let target: fanfare_components::Target = fanfare_sdk::settings()?;
        let response = Request::get(attempt.address_or(&target.url)).send()?;
        let location = response.header("location").unwrap_or("nowhere").to_owned();
        Ok(Receipt::new().status(response.status).detail(location))
    }
}
