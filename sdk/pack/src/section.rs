//! The custom section `fanfare:manifest`, at the end of a component, where its digest covers it.

/// The section's name.
pub const SECTION: &str = "fanfare:manifest";

/// `\0asm`, version 13 of the binary format, layer 1: a component.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// `\0asm`, version 1, layer 0: a core module.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// Custom sections have this id in modules and components alike.
const CUSTOM: u8 = 0;

/// Why a manifest was not packed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PackError {
    /// A core module.
    #[error("this is a core WebAssembly module, not a component: build it for wasm32-wasip2")]
    CoreModule,
    /// Something else.
    #[error("this is no WebAssembly component")]
    NoComponent,
    /// A section ends after the file does.
    #[error("the component is cut off or broken at byte {0}")]
    Broken(usize),
    /// It would have two.
    #[error("the component has a manifest already")]
    Packed,
    /// Not an object.
    #[error("the manifest is no JSON object: {0}")]
    NoManifest(String),
}

/// `component` with `manifest` as its last section.
///
/// # Errors
///
/// See [`PackError`].
pub fn pack(component: &[u8], manifest: &[u8]) -> Result<Vec<u8>, PackError> {
    if self::manifest(component)?.is_some() {
        return Err(PackError::Packed);
    }
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(manifest)
        .map_err(|error| PackError::NoManifest(error.to_string()))?;
    let mut content = Vec::with_capacity(manifest.len() + SECTION.len() + 1);
    push_leb(&mut content, SECTION.len());
    content.extend_from_slice(SECTION.as_bytes());
    content.extend_from_slice(manifest);
    let mut packed = component.to_vec();
    packed.push(CUSTOM);
    push_leb(&mut packed, content.len());
    packed.extend_from_slice(&content);
    Ok(packed)
}

/// The manifest inside `component`, if it has one.
///
/// # Errors
///
/// See [`PackError`].
pub fn manifest(component: &[u8]) -> Result<Option<&[u8]>, PackError> {
    if component.starts_with(MODULE) {
        return Err(PackError::CoreModule);
    }
    let mut rest = component.strip_prefix(COMPONENT).ok_or(PackError::NoComponent)?;
    while let Some((id, after_id)) = rest.split_first() {
        let broken = || PackError::Broken(component.len() - rest.len());
        let (size, after_size) = take_leb(after_id).ok_or_else(broken)?;
        let (content, after) = after_size.split_at_checked(size).ok_or_else(broken)?;
        if *id == CUSTOM {
            let (length, named) = take_leb(content).ok_or_else(broken)?;
            let (name, data) = named.split_at_checked(length).ok_or_else(broken)?;
            if name == SECTION.as_bytes() {
                return Ok(Some(data));
            }
        }
        rest = after;
    }
    Ok(None)
}

fn push_leb(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A length of at most five bytes, as the format's 32-bit lengths are.
fn take_leb(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty component with one custom section called `x`.
    fn component() -> Vec<u8> {
        [COMPONENT, &[CUSTOM, 3, 1, b'x', 9]].concat()
    }

    #[test]
    fn what_is_packed_is_found_again() {
        for length in [0, 100, 200, 20_000] {
            let text = format!("{{\"a\":\"{}\"}}", "b".repeat(length));
            let packed = pack(&component(), text.as_bytes()).unwrap();
            assert_eq!(manifest(&packed), Ok(Some(text.as_bytes())));
            assert!(packed.starts_with(&component()));
        }
        assert_eq!(manifest(&component()), Ok(None));
    }

    #[test]
    fn a_second_manifest_is_refused() {
        let packed = pack(&component(), b"{}").unwrap();
        assert_eq!(pack(&packed, b"{}"), Err(PackError::Packed));
    }

    #[test]
    fn what_is_no_component_is_refused() {
        assert_eq!(pack(MODULE, b"{}"), Err(PackError::CoreModule));
        assert_eq!(pack(b"#!/bin/sh", b"{}"), Err(PackError::NoComponent));
        assert_eq!(pack(b"", b"{}"), Err(PackError::NoComponent));
        assert!(matches!(pack(&component(), b"[]"), Err(PackError::NoManifest(_))));
    }

    #[test]
    fn a_component_that_is_cut_off_is_refused_with_the_place() {
        let whole = component();
        for end in COMPONENT.len() + 1..whole.len() {
            assert_eq!(manifest(&whole[..end]), Err(PackError::Broken(8)), "{end}");
        }
        let endless = [COMPONENT, &[CUSTOM, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]].concat();
        assert_eq!(manifest(&endless), Err(PackError::Broken(8)));
    }
}
