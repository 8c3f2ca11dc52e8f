//! The operator's settings as the author's own struct.

use serde::de::DeserializeOwned;

use crate::host;
use crate::outcome::Fault;

/// Reads the settings of the channel or router that this instance serves.
///
/// In place of each `${secret:NAME}` of the operator stands a marker; it turns into the value when a request leaves.
///
/// # Errors
///
/// Code `bad-settings`, with the place that does not fit.
pub fn settings<S: DeserializeOwned>() -> Result<S, Fault> {
    parsed(&host::settings())
}

pub(crate) fn parsed<S: DeserializeOwned>(text: &str) -> Result<S, Fault> {
    serde_json::from_str(text)
        .map_err(|error| Fault::new("bad-settings", format!("the settings do not fit the plugin: {error}")))
}
