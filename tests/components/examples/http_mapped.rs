//! Calls loopback by its IPv6-mapped address, on the port of `url`.

use fanfare_sdk::Request;

fanfare_components::channel! {
    send |_| {
        let target: fanfare_components::Target = fanfare_sdk::settings()?;
        let port: String =
            target.url.rsplit(':').next().unwrap_or("80").chars().take_while(char::is_ascii_digit).collect();
        Request::get(format!("http://[::ffff:127.0.0.1]:{port}/")).send()?.receipt()
    }
}
