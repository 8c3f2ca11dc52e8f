//! What the components share: one macro that makes a channel of a block of code.

/// A channel without settings whose `send` is the given code; `check` may be given first.
#[macro_export]
macro_rules! channel {
    ($(check $check:block)? send |$attempt:pat_param| $send:block) => {
        #[derive(fanfare_sdk::serde::Deserialize, fanfare_sdk::schemars::JsonSchema)]
        struct Component {}

        impl fanfare_sdk::Channel for Component {
            #[allow(unreachable_code, reason = "some components never get to an answer")]
            fn send(&self, $attempt: &fanfare_sdk::Attempt) -> Result<fanfare_sdk::Receipt, fanfare_sdk::SendError> {
                $send
            }

            $(#[allow(unreachable_code, reason = "some components never get to an answer")]
            fn check(&self) -> Result<(), fanfare_sdk::Fault> {
                $check
            })?
        }

        fanfare_sdk::channel!(Component);
    };
}

/// A router without settings whose `route` is the given code.
#[macro_export]
macro_rules! router {
    (|$notification:pat_param, $people:pat_param, $now_ms:pat_param| $route:block) => {
        #[derive(fanfare_sdk::serde::Deserialize, fanfare_sdk::schemars::JsonSchema)]
        struct Component {}

        impl fanfare_sdk::Router for Component {
            #[allow(unreachable_code, reason = "some components never get to an answer")]
            fn route(
                &self,
                $notification: &fanfare_sdk::Notification,
                $people: &[fanfare_sdk::Person],
                $now_ms: u64,
            ) -> Result<fanfare_sdk::Plan, fanfare_sdk::Fault> {
                $route
            }
        }

        fanfare_sdk::router!(Component);
    };
}

/// The settings of the components that call the outside.
#[derive(fanfare_sdk::serde::Deserialize)]
#[serde(crate = "fanfare_sdk::serde")]
pub struct Target {
    /// The one URL that the manifest asks for.
    pub url: String,
    /// Sent as `x-token` by `http_post`.
    #[serde(default)]
    pub token: String,
}
