//! What the calls have in common that look at plugins, channels and the router, or change them: they are an operator's, their
//! query is empty, and a body is small JSON.

use axum::extract::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Api;
use super::body::{require_json, require_none};
use super::problem::{Problem, code};
use super::query::Params;
use crate::auth::Identity;
use crate::config::Scope;

/// An activation's body: settings of a channel are small.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024;

/// An operator who only looks.
pub(super) fn looks(api: &Api, request: &Request) -> Result<(), Problem> {
    api.admit(request.headers(), Scope::Admin)?;
    Params::none(request.uri())
}

/// Who asks for an act that takes no body.
pub(super) async fn bare(api: &Api, request: Request) -> Result<Identity, Problem> {
    let (parts, body) = request.into_parts();
    let who = api.admit(&parts.headers, Scope::Admin)?;
    Params::none(&parts.uri)?;
    require_none(&api.bodies, &parts.headers, body).await?;
    Ok(who)
}

/// Who asks for an act, and what the body says of it.
pub(super) async fn with_json<T: DeserializeOwned>(
    api: &Api,
    request: Request,
) -> Result<(Identity, T), Problem> {
    let (parts, body) = request.into_parts();
    let who = api.admit(&parts.headers, Scope::Admin)?;
    Params::none(&parts.uri)?;
    require_json(&parts.headers)?;
    let read = api.bodies.read(&parts.headers, body, BODY_BYTES_MAX).await?;
    Ok((who, from_json(&read.bytes)?))
}

pub(super) fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            let pointer = if path == "." { String::new() } else { format!("/{}", path.replace('.', "/")) };
            Problem::new(code::INVALID_FIELD, inner.to_string()).at(pointer)
        } else {
            Problem::new(code::INVALID_JSON, inner.to_string())
        }
    })
}
