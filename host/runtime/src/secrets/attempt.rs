//! One attempt's view of the secrets: its markers, and what is done with them at the door.

use rand::RngCore as _;
use serde_json::{Map, Value};

use super::encode::{self, Place};
use super::settings::{MarkedSettings, UnknownSecret};
use super::{Secret, SecretEntry, Secrets};

/// What every marker begins with. Letters, digits and hyphens only: it passes through URLs, headers and JSON
/// unchanged.
const PREFIX: &str = "fanfare-secret-";

/// What stands for one secret in one attempt.
#[derive(Clone, Debug)]
pub(super) struct Marker {
    pub(super) text: String,
    name: String,
}

impl Marker {
    pub(super) fn for_secret(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::random() }
    }

    pub(super) fn random() -> Self {
        let mut bytes = [0; 16];
        rand::rng().fill_bytes(&mut bytes);
        Self { text: format!("{PREFIX}{}", hex::encode(bytes)), name: String::new() }
    }
}

/// The secrets of one attempt. The default has none.
#[derive(Clone, Debug, Default)]
pub struct AttemptSecrets {
    markers: Vec<Marker>,
    secrets: Secrets,
}

/// A secret can't be put where its marker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FillError {
    /// It is not for this place.
    Elsewhere {
        /// The secret's name.
        secret: String,
        /// The origins it is bound to, where it is bound.
        bound: Option<String>,
    },
    /// The manifest does not ask for secrets in bodies.
    Body {
        /// The secret's name.
        secret: String,
    },
    /// It would break the header.
    LineBreak {
        /// The secret's name.
        secret: String,
    },
}

/// A lookup by name that found nothing to give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSecret {
    /// The channel has none of this name.
    #[error("the channel has no secret {0:?}; add secrets = {{ {0} = \"env:NAME\" }} to its section")]
    Missing(String),
    /// There is one, and the plugin's manifest does not ask for it.
    #[error("the plugin's manifest does not ask for the secret {0:?}")]
    NotRequested(String),
}

impl AttemptSecrets {
    pub(super) fn new(markers: Vec<Marker>, secrets: Secrets) -> Self {
        Self { markers, secrets }
    }

    /// Marks settings for one attempt. Where the same settings serve many, keep a [`MarkedSettings`].
    ///
    /// # Errors
    ///
    /// [`UnknownSecret`] for a name that is not configured.
    pub fn mark(settings: &Map<String, Value>, secrets: &Secrets) -> Result<(Self, String), UnknownSecret> {
        Ok(MarkedSettings::new(settings, secrets)?.mark())
    }

    /// Whether the channel has no secrets at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// A secret by its name, for `crypto` and `smtp`.
    ///
    /// # Errors
    ///
    /// [`NoSecret`], also for one that exists and is not permitted: see [`Secrets::permit`].
    pub fn by_name(&self, name: &str) -> Result<&Secret, NoSecret> {
        let entry = self.secrets.get(name).ok_or_else(|| NoSecret::Missing(name.to_owned()))?;
        if !self.secrets.is_permitted(name) {
            return Err(NoSecret::NotRequested(name.to_owned()));
        }
        Ok(&entry.value)
    }

    /// Whether a marker of this attempt stands in `text`.
    #[must_use]
    pub fn is_marked(&self, text: &str) -> bool {
        self.markers.iter().any(|marker| text.contains(&marker.text))
    }

    /// Puts values in the place of markers, and says whether there were any.
    ///
    /// # Errors
    ///
    /// [`FillError`] where `may_go` refuses, or the value can't stand there.
    pub fn fill(
        &self,
        bytes: Vec<u8>,
        place: Place,
        may_go: &dyn Fn(&SecretEntry) -> bool,
    ) -> Result<(Vec<u8>, bool), FillError> {
        if self.markers.is_empty() || !has(&bytes, PREFIX.as_bytes()) {
            return Ok((bytes, false));
        }
        let mut filled = bytes;
        let mut any = false;
        for marker in &self.markers {
            if !has(&filled, marker.text.as_bytes()) {
                continue;
            }
            let value = self.value_for(&marker.name, place, may_go)?;
            filled = replaced(&filled, marker.text.as_bytes(), value.as_bytes());
            any = true;
        }
        Ok((filled, any))
    }

