//! Write a Fanfare channel or router in Rust: a struct of settings, one function, one macro.
//!
//! ```
//! use fanfare_sdk::prelude::*;
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Room {
//!     /// Where messages go.
//!     url: String,
//! }
//!
//! impl Channel for Room {
//!     fn send(&self, attempt: &Attempt) -> Result<Receipt, SendError> {
//!         let text = attempt.notification.text();
//!         Request::post(attempt.address_or(&self.url)).json(&json!({ "text": text })).send()?.receipt()
//!     }
//! }
//!
//! fanfare_sdk::channel!(Room { description: "Posts to a chat room.", http: ["{settings.url}"] });
//! ```
//!
//! Built for `wasm32-wasip2` this is a component of the `fanfare:channel` world. Off wasm the host is
//! [`testing::Host`], a script that a unit test writes, so plain `cargo test` works. A plugin's crate is a
//! `["cdylib", "rlib"]` that depends on `fanfare-sdk`, `serde` and `schemars`; its name and version become the
//! manifest's.
//!
//! The crate owns no policy: limits, secrets, retries and what may be reached are the host's.

// Generated code names this crate by its name from inside it, too.
#[cfg(target_family = "wasm")]
extern crate self as fanfare_sdk;

mod attempt;
pub mod crypto;
pub mod encode;
mod http;
#[cfg(any(test, target_family = "wasm"))]
mod kept;
pub mod log;
pub mod manifest;
mod outcome;
mod plan;
mod settings;
pub mod smtp;
pub mod time;

#[macro_use]
mod macros;

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(target_family = "wasm")]
mod wasm;

#[cfg(not(target_family = "wasm"))]
pub use native::testing;

pub use attempt::{Attachment, Attempt, Extensions, Json, Notification, Priority, Recipient};
pub use http::{HttpError, Request, Response};
pub use outcome::{Fault, Receipt, SendError};
pub use plan::{Contact, Person, Plan, Target};
pub use settings::settings;

pub use {schemars, serde, serde_json};

#[cfg(not(target_family = "wasm"))]
use native as host;
#[cfg(target_family = "wasm")]
use wasm as host;

/// What a plugin's file begins with.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};

    pub use crate::{
        Attempt, Channel, Contact, Fault, HttpError, Json, Notification, Person, Plan, Priority, Receipt,
        Recipient, Request, Response, Router, SendError, Target, crypto, log, smtp,
    };
}

/// A channel: carries one notification to one recipient. The value is the operator's settings.
pub trait Channel {
    /// Carries it. Called once for each attempt, in a fresh instance; in one that served before where the operator has
    /// asked for that, and then with the same value of the settings for as long as they stay the same. That value is never
    /// dropped.
    ///
    /// # Errors
    ///
    /// [`SendError`] says whether it may work later, and the host's retry policy does the rest.
    fn send(&self, attempt: &Attempt) -> Result<Receipt, SendError>;

    /// Are these settings good, beyond what their schema says? It can't reach the outside.
    ///
    /// # Errors
    ///
    /// A fault whose message tells the operator what to change; the settings are then not taken into use.
    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// A router: decides where a notification goes. The value is the operator's settings.
pub trait Router {
    /// The deliveries to make. The same arguments must give the same plan.
    ///
    /// # Errors
    ///
    /// A fault; the host tries again later, by its retry policy.
    fn route(&self, notification: &Notification, people: &[Person], now_ms: u64) -> Result<Plan, Fault>;

    /// Are these settings good, beyond what their schema says?
    ///
    /// # Errors
    ///
    /// A fault whose message tells the operator what to change; the settings are then not taken into use.
    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// What the macros expand to; not for authors.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_family = "wasm")]
    pub use crate::wasm::{channel, router};
    #[cfg(target_family = "wasm")]
    pub use wit_bindgen;

    use schemars::JsonSchema;
    use serde::de::DeserializeOwned;

    pub fn is_channel<T: crate::Channel + DeserializeOwned + JsonSchema>() {}
    pub fn is_router<T: crate::Router + DeserializeOwned + JsonSchema>() {}
}
