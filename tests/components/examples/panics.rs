//! Panics with a message on several lines.

fanfare_components::channel! {
    send |_| {
        panic!("the plugin lost its way\non a second line");
    }
}
