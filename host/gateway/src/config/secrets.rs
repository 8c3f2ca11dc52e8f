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

/// A secret's text; it has no `Display`, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(redacted)")
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
    let reference = entry.text()?;
    let text = if let Some(name) = reference.strip_prefix("env:") {
        from_variable(entry, name, sources.environment)?
    } else if let Some(path) = reference.strip_prefix("file:") {
        from_file(entry, &sources.folder.join(path))?
    } else {
        let remedy = r#"write "env:NAME" for a variable of the environment or "file:/path" for a file"#;
        entry.wrong("is not a reference to a secret; the secret itself never stands here", remedy);
        return None;
    };
    if text.is_empty() {
        entry.wrong("leads to an empty secret", "put the secret there");
        return None;
    }
    Some(SecretText(text))
}

fn from_variable(entry: &Entry<'_>, name: &str, environment: &dyn Environment) -> Option<String> {
    let Some(value) = environment.get(name) else {
        let remedy = format!("set {name} where the gateway is started, or correct the name");
        entry.wrong(format!("the environment has no variable {name:?}"), remedy);
        return None;
    };
    let text = value.into_string().ok().filter(|text| text.len() <= SECRET_BYTES_MAX);
    if text.is_none() {
        entry.wrong(
            format!("the value of {name} is no UTF-8 text of 64 KiB at most"),
            "set it to the secret's text",
        );
    }
    text
}

fn from_file(entry: &Entry<'_>, path: &Path) -> Option<String> {
    let bytes = match read_bounded(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let remedy = "make the file readable for the gateway, or correct the path";
            entry.wrong(format!("{} can't be read: {error}", path.display()), remedy);
            return None;
        }
    };
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= SECRET_BYTES_MAX);
    let Some(mut text) = text else {
        entry.wrong(
            format!("{} is no UTF-8 text of 64 KiB at most", path.display()),
            "put the secret's text there",
        );
        return None;
    };
    // Editors and `echo` end a file with a line break that is not part of the secret; only one is taken off.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Some(text)
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
