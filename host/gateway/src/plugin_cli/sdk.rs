//! The SDK and the contracts as they stand in this binary, written beside an author's project.
//!
//! The crate is on no registry yet, so a project names it by path. What is written is the workspace's own crate with its
//! inherited keys spelled out and the contracts inside it; it builds wherever it is put. A folder that holds anything
//! else is left as it is.

use std::path::Path;

use toml::{Table, Value};

use super::failure::Failure;

/// The folder's name, beside the projects that use it.
pub(super) const FOLDER: &str = "fanfare-sdk";

/// Path below the crate, and text.
const SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
const CRATE: &str = include_str!("../../../../sdk/rust/Cargo.toml");
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");
/// In the workspace the contracts lie two folders up from the crate.
const CONTRACTS_THERE: &str = "\"../../wit/";
const CONTRACTS_HERE: &str = "\"wit/";

/// What becomes of an SDK that lies there and is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// It is refused.
    Keep,
    /// It is replaced.
    Replace,
}

/// Writes the SDK to `beside/fanfare-sdk`, unless it is there already.
pub(super) fn write(beside: &Path, existing: Existing) -> Result<(), Failure> {
    let folder = beside.join(FOLDER);
    let files = files()?;
    if folder.exists() {
        let other = files.iter().find(|(path, text)| {
            std::fs::read(folder.join(path)).map_or(true, |bytes| bytes != text.as_bytes())
        });
        match (other, existing) {
            (None, _) => return Ok(()),
            (Some((path, _)), Existing::Keep) => return Err(differs(&folder, path)),
            (Some(_), Existing::Replace) => {
                std::fs::remove_dir_all(&folder).map_err(|error| Failure::file(&folder, &error))?;
            }
        }
    }
    for (path, text) in files {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent).map_err(|error| Failure::file(parent, &error))?;
        std::fs::write(&path, text).map_err(|error| Failure::file(&path, &error))?;
    }
    Ok(())
}

fn differs(folder: &Path, path: &str) -> Failure {
    Failure::new(
        "sdk.differs",
        format!("{} is there and is not the SDK of this fanfare: {path} differs", folder.display()),
        "move it away, write the project elsewhere with --dir, or replace it with --refresh-sdk",
    )
}

/// Every file of the crate, with its text.
fn files() -> Result<Vec<(String, String)>, Failure> {
    let mut files = vec![("Cargo.toml".to_owned(), manifest()?)];
    for (path, text) in SOURCES {
        files.push(((*path).to_owned(), text.replace(CONTRACTS_THERE, CONTRACTS_HERE)));
    }
    Ok(files)
}

/// The crate's own manifest, with what it inherits written out: there is no workspace where it goes.
fn manifest() -> Result<String, Failure> {
    let broken = |error: toml::de::Error| {
        Failure::new(
            "sdk.broken",
            format!("the SDK in this binary can't be read: {error}"),
            "build fanfare again",
        )
    };
    let workspace: Table = toml::from_str(WORKSPACE).map_err(broken)?;
    let workspace = workspace.get("workspace").and_then(Value::as_table).cloned().unwrap_or_default();
    let mut own: Table = toml::from_str(CRATE).map_err(broken)?;
    own.remove("lints");
    if let Some(package) = own.get_mut("package").and_then(Value::as_table_mut) {
        spell_out(package, workspace.get("package"));
    }
    for target in tables_of_dependencies(&mut own) {
        spell_out(target, workspace.get("dependencies"));
    }
    own.insert("workspace".to_owned(), Value::Table(Table::new()));
    let text = toml::to_string(&own).unwrap_or_default();
    Ok(format!("# The Fanfare SDK as fanfare {} carries it.\n{text}", env!("CARGO_PKG_VERSION")))
}

/// The crate's dependencies, and those of each of its targets.
fn tables_of_dependencies(manifest: &mut Table) -> Vec<&mut Table> {
    let mut tables = Vec::new();
    for (key, value) in manifest {
        match (key.as_str(), value) {
            ("dependencies", Value::Table(dependencies)) => tables.push(dependencies),
            ("target", Value::Table(targets)) => {
                let of = |(_, target): (_, _)| {
                    Value::as_table_mut(target)?.get_mut("dependencies")?.as_table_mut()
                };
                tables.extend(targets.iter_mut().filter_map(of));
            }
            _ => {}
        }
    }
    tables
}

/// Puts the workspace's value in the place of each `{ workspace = true }`.
fn spell_out(table: &mut Table, inherited: Option<&Value>) {
    for (key, value) in table {
        let inherits =
            value.as_table().is_some_and(|own| own.get("workspace") == Some(&Value::Boolean(true)));
        if let (true, Some(theirs)) = (inherits, inherited.and_then(|all| all.get(key))) {
            *value = theirs.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_crate_inherits_nothing_and_finds_its_contracts_inside() {
        let files = files().unwrap();
        let text = |wanted: &str| &files.iter().find(|(path, _)| path == wanted).unwrap().1;
        let manifest: Table = toml::from_str(text("Cargo.toml")).unwrap();
        assert!(!text("Cargo.toml").contains("workspace = true"), "{}", text("Cargo.toml"));
        assert_eq!(manifest["package"]["name"].as_str(), Some(FOLDER));
        assert!(text("src/wasm/bindings.rs").contains("\"wit/channel\""));
        assert!(text("wit/channel/channel.wit").contains("package fanfare:channel@"));
    }

    #[test]
    fn an_sdk_that_was_changed_is_left_alone_unless_it_is_to_be_replaced() {
        let beside = tempfile::tempdir().unwrap();
        write(beside.path(), Existing::Keep).unwrap();
        write(beside.path(), Existing::Keep).unwrap();
        let changed = beside.path().join(FOLDER).join("src/lib.rs");
        std::fs::write(&changed, "// mine").unwrap();
        let refused = write(beside.path(), Existing::Keep).unwrap_err();
        assert!(refused.to_string().contains("src/lib.rs differs"), "{refused}");
        assert_eq!(std::fs::read_to_string(&changed).unwrap(), "// mine");
        write(beside.path(), Existing::Replace).unwrap();
        assert_ne!(std::fs::read_to_string(&changed).unwrap(), "// mine");
    }
}
