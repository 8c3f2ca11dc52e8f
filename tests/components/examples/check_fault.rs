//! Finds its settings bad: `check` answers a fault.

fanfare_components::channel! {
    check { Err(fanfare_sdk::Fault::new("bad-room", "room: there is no such room")) }
    send |_| { Ok(fanfare_sdk::Receipt::new()) }
}
