//! `fanfare plugin dev`: at each save, build, test, and swap into a running gateway.
//!
//! What fails its tests is never swapped in; the old generation goes on. The channel or router has to be configured there:
//! settings, secrets and grants are those that it has. The project's folder is looked at again and again, which works on every file
//! system, and a round begins once two looks agree, so that a half-written save starts none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use fanfare_runtime::Kind;
use serde_json::{Value, json};

use super::build::{self, Plugin};
use super::conform;
use super::failure::Failure;
use super::rig::Given;
use crate::client::{Client, ClientError, Finding, Options, Screen, help};

/// Between two looks at the folder.
const LOOK: Duration = Duration::from_millis(300);
/// A project with more files than this is no plugin's; a link may lead anywhere.
const FILES_MAX: usize = 10_000;
/// Compiling the component at the gateway is part of the activation.
const ACTIVATION: Duration = Duration::from_secs(60);

/// The router that routes.
const ROUTER: &str = "default";

/// What is watched, and where it goes.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare plugin dev                         the project in this folder, into the channel of its name\n  \
       fanfare plugin dev ./pager --channel ops   into another channel\n  \
       fanfare plugin dev ./pager --once          one round, for scripts\n\n\
     The channel has to be configured at the gateway; its settings, secrets and grants stay as they are there. A router\n\
     becomes the one that routes, [routers.default]. With --once a round that fails is bad news."
))]
pub(crate) struct Arguments {
    /// The folder of the project.
    #[arg(default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// The channel [default: that of the plugin's name]; a router goes to the one that routes.
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// The attempt that the conformance suite begins from, as of `plugin test`.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Approve what a new build asks for beyond the one before.
    #[arg(long)]
    approve: bool,
    /// One round, and its end as the exit code.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    options: Options,
}

/// Why a round ended before the swap.
enum Stopped {
    Here(Failure),
    There(ClientError),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Here(failure)
    }
}

impl From<ClientError> for Stopped {
    fn from(error: ClientError) -> Self {
        Self::There(error)
    }
}

impl Stopped {
    fn to_json(&self) -> Value {
        match self {
            Self::Here(failure) => failure.to_json(),
            Self::There(error) => error.to_json(),
        }
    }
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here(failure) => failure.fmt(f),
            Self::There(error) => error.fmt(f),
        }
    }
}

pub(super) async fn run(arguments: &Arguments, config: Option<&Path>) -> ExitCode {
    arguments.options.run(config, async |client, screen| watch(arguments, &client, screen).await).await
}

async fn watch(arguments: &Arguments, client: &Client, screen: Screen) -> Result<Finding, ClientError> {
    let mut seen = look(&arguments.folder);
    loop {
        let round = round(arguments, client).await;
        match (&round, arguments.once) {
            (Ok((told, text)), _) => screen.show(told, || text.clone()),
            (Err(stopped), true) => {
                screen.show(&stopped.to_json(), || format!("{stopped}\n"));
                return match round {
                    Err(Stopped::There(error)) => Err(error),
                    _ => Ok(Finding::Bad),
                };
            }
            (Err(stopped), false) => {
                let text = || format!("{stopped}\nnothing was swapped; the next save begins again\n");
                screen.show(&stopped.to_json(), text);
            }
        }
        if arguments.once {
            return Ok(Finding::Good);
        }
        seen = changed(&arguments.folder, seen).await;
    }
}

/// Builds, tests and swaps every plugin of the project.
async fn round(arguments: &Arguments, client: &Client) -> Result<(Value, String), Stopped> {
    let project = build::open(&arguments.folder)?;
    project.test().map_err(Failure::from)?;
    let (mut told, mut text) = (Vec::new(), String::new());
    for plugin in build::build(&project)? {
        let given = Given {
            component: plugin.path.clone(),
            input: arguments.input.clone(),
            settings: None,
            secrets: Vec::new(),
            grants: Vec::new(),
        };
        let tested = conform::put_through(&given, "", conform::Detail::Failures).await?;
        if !tested.good {
            return Err(Failure::new("test.failed", tested.text, "mend what the suite says").into());
        }
        let (one, line) = swap(arguments, client, &plugin).await?;
        told.push(one);
        text.push_str(&line);
    }
    Ok((Value::Array(told), text))
}

