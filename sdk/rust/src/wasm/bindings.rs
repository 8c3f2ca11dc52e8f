//! Code generated from `wit/`. Both worlds share the records of `fanfare:types` and the imports of `fanfare:host`.

#![allow(
    missing_docs,
    unsafe_code,
    unused_qualifications,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::indexing_slicing,
    clippy::str_to_string,
    clippy::semicolon_if_nothing_returned,
    clippy::uninlined_format_args,
    reason = "generated"
)]

pub mod channel {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/host", "../../wit/channel"],
        world: "fanfare:channel/channel",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_channel",
        runtime_path: "::fanfare_sdk::__private::wit_bindgen::rt",
    });
}

pub mod router {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/host", "../../wit/router"],
        world: "fanfare:router/router",
        with: {
            "fanfare:types/types@1.0.0": super::channel::fanfare::types::types,
            "fanfare:host/log@1.0.0": super::channel::fanfare::host::log,
            "fanfare:host/settings@1.0.0": super::channel::fanfare::host::settings,
        },
        pub_export_macro: true,
        export_macro_name: "export_router",
        runtime_path: "::fanfare_sdk::__private::wit_bindgen::rt",
    });
}
