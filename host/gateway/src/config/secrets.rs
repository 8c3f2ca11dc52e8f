//! Secrets by reference: `env:NAME` or `file:/path`. The file of the configuration never holds one.
//!
//! Resolved once, when the configuration is read. No error quotes what was written in place of a reference, since
//! that may be the secret itself. A secret is text, not empty, and 64 KiB at most.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::Path;

use super::environment::Environment;
use super::read::section::{Entry, Section};

const SECRET_BYTES_MAX: usize = 64 * 1_024;

/// A secret's text and the reference that leads to it; it has no `Display`, and `Debug` does not show the text.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText {
    text: String,
    reference: String,
}

impl SecretText {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Where it stands, such as `env:TOKEN`.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.reference
    }
}

/// A reference that leads to no secret: what is wrong, and what to do. It does not quote the reference, which may be
/// the secret itself.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{wrong}; {remedy}")]
pub struct BadSecret {
    /// What is wrong.
    pub wrong: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretText({}, redacted)", self.reference)
    }
}

/// Where relative paths begin, and the variables.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) folder: &'a Path,
    pub(super) environment: &'a dyn Environment,
}

pub(super) fn secrets(section: Option<Section<'_>>, sources: Sources<'_>) -> BTreeMap<String, SecretText> {
    let mut secrets = BTreeMap::new();
    for (name, entry) in section.map(Section::named).unwrap_or_default() {
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(fine) {
            entry.wrong("is not a valid name of a secret", "use 1 to 64 of letters, digits, - and _");
            continue;
        }
        if let Some(secret) = resolve(&entry, sources) {
            secrets.insert(name.to_owned(), secret);
        }
    }
    secrets
}

fn resolve(entry: &Entry<'_>, sources: Sources<'_>) -> Option<SecretText> {
    match resolve_secret(entry.text()?, sources.folder, sources.environment) {
        Ok(secret) => Some(secret),
        Err(BadSecret { wrong, remedy }) => {
            entry.wrong(wrong, remedy);
            None
        }
    }
}

/// The secret that a reference leads to; relative paths begin in `folder`.
///
/// # Errors
/// [`BadSecret`].
pub fn resolve_secret(
    reference: &str,
    folder: &Path,
    environment: &dyn Environment,
) -> Result<SecretText, BadSecret> {
    let remedy = r#"write "env:NAME" for a variable of the environment or "file:/path" for a file"#;
    let text = match reference.split_once(':') {
        Some(("env" | "file", "")) => return bad("names nothing", remedy),
        Some(("env", name)) => from_variable(name, environment)?,
        Some(("file", path)) => from_file(&folder.join(path))?,
        _ => return bad("is not a reference to a secret; the secret itself never stands here", remedy),
    };
    if text.is_empty() {
        return bad("leads to an empty secret", "put the secret there");
    }
    Ok(SecretText { text, reference: reference.to_owned() })
}

fn bad<T>(wrong: impl Into<String>, remedy: impl Into<String>) -> Result<T, BadSecret> {
    Err(BadSecret { wrong: wrong.into(), remedy: remedy.into() })
}

fn from_variable(name: &str, environment: &dyn Environment) -> Result<String, BadSecret> {
    let Some(value) = environment.get(name) else {
        let remedy = format!("set {name} where the gateway is started, or correct the name");
        return bad(format!("the environment has no variable {name:?}"), remedy);
    };
    match value.into_string().ok().filter(|text| text.len() <= SECRET_BYTES_MAX) {
        Some(text) => Ok(text),
        None => bad(
            format!("the value of {name} is no UTF-8 text of 64 KiB at most"),
            "set it to the secret's text",
        ),
    }
}

fn from_file(path: &Path) -> Result<String, BadSecret> {
    let bytes = match read_bounded(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let remedy = "make the file readable for the gateway, or correct the path";
            return bad(format!("{} can't be read: {error}", path.display()), remedy);
        }
    };
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= SECRET_BYTES_MAX);
    let Some(mut text) = text else {
        return bad(
            format!("{} is no UTF-8 text of 64 KiB at most", path.display()),
            "put the secret's text there",
        );
    };
    // Editors and `echo` end a file with a line break that is not part of the secret; only one is taken off.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