async fn swap(arguments: &Arguments, client: &Client, plugin: &Plugin) -> Result<(Value, String), Stopped> {
    let name = &plugin.name;
    let bytes = std::fs::read(&plugin.path).map_err(|error| Failure::file(&plugin.path, &error))?;
    client
        .post(&["api", "v1", "admin", "plugins"])
        .body("application/wasm", bytes)
        .takes_longer(ACTIVATION)
        .send()
        .await?;
    let digest = plugin.digest.to_string();
    // A router is granted nothing, so there is nothing to approve.
    let (folder, kind, of, body) = match plugin.kind {
        Kind::Channel => {
            let of = arguments.channel.as_deref().unwrap_or(name);
            ("channels", "channel", of, json!({ "plugin": digest, "approve": arguments.approve }))
        }
        Kind::Router => ("routers", "router", ROUTER, json!({ "plugin": digest })),
    };
    let call = client.post(&["api", "v1", "admin", folder, of, "activate"]).json(&body);
    let answer = call.takes_longer(ACTIVATION).send().await?;
    let generation = answer.body.get("generation").cloned().unwrap_or_default();
    let text = format!("{kind} {of} serves {name}, generation {generation}, sha256 {digest}\n");
    let mut told = json!({ "plugin": name, "digest": digest, "generation": generation, "swapped": true });
    if let Some(members) = told.as_object_mut() {
        members.insert(kind.to_owned(), of.into());
    }
    Ok((told, text))
}

/// What tells one state of a folder from another.
type Look = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// Waits until the folder is another one, and has stopped changing.
async fn changed(folder: &Path, seen: Look) -> Look {
    let mut last = seen.clone();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = look(folder);
        if now != seen && now == last {
            return now;
        }
        last = now;
    }
}

/// The sources: neither what is built nor what is hidden.
fn look(folder: &Path) -> Look {
    let mut found = Look::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if found.len() >= FILES_MAX || name.starts_with('.') || name == "target" || is_built(&name) {
                continue;
            }
            match std::fs::symlink_metadata(&path) {
                Ok(about) if about.is_dir() => folders.push(path),
                Ok(about) => {
                    found.insert(path, (about.len(), about.modified().ok()));
                }
                Err(_) => {}
            }
        }
    }
    found
}

/// The component and its half-written neighbour, and the lock file that a build may write.
fn is_built(name: &str) -> bool {
    name.ends_with(".wasm") || name.ends_with(".part") || name == "Cargo.lock"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_is_seen_and_a_build_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        std::fs::create_dir_all(here.join("src")).unwrap();
        std::fs::create_dir_all(here.join("target")).unwrap();
        std::fs::write(here.join("src/lib.rs"), "one").unwrap();
        let before = look(here);
        for built in ["pager.wasm", "pager.wasm.1.part", "target/x", ".hidden", "Cargo.lock"] {
            std::fs::write(here.join(built), "x").unwrap();
        }
        assert_eq!(look(here), before);
        std::fs::write(here.join("src/lib.rs"), "three").unwrap();
        assert_ne!(look(here), before);
        let saved = look(here);
        std::fs::remove_file(here.join("src/lib.rs")).unwrap();
        assert_ne!(look(here), saved);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_begins_once_the_folder_has_stopped_changing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.rs"), "one").unwrap();
        let seen = look(folder.path());
        std::fs::write(folder.path().join("a.rs"), "three").unwrap();
        let next = changed(folder.path(), seen.clone()).await;
        assert_ne!(next, seen);
        assert_eq!(next, look(folder.path()));
    }
}
