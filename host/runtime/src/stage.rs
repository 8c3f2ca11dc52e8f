//! Staging: settings against the plugin's schema, requests against grants, secrets against the manifest.

use serde_json::{Map, Value};

use crate::egress::{Grants, HostPattern, OriginPattern, ServerPattern};
use crate::error::StageError;
use crate::manifest::{Kind, Manifest};
use crate::secrets::{MarkedSettings, Secrets};

pub(crate) fn check_kind(manifest: &Manifest, wanted: Kind) -> Result<(), StageError> {
    if manifest.kind == wanted {
        return Ok(());
    }
    Err(StageError::WrongKind {
        plugin: manifest.name.clone(),
        is: manifest.kind.as_str(),
        wanted: wanted.as_str(),
    })
}

/// Every place where the settings do not fit the schema.
pub(crate) fn check_settings(manifest: &Manifest, settings: &Map<String, Value>) -> Result<(), StageError> {
    let Some(schema) = &manifest.settings_schema else { return Ok(()) };
    let refused = |why: String| StageError::Settings { plugin: manifest.name.clone(), why };
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| refused(format!("its own schema can't be used: {error}")))?;
    let settings = Value::Object(settings.clone());
    let faults: Vec<String> = validator
        .iter_errors(&settings)
        .map(|error| {
            let at = error.instance_path().to_string();
            let at = if at.is_empty() { "settings".to_owned() } else { format!("settings{at}") };
            format!("{at}: {error}")
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(refused(faults.join("; "))) }
}

/// What is granted must cover what is asked for; what nobody asks for is not granted.
pub(crate) fn check_grants(
    manifest: &Manifest,
    settings: &Map<String, Value>,
    mut grants: Grants,
) -> Result<Grants, StageError> {
    for asked in &manifest.permissions.http {
        let Some(text) = filled(manifest, settings, asked) else { continue };
        let origin = origin(&text).map_err(|why| StageError::Settings {
            plugin: manifest.name.clone(),
            why: format!("{asked} is {text:?}, which is no URL: {why}"),
        })?;
        let concrete = matches!(origin.host(), HostPattern::Exactly(_));
        if concrete && !grants.covers(&origin) {
            return Err(StageError::MissingGrant {
                plugin: manifest.name.clone(),
                needs: format!("http to {origin}"),
                paste: grants.line_with_http(&origin.to_string()),
            });
        }
    }
    for asked in &manifest.permissions.smtp {
        let Some(text) = filled(manifest, settings, asked) else { continue };
        let server = ServerPattern::parse(&text).map_err(|error| StageError::Settings {
            plugin: manifest.name.clone(),
            why: error.to_string(),
        })?;
        if !grants.covers_smtp(&server) {
            return Err(StageError::MissingGrant {
                plugin: manifest.name.clone(),
                needs: format!("smtp to {text}"),
                paste: grants.line_with_smtp(&text),
            });
        }
    }
    if manifest.permissions.http.is_empty() {
        grants.http.clear();
    }
    if manifest.permissions.smtp.is_empty() {
        grants.smtp.clear();
    }
    Ok(grants)
}

/// The origin of a URL, of which the path may hold a secret.
pub(crate) fn origin(url: &str) -> Result<OriginPattern, String> {
    let authority_at = url.find("://").map_or(0, |at| at + 3);
    let rest = url.get(authority_at..).unwrap_or_default();
    let end = rest.find(['/', '?', '#']).map_or(url.len(), |at| authority_at + at);
    OriginPattern::parse(url.get(..end).unwrap_or_default()).map_err(|error| error.to_string())
}

/// The text with each `{settings.NAME}` replaced by the setting, or by its default in the schema; `None` when a setting
/// is not there, because then nothing is asked for.
pub(crate) fn filled(manifest: &Manifest, settings: &Map<String, Value>, text: &str) -> Option<String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{settings.") {
        let (name, behind) = behind.split_once('}')?;
        let default = || {
            let schema = manifest.settings_schema.as_ref()?;
            schema.get("properties")?.get(name)?.get("default")
        };
        let value = settings.get(name).or_else(default).filter(|value| !value.is_null())?;
        result.push_str(before);
        match value {
            Value::String(text) => result.push_str(text),
            other => result.push_str(&other.to_string()),
        }
        rest = behind;
    }
    result.push_str(rest);
    Some(result)
}

/// The settings, ready to be marked for each attempt.
pub(crate) fn marked(
    manifest: &Manifest,
    settings: &Map<String, Value>,
    secrets: Secrets,
) -> Result<MarkedSettings, StageError> {
    let secrets = check_secrets(manifest, secrets, &named_secrets(settings))?;
    MarkedSettings::new(settings, &secrets).map_err(|error| StageError::Secret(error.to_string()))
}

/// Secrets that the manifest does not ask for are a mistake; the others are permitted.
fn check_secrets(manifest: &Manifest, mut secrets: Secrets, named: &[String]) -> Result<Secrets, StageError> {
    let asked = &manifest.permissions.secrets;
    for name in secrets.names() {
        // A secret that only the settings name is put in at the door, and needs no permission of its own.
        if !asked.iter().any(|asked| asked == name) && !named.iter().any(|named| named == name) {
            return Err(StageError::Secret(format!(
                "the plugin {} does not ask for a secret {name}, and the settings do not name it; take it out of the section, or write ${{secret:{name}}} where it belongs",
                manifest.name
            )));
        }
    }
    secrets.permit(asked.iter().cloned());
    if manifest.permissions.secrets_in_body {
        secrets.allow_in_body();
    }
    Ok(secrets)
}

/// The secrets that the settings' texts name.
fn named_secrets(settings: &Map<String, Value>) -> Vec<String> {
    let text = Value::Object(settings.clone()).to_string();
    let parts = text.split("${secret:").skip(1);
    parts.filter_map(|part| part.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}
