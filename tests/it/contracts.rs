//! Old plugins keep working: what was released stays as it was, and components built against it run for good.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fanfare_model::digest::Digest;

use crate::command::fanfare;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every file below `folder`, by its path there.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

/// The fixtures, with the version of their contract.
fn fixtures() -> Vec<(String, PathBuf)> {
    let folder = root().join("tests/fixtures/contracts");
    let names = files(&folder).into_keys();
    names.map(|name| (name.split('/').next().unwrap().to_owned(), folder.join(&name))).collect()
}

#[test]
fn released_contracts_are_frozen() {
    let released = root().join("wit/released");
    let listed = std::fs::read_to_string(released.join("SHA256SUMS")).unwrap();
    let listed: BTreeMap<&str, &str> =
        listed.lines().map(|line| line.split_once("  ").map(|(sum, name)| (name, sum)).unwrap()).collect();
    let mut found = files(&released);
    found.retain(|name, _| name.ends_with(".wit"));
    for (name, bytes) in &found {
        let sum = Digest::of(bytes).to_string();
        assert_eq!(
            listed.get(name.as_str()),
            Some(&sum.as_str()),
            "wit/released/{name} was released, and has changed"
        );
    }
    assert_eq!(found.len(), listed.len(), "SHA256SUMS names files that are gone");
}

#[test]
fn the_contract_in_use_is_the_released_one_of_its_version() {
    let wit = root().join("wit");
    let mut in_use = files(&wit);
    in_use.retain(|name, _| !name.starts_with("released/"));
    let versions = in_use.iter().map(|(name, bytes)| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let package = text.lines().find(|line| line.starts_with("package ")).map(str::to_owned);
        let package = package.unwrap_or_else(|| panic!("wit/{name} names no package"));
        package.split('@').nth(1).unwrap().trim_end_matches(';').to_owned()
    });
    let versions: std::collections::BTreeSet<String> = versions.collect();
    assert_eq!(versions.len(), 1, "the packages bear different versions: {versions:?}");
    let version = versions.first().unwrap();
    let frozen = wit.join("released").join(version);
    assert!(frozen.is_dir(), "contract {version} is in use and not released: see wit/released/README.md");
    let frozen = files(&frozen);
    for (name, bytes) in &in_use {
        let same = frozen.get(name) == Some(bytes);
        assert!(
            same,
            "wit/{name} differs from the released contract {version}: take the change back, or release a new version"
        );
    }
    assert_eq!(in_use.len(), frozen.len());
}

#[test]
fn components_built_against_each_released_contract_still_run() {
    let fixtures = fixtures();
    let released = std::fs::read_dir(root().join("wit/released")).unwrap().map(|entry| entry.unwrap());
    for version in released.filter(|entry| entry.path().is_dir()) {
        let version = version.file_name().into_string().unwrap();
        let of_version: Vec<&PathBuf> =
            fixtures.iter().filter(|(of, _)| *of == version).map(|(_, path)| path).collect();
        for kind in ["channel", "router"] {
            let name = format!("{kind}.wasm");
            assert!(of_version.iter().any(|path| path.ends_with(&name)), "contract {version} has no {name}");
        }
    }
    for (version, path) in &fixtures {
        let here = path.parent().unwrap();
        let checked = fanfare(here, ["plugin", "check", path.to_str().unwrap()]).good();
        assert!(checked.contains(&format!("of contract {version}; this host serves")), "{checked}");
        let tested = fanfare(here, ["plugin", "test", path.to_str().unwrap(), "--json"]).json();
        assert_eq!(tested["failed"], 0, "{}: {tested:#}", path.display());
    }
}

/// A fixture that says it was built against `version`: the contract's name is in the component's own exports.
pub(crate) fn claiming(bytes: &[u8], version: &str) -> Vec<u8> {
    let mut claimed = bytes.to_vec();
    for export in [&b"fanfare:channel/sender@"[..], b"fanfare:router/rules@"] {
        let mut at = 0;
        while let Some(found) = claimed[at..].windows(export.len()).position(|window| window == export) {
            at += found + export.len();
            claimed[at..at + version.len()].copy_from_slice(version.as_bytes());
        }
    }
    claimed
}

#[test]
fn a_component_that_is_too_new_or_too_old_is_refused_with_both_versions_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    for (_, fixture) in fixtures() {
        let bytes = std::fs::read(&fixture).unwrap();
        for (version, says, remedy) in [
            ("2.0.0", "too new", "start a newer Fanfare"),
            ("1.1.0", "too new", "start a newer Fanfare"),
            ("0.9.0", "too old", "build it again with the SDK of this Fanfare"),
        ] {
            let path = folder.path().join("claiming.wasm");
            std::fs::write(&path, claiming(&bytes, version)).unwrap();
            for command in ["check", "run", "test"] {
                let refused = fanfare(folder.path(), ["plugin", command, "claiming.wasm"]);
                assert_eq!(refused.code, Some(1), "{refused:#?}");
                for part in [version, "serves 1.0", says, remedy, "plugin.version"] {
                    assert!(refused.err.contains(part), "{part}: {}", refused.err);
                }
            }
            let section = if fixture.ends_with("router.wasm") { "routers.default" } else { "channels.a" };
            std::fs::write(&config, format!("[{section}]\nplugin = \"./claiming.wasm\"\n")).unwrap();
            let refused = fanfare(folder.path(), ["config", "check", "--config", "fanfare.toml"]);
            assert_eq!(refused.code, Some(2), "{refused:#?}");
            assert!(refused.err.contains(version) && refused.err.contains(remedy), "{}", refused.err);
        }
    }
}
