//! What a plugin asks for beside what it is granted, line by line: for people who decide whether it may serve.

use serde_json::{Map, Value};

use crate::egress::{Grants, HostPattern, ServerPattern};
use crate::plugin::Plugin;
use crate::stage;

/// One permission that a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `http`, `smtp` or `secret`.
    pub kind: &'static str,
    /// What, with the settings filled in.
    pub what: String,
    /// Whether it is granted, or needs no grant by itself.
    pub granted: bool,
}

/// Every permission of the plugin's manifest, with these settings and grants.
#[must_use]
pub fn review(
    plugin: &Plugin,
    settings: &Map<String, Value>,
    grants: &Grants,
    secrets: &[String],
) -> Vec<Request> {
    let (manifest, asked) = (&plugin.manifest, &plugin.manifest.permissions);
    let mut requests = Vec::new();
    for text in asked.http.iter().filter_map(|text| stage::filled(manifest, settings, text)) {
        let request = match stage::origin(&text) {
            Ok(origin) => Request {
                kind: "http",
                what: origin.to_string(),
                // A pattern is a wish; what counts is the origin that a request goes to.
                granted: !matches!(origin.host(), HostPattern::Exactly(_)) || grants.covers(&origin),
            },
            Err(_) => Request { kind: "http", what: text, granted: false },
        };
        requests.push(request);
    }
    for text in asked.smtp.iter().filter_map(|text| stage::filled(manifest, settings, text)) {
        let granted = ServerPattern::parse(&text).is_ok_and(|server| grants.covers_smtp(&server));
        requests.push(Request { kind: "smtp", what: text, granted });
    }
    for name in &asked.secrets {
        requests.push(Request { kind: "secret", what: name.clone(), granted: secrets.contains(name) });
    }
    requests
}
