//! A look at a component's bytes before anything of it runs: is it one, what does it export, what does it say of itself.

use fanfare_model::text::plain;
use wasmparser::{Encoding, Parser, Payload};

use crate::error::LoadError;
use crate::manifest::{Kind, Manifest, SECTION};

/// Larger components are refused.
pub const COMPONENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The contract that this host serves.
const TRACK: (u64, u64) = (1, 0);
const CHANNEL_EXPORT: &str = "fanfare:channel/sender@";
const ROUTER_EXPORT: &str = "fanfare:router/rules@";

/// Checks the bytes, and gives the manifest. Nothing is compiled, and nothing runs.
///
/// # Errors
/// [`LoadError`], as [`crate::Runtime::load`] gives it.
pub fn inspect(label: &str, bytes: &[u8]) -> Result<Manifest, LoadError> {
    let invalid = |why: String| LoadError::Invalid { label: label.to_owned(), why };
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(LoadError::TooLarge { label: label.to_owned(), bytes: bytes.len() });
    }
    if bytes.starts_with(b"\x7fELF") {
        return Err(invalid(
            "it is compiled code; give the component itself, which is compiled here".to_owned(),
        ));
    }
    if !Parser::is_component(bytes) {
        let why = if Parser::is_core_wasm(bytes) {
            "it is a core module; build it for wasm32-wasip2, which makes a component"
        } else {
            "it is no WebAssembly component"
        };
        return Err(invalid(why.to_owned()));
    }
    let found = read(bytes).map_err(|error| invalid(format!("it can't be read to its end: {error}")))?;
    let no_manifest =
        || invalid(format!("it has no {SECTION} section; pack one into it, such as the SDK's build does"));
    let text = found.manifest.ok_or_else(no_manifest)?;
    let mut manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| invalid(format!("its manifest can't be read: {error}")))?;
    if manifest.manifest != 1 {
        return Err(invalid(format!(
            "its manifest has format {}, and this host reads format 1: start a newer Fanfare",
            manifest.manifest
        )));
    }
    let (kind, version) = found.contract.ok_or_else(|| {
        invalid(format!("it exports neither {CHANNEL_EXPORT}X.Y.Z nor {ROUTER_EXPORT}X.Y.Z"))
    })?;
    if kind != manifest.kind {
        return Err(invalid(format!(
            "its manifest says {}, and it exports a {}",
            manifest.kind.as_str(),
            kind.as_str()
        )));
    }
    if let Some(remedy) = mismatch(&version) {
        let ours = contract_served();
        return Err(LoadError::Version { label: label.to_owned(), theirs: version, ours, remedy });
    }
    // It is shown to whoever asks what is installed.
    for text in [&mut manifest.name, &mut manifest.version, &mut manifest.description] {
        *text = plain(text);
    }
    Ok(manifest)
}

/// The contract that this host serves, such as `1.0`.
#[must_use]
pub fn contract_served() -> String {
    format!("{}.{}", TRACK.0, TRACK.1)
}

/// What to do about a contract that is not served; none when it is.
#[must_use]
pub fn mismatch(version: &str) -> Option<&'static str> {
    let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) if major == TRACK.0 && minor <= TRACK.1 => None,
        (Some(major), Some(minor)) if (major, minor) > TRACK => {
            Some("it is too new: start a newer Fanfare, or build it with the SDK of this one")
        }
        (Some(_), Some(_)) => Some("it is too old: build it again with the SDK of this Fanfare"),
        _ => Some("that is no version: build it with the SDK of this Fanfare"),
    }
}

/// What a component's bytes say of it. Nothing here is judged.
#[derive(Clone, Debug, Default)]
pub struct Examination {
    /// The text of its manifest.
    pub manifest: Option<Vec<u8>>,
    /// What it exports, and the version of that contract.
    pub contract: Option<(Kind, String)>,
    /// The interfaces that it imports, such as `fanfare:host/http@1.0.0`.
    pub imports: Vec<String>,
}

/// Looks at a component without judging it.
///
/// # Errors
/// A phrase, where the bytes are no component or end too early.
pub fn examine(bytes: &[u8]) -> Result<Examination, String> {
    read(bytes).map_err(|error| format!("it can't be read to its end: {error}"))
}

/// What stands at the component's own level; what is nested inside does not count.
fn read(bytes: &[u8]) -> wasmparser::Result<Examination> {
    let mut found = Examination::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding: Encoding::Component | Encoding::Module, .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CustomSection(section) if depth == 1 && section.name() == SECTION => {
                found.manifest = Some(section.data().to_vec());
            }
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports {
                    found.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports {
                    let name = export?.name.name;
                    let contract = name
                        .strip_prefix(CHANNEL_EXPORT)
                        .map(|version| (Kind::Channel, version.to_owned()))
                        .or_else(|| name.strip_prefix(ROUTER_EXPORT).map(|v| (Kind::Router, v.to_owned())));
                    found.contract = found.contract.or(contract);
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        inspect("x.wasm", bytes).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_component_is_refused_with_what_to_do() {
        assert!(refusal(b"").contains("no WebAssembly component"));
        assert!(refusal(b"hello").contains("no WebAssembly component"));
        assert!(refusal(b"\0asm\x01\0\0\0").contains("build it for wasm32-wasip2"));
        assert!(refusal(b"\x7fELF....").contains("give the component itself"));
        assert!(refusal(b"\0asm\x0d\0\x01\0").contains("no fanfare:manifest section"));
        assert!(refusal(b"\0asm\x0d\0\x01\0\x00\xff").contains("can't be read to its end"));
    }

    #[test]
    fn contracts_of_this_track_are_served_and_others_are_not() {
        assert_eq!((mismatch("1.0.0"), mismatch("1.0.7")), (None, None));
        for (version, says) in [
            ("1.1.0", "too new"),
            ("2.0.0", "too new"),
            ("0.9.0", "too old"),
            ("x", "no version"),
            ("", "no version"),
        ] {
            assert!(mismatch(version).is_some_and(|remedy| remedy.contains(says)), "{version}");
        }
    }
}
