//! The nested workspaces are no members of the outer one, so their tests are run from here.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests, too")]

use std::path::{Path, PathBuf};

use fanfare_pack::{Built, Workspace, manifest};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn open(name: &str) -> Workspace {
    let workspace = Workspace::open(root().join(name)).unwrap_or_else(|error| panic!("{error}"));
    // Plugins and examples are built of the same crates with the same profile.
    workspace.with_target(root().canonicalize().unwrap().join("plugins/target"))
}

fn pass(name: &str) {
    open(name).test().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_first_party_plugins_pass_their_own_tests() {
    pass("plugins");
}

#[test]
fn the_examples_pass_their_own_tests() {
    pass("examples");
}

#[test]
fn the_examples_become_components_with_their_manifests() {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let built = open("examples").build(&out).unwrap_or_else(|error| panic!("{error}"));
    let kinds = built.iter().map(|Built { name, path }| {
        let bytes = std::fs::read(path).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(manifest(&bytes).unwrap().unwrap()).unwrap();
        assert_eq!(manifest["name"], name.as_str());
        manifest["kind"].as_str().unwrap().to_owned()
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["channel", "router"]);
}

#[test]
fn a_useful_plugin_takes_25_lines_at_most() {
    for name in ["chat-channel", "duty-router"] {
        let text = std::fs::read_to_string(root().join("examples").join(name).join("src/lib.rs")).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= 25, "{name} has {lines}");
    }
}
