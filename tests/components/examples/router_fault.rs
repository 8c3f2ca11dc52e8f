//! A router that answers a fault.

fanfare_components::router!(|_, _, _| {
    Err(fanfare_sdk::Fault::new("no-decision", "the rules can't be read today"))
});
