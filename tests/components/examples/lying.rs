//! A channel whose manifest says that it is a router.

fanfare_components::channel! {
    send |_| { Ok(fanfare_sdk::Receipt::new()) }
}