    fn value_for(
        &self,
        name: &str,
        place: Place,
        may_go: &dyn Fn(&SecretEntry) -> bool,
    ) -> Result<String, FillError> {
        let secret = name.to_owned();
        let Some(entry) = self.secrets.get(name) else {
            return Err(FillError::Elsewhere { secret, bound: None });
        };
        if !may_go(entry) {
            let bound = entry
                .origins
                .as_ref()
                .map(|origins| origins.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            return Err(FillError::Elsewhere { secret, bound });
        }
        if matches!(place, Place::Body(_)) && !self.secrets.in_body() {
            return Err(FillError::Body { secret });
        }
        encode::written(entry.value.expose(), place).ok_or(FillError::LineBreak { secret })
    }

    /// Masks every secret of the channel, in any of its forms, with `***`.
    #[must_use]
    pub fn mask(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.secrets.mask(bytes)
    }

    /// The same for text.
    #[must_use]
    pub fn mask_text(&self, text: String) -> String {
        if self.is_empty() {
            return text;
        }
        String::from_utf8_lossy(&self.mask(text.into_bytes())).into_owned()
    }
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn replaced(bytes: &[u8], marker: &[u8], value: &[u8]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(bytes.len() + value.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(marker.len()).position(|window| window == marker) {
        let (before, after) = rest.split_at(at);
        filled.extend_from_slice(before);
        filled.extend_from_slice(value);
        rest = after.get(marker.len()..).unwrap_or_default();
    }
    filled.extend_from_slice(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::BodyKind;

    fn secrets() -> Secrets {
        let mut secrets = Secrets::default();
        secrets.insert("token", Secret::new("va/lue\""), None);
        secrets.insert("other", Secret::new("two"), None);
        secrets
    }

    fn settings(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("an object") };
        map
    }

    fn anywhere(_: &SecretEntry) -> bool {
        true
    }

    #[test]
    fn markers_stand_for_secrets_and_are_new_each_time() {
        let settings = settings(serde_json::json!({
            "url": "https://h.example/${secret:token}/x", "deep": [{"a": "${secret:other}${secret:token}"}], "n": 1,
        }));
        let (first, text) = AttemptSecrets::mark(&settings, &secrets()).unwrap();
        let (_, again) = AttemptSecrets::mark(&settings, &secrets()).unwrap();
        assert_ne!(text, again);
        assert!(!text.contains("va/lue") && !text.contains("${secret"), "{text}");
        let parsed: Value = serde_json::from_str(&text).unwrap();
        let url = parsed["url"].as_str().unwrap();
        let (filled, any) = first.fill(url.as_bytes().to_vec(), Place::Path, &anywhere).unwrap();
        assert!(any);
        assert_eq!(String::from_utf8(filled).unwrap(), "https://h.example/va/lue%22/x");
        let deep = parsed["deep"][0]["a"].as_str().unwrap();
        let (filled, _) = first.fill(deep.as_bytes().to_vec(), Place::Header, &anywhere).unwrap();
        assert_eq!(filled, b"twova/lue\"");
    }

    #[test]
    fn a_marker_of_another_attempt_is_worth_nothing() {
        let settings = settings(serde_json::json!({"k": "${secret:token}"}));
        let (_, old) = AttemptSecrets::mark(&settings, &secrets()).unwrap();
        let (now, _) = AttemptSecrets::mark(&settings, &secrets()).unwrap();
        let (filled, any) = now.fill(old.clone().into_bytes(), Place::Header, &anywhere).unwrap();
        assert!(!any);
        assert_eq!(filled, old.into_bytes());
    }

    #[test]
    fn a_secret_that_is_not_configured_is_named_with_the_remedy() {
        let unknown = settings(serde_json::json!({"k": "${secret:tokn}"}));
        let error = AttemptSecrets::mark(&unknown, &secrets()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the settings name the secret \"tokn\", and the channel has other, token; \
             add secrets = { tokn = \"env:NAME\" } to its section"
        );
        let unclosed = settings(serde_json::json!({"a": {"k": "${secret:token"}}));
        let error = AttemptSecrets::mark(&unclosed, &secrets()).unwrap_err();
        assert!(error.to_string().starts_with("the setting a.k has a ${secret: without a closing brace"));
    }

    #[test]
    fn bodies_take_secrets_only_where_that_is_allowed() {
        let settings = settings(serde_json::json!({"k": "${secret:token}"}));
        let mut secrets = secrets();
        let (refusing, text) = AttemptSecrets::mark(&settings, &secrets).unwrap();
        let error = refusing.fill(text.into_bytes(), Place::Body(BodyKind::Json), &anywhere).unwrap_err();
        assert_eq!(error, FillError::Body { secret: "token".to_owned() });
        secrets.allow_in_body();
        let (allowing, text) = AttemptSecrets::mark(&settings, &secrets).unwrap();
        let (filled, _) = allowing.fill(text.into_bytes(), Place::Body(BodyKind::Json), &anywhere).unwrap();
        let parsed: Value = serde_json::from_slice(&filled).unwrap();
        assert_eq!(parsed["k"], "va/lue\"");
    }

    #[test]
    fn lookups_by_name_are_limited_to_what_the_manifest_asks_for() {
        let mut secrets = secrets();
        secrets.permit(["token"]);
        let (attempt, _) = AttemptSecrets::mark(&Map::new(), &secrets).unwrap();
        assert_eq!(attempt.by_name("token").unwrap().expose(), "va/lue\"");
        let error = attempt.by_name("other").unwrap_err().to_string();
        assert_eq!(error, "the plugin's manifest does not ask for the secret \"other\"");
        let error = attempt.by_name("none").unwrap_err().to_string();
        assert_eq!(
            error,
            "the channel has no secret \"none\"; add secrets = { none = \"env:NAME\" } to its section"
        );
    }
}
