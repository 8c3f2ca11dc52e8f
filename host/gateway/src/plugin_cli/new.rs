//! `fanfare plugin new`: a project that builds and passes its own tests as it is.
//!
//! Beside the project goes the SDK of this binary. The code is that of the examples, which CI builds and tests, and so is the
//! lock file: a machine that built fanfare has every crate already. Nothing that exists is overwritten.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::failure::Failure;
use super::sdk::{self, Existing};
use super::{Output, Shown, help};

/// Crate names may be as long as a plugin's.
const NAME_BYTES_MAX: usize = 64;
const LOCK: &str = include_str!("../../../../examples/Cargo.lock");
/// The package of the lock file in whose place the project stands; the other example is left out.
const LOCKED_AS: &str = "chat-channel";
const LOCKED_BESIDE: &str = "duty-router";
const TOOLCHAIN: &str = include_str!("../../../../rust-toolchain.toml");

/// What is made.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare plugin new pager --lang rust --kind channel\n  \
       cd pager && cargo test && fanfare plugin build\n  \
       fanfare plugin new on-call --lang rust --kind router"
))]
pub(crate) struct Arguments {
    /// The plugin's name, and its folder's: a-z, 0-9 and -, beginning with a letter.
    name: String,
    /// The language; this version writes rust.
    #[arg(long, default_value = "rust", value_name = "LANGUAGE")]
    lang: String,
    /// What it is.
    #[arg(long, value_enum, default_value = "channel")]
    kind: Kind,
    /// Make the project in this folder.
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    dir: PathBuf,
    /// Replace an SDK that lies in the folder and is another one.
    #[arg(long)]
    refresh_sdk: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

/// What a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// It carries notifications to their receivers.
    Channel,
    /// It decides where notifications go.
    Router,
}

/// A project's files: path, and text with `{{name}}` for its name.
type Template = &'static [(&'static str, &'static str)];

const CHANNEL: Template = &[
    ("Cargo.toml", include_str!("templates/channel/Cargo.toml.txt")),
    ("README.md", include_str!("templates/channel/README.md.txt")),
    ("attempt.json", include_str!("templates/channel/attempt.json")),
    ("src/lib.rs", include_str!("../../../../examples/chat-channel/src/lib.rs")),
    ("src/tests.rs", include_str!("../../../../examples/chat-channel/src/tests.rs")),
];
const ROUTER: Template = &[
    ("Cargo.toml", include_str!("templates/router/Cargo.toml.txt")),
    ("README.md", include_str!("templates/router/README.md.txt")),
    ("attempt.json", include_str!("templates/router/attempt.json")),
    ("src/lib.rs", include_str!("../../../../examples/duty-router/src/lib.rs")),
    ("src/tests.rs", include_str!("../../../../examples/duty-router/src/tests.rs")),
];

pub(super) fn run(arguments: &Arguments) -> Result<Shown, Failure> {
    check_language(&arguments.lang)?;
    check_name(&arguments.name)?;
    let folder = arguments.dir.join(&arguments.name);
    if folder.exists() {
        return Err(Failure::usage(
            "project.exists",
            format!("{} exists already, and nothing is overwritten", folder.display()),
            "choose another name, or another place with --dir",
        ));
    }
    let existing = if arguments.refresh_sdk { Existing::Replace } else { Existing::Keep };
    sdk::write(&arguments.dir, existing)?;
    let template = match arguments.kind {
        Kind::Channel => CHANNEL,
        Kind::Router => ROUTER,
    };
    for (path, text) in template {
        write(&folder, path, &text.replace("{{name}}", &arguments.name))?;
    }
    write(&folder, "Cargo.lock", &lock(&arguments.name))?;
    write(&folder, "rust-toolchain.toml", TOOLCHAIN)?;
    write(&folder, ".gitignore", "/target\n*.wasm\n")?;
    Ok(shown(&arguments.name, &folder, &arguments.dir.join(sdk::FOLDER)))
}

