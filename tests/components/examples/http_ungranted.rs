//! Calls a host that nobody granted.

use fanfare_sdk::Request;

fanfare_components::channel! {
    send |_| { Request::get("https://ungranted.example/").send()?.receipt() }
}
