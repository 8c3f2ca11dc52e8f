//! The operator's settings with `${secret:NAME}` in them, prepared once for a generation, marked for each attempt.

use serde_json::{Map, Value};

use super::Secrets;
use super::attempt::{AttemptSecrets, Marker};

/// The settings name a secret that is not configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownSecret {
    /// No secret of this name.
    #[error(
        "the settings name the secret {name:?}, and the channel has {known}; add secrets = {{ {name} = \"env:NAME\" }} to its section"
    )]
    Missing {
        /// The name.
        name: String,
        /// What there is.
        known: String,
    },
    /// A `${secret:` without its end.
    #[error("the setting {path} has a ${{secret: without a closing brace; write ${{secret:name}}")]
    Unclosed {
        /// The setting, dotted.
        path: String,
    },
}

const OPENING: &str = "${secret:";

/// Settings that are ready to be marked: JSON text, cut where markers go.
#[derive(Clone, Debug, Default)]
pub struct MarkedSettings {
    /// Text before the first marker, then after each.
    texts: Vec<String>,
    /// Which secret goes after each text but the last, by its place in `names`.
    holes: Vec<usize>,
    names: Vec<String>,
    secrets: Secrets,
}

impl MarkedSettings {
    /// Finds each `${secret:NAME}` in the string values of `settings`. Keys are left alone.
    ///
    /// # Errors
    ///
    /// [`UnknownSecret`] for a name that is not in `secrets`.
    pub fn new(settings: &Map<String, Value>, secrets: &Secrets) -> Result<Self, UnknownSecret> {
        let mut names = Vec::new();
        // Stands for a secret until the text is cut; random, so no setting holds it already.
        let stand_in = Marker::random().text;
        let mut settings = Value::Object(settings.clone());
        let mut visit = Visit { secrets, names: &mut names, stand_in: &stand_in };
        visit.value(&mut settings, "")?;
        let text = settings.to_string();
        if names.is_empty() {
            return Ok(Self { texts: vec![text], holes: Vec::new(), names, secrets: secrets.clone() });
        }
        let mut pieces = text.split(stand_in.as_str());
        let mut texts: Vec<String> = pieces.next().map(str::to_owned).into_iter().collect();
        let mut holes = Vec::new();
        for piece in pieces {
            let (index, rest) = piece.split_once('.').unwrap_or((piece, ""));
            holes.push(index.parse().unwrap_or(usize::MAX));
            texts.push(rest.to_owned());
        }
        Ok(Self { texts, holes, names, secrets: secrets.clone() })
    }

    /// The settings as one attempt's guest sees them, with fresh markers.
    #[must_use]
    pub fn mark(&self) -> (AttemptSecrets, String) {
        let markers: Vec<Marker> = self.names.iter().map(|name| Marker::for_secret(name)).collect();
        let mut text =
            String::with_capacity(self.texts.iter().map(String::len).sum::<usize>() + markers.len() * 64);
        let mut texts = self.texts.iter();
        text.extend(texts.next().map(String::as_str));
        for (hole, after) in self.holes.iter().zip(texts) {
            text.extend(markers.get(*hole).map(|marker| marker.text.as_str()));
            text.push_str(after);
        }
        (AttemptSecrets::new(markers, self.secrets.clone()), text)
    }
}

struct Visit<'v> {
    secrets: &'v Secrets,
    names: &'v mut Vec<String>,
    stand_in: &'v str,
}

impl Visit<'_> {
    fn value(&mut self, value: &mut Value, path: &str) -> Result<(), UnknownSecret> {
        match value {
            Value::String(text) if text.contains(OPENING) => {
                *text = self.text(text, path)?;
                Ok(())
            }
            Value::Array(items) => items
                .iter_mut()
                .enumerate()
                .try_for_each(|(at, item)| self.value(item, &format!("{path}[{at}]"))),
            Value::Object(fields) => {
                let dot = if path.is_empty() { "" } else { "." };
                fields.iter_mut().try_for_each(|(key, item)| self.value(item, &format!("{path}{dot}{key}")))
            }
            _ => Ok(()),
        }
    }

    fn text(&mut self, text: &str, path: &str) -> Result<String, UnknownSecret> {
        let mut pieces = text.split(OPENING);
        let mut marked = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let unclosed = || UnknownSecret::Unclosed { path: path.to_owned() };
            let (name, after) = piece.split_once('}').ok_or_else(unclosed)?;
            let index = self.index(name)?;
            marked.push_str(&format!("{}{index}.{after}", self.stand_in));
        }
        Ok(marked)
    }

    fn index(&mut self, name: &str) -> Result<usize, UnknownSecret> {
        if !self.secrets.contains(name) {
            let known: Vec<&str> = self.secrets.names().collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(UnknownSecret::Missing { name: name.to_owned(), known });
        }
        if let Some(at) = self.names.iter().position(|known| known == name) {
            return Ok(at);
        }
        self.names.push(name.to_owned());
        Ok(self.names.len() - 1)
    }
}