fn shown(name: &str, folder: &Path, sdk: &Path) -> Shown {
    let (place, sdk) = (folder.display(), sdk.display());
    let text = format!(
        "{place} is a plugin that builds and passes its tests; {sdk} is the SDK that it is built with\n\n  \
         cd {place}\n  cargo test                           its own tests, on a scripted host\n  \
         fanfare plugin build                 leaves {name}.wasm\n  \
         fanfare plugin run {name}.wasm --input attempt.json\n  \
         fanfare plugin test {name}.wasm        the conformance suite\n\n{place}\n"
    );
    let json: Value = json!({ "name": name, "path": place.to_string(), "sdk": sdk.to_string() });
    Shown::new(json, text)
}

fn check_language(lang: &str) -> Result<(), Failure> {
    if lang == "rust" {
        return Ok(());
    }
    Err(Failure::usage(
        "project.language",
        format!("this fanfare writes projects in rust, not in {lang:?}"),
        "use --lang rust; a component made by other means gets its manifest with `fanfare plugin pack`",
    ))
}

/// A crate's name that is a plugin's name and a folder's, too.
fn check_name(name: &str) -> Result<(), Failure> {
    let letters = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let refuse = |why: &str| {
        let message = format!("{name:?} can't be a plugin's name: {why}");
        Err(Failure::usage(
            "project.name",
            message,
            "use 1 to 64 of a-z, 0-9 and -, beginning with a letter, such as pager",
        ))
    };
    if !(1..=NAME_BYTES_MAX).contains(&name.len())
        || !letters
        || !name.starts_with(|c: char| c.is_ascii_lowercase())
    {
        return refuse("it has other characters, or is too long or empty");
    }
    if name.ends_with('-') || name.contains("--") {
        return refuse("its hyphens stand between words");
    }
    // Cargo refuses these as package names, or the project would depend on itself.
    const TAKEN: &[&str] =
        &["fanfare-sdk", "schemars", "serde", "test", "core", "std", "alloc", "proc-macro"];
    const KEYWORDS: &[&str] = &[
        "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do",
        "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
        "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self",
        "static", "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
        "virtual", "where", "while", "yield",
    ];
    if TAKEN.contains(&name) || KEYWORDS.contains(&name) {
        return refuse("the word is taken in Rust");
    }
    if LOCK.contains(&format!("\nname = \"{name}\"\n")) && name != LOCKED_AS && name != LOCKED_BESIDE {
        return refuse("a crate that the SDK uses has it");
    }
    Ok(())
}

/// The examples' lock file with the project in the place of one and without the other, in cargo's order.
fn lock(name: &str) -> String {
    let mut parts = LOCK.split("\n[[package]]\n");
    let head = parts.next().unwrap_or_default();
    let is = |block: &str, name: &str| block.starts_with(&format!("name = \"{name}\"\n"));
    let mut packages: Vec<String> = parts
        .filter(|block| !is(block, LOCKED_BESIDE))
        .map(|block| if is(block, LOCKED_AS) { block.replacen(LOCKED_AS, name, 1) } else { block.to_owned() })
        .map(|block| block.trim_end().to_owned())
        .collect();
    // By name, and by version where a name stands twice; the quote ends a name, so no name sorts behind its longer ones.
    packages
        .sort_by_key(|block| block.lines().take(2).map(|line| line.replace('"', " ")).collect::<Vec<_>>());
    format!("{}\n\n[[package]]\n{}\n", head.trim_end(), packages.join("\n\n[[package]]\n"))
}

fn write(folder: &Path, path: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(path);
    let parent = path.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).map_err(|error| Failure::file(parent, &error))?;
    std::fs::write(&path, text).map_err(|error| Failure::file(&path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_or_the_gateway_would_refuse_are_refused_first() {
        for name in [
            "",
            "A",
            "1st",
            "a_b",
            "a b",
            "../up",
            "-a",
            "a-",
            "a--b",
            "serde",
            "syn",
            "fn",
            "test",
            &"a".repeat(65),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["a", "pager", "on-call-2", LOCKED_AS] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn other_languages_are_refused_with_what_to_do() {
        let refused = check_language("cobol").unwrap_err().to_string();
        assert!(
            refused.contains("cobol") && refused.contains("--lang rust") && refused.contains("pack"),
            "{refused}"
        );
    }

    #[test]
    fn the_lock_file_names_the_project_and_no_example() {
        let lock = lock("zebra");
        assert!(
            lock.contains("name = \"zebra\"") && !lock.contains(LOCKED_AS) && !lock.contains(LOCKED_BESIDE)
        );
    }
}
