//! `fanfare plugin install|list|show|remove`: the components of a running gateway.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::audit::entries;
use super::http::Client;
use super::output::{Screen, Table, list, text};
use super::{ClientError, Finding, Options, help};
use crate::plugins::COMPONENT_BYTES_MAX;

/// A large component takes its time to compile.
const INSTALL_TAKES: Duration = Duration::from_secs(150);

/// What is done with a gateway's components.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Install a component in a running gateway; nothing uses it before `fanfare channel activate` or `fanfare router activate`.
    #[command(after_help = help!(
        "  fanfare plugin install mine.wasm\n  \
           fanfare channel activate ops-hook --plugin mine --canary 10%"
    ))]
    Install(Install),
    /// List what is installed and built in.
    #[command(after_help = help!("  fanfare plugin list\n  fanfare plugin list --json | jq -r '.items[].digest'"))]
    List(List),
    /// Show one: what it asks for, who uses it, who installed it.
    #[command(after_help = help!("  fanfare plugin show mine\n  fanfare plugin show 3f9a0c12"))]
    Show(Named),
    /// Remove one that no channel or router needs, now or to roll back to.
    #[command(after_help = help!("  fanfare plugin remove 3f9a0c12"))]
    Remove(Named),
}

/// What is installed.
#[derive(Args, Debug)]
pub(crate) struct Install {
    #[command(flatten)]
    options: Options,
    /// The component, as `fanfare plugin build` makes it.
    file: PathBuf,
}

/// Nothing but the gateway.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    options: Options,
}

/// Which one.
#[derive(Args, Debug)]
pub(crate) struct Named {
    #[command(flatten)]
    options: Options,
    /// Its digest, eight or more digits of it, or its name, of which the latest counts.
    plugin: String,
}

/// Carries out `command`.
pub(crate) async fn run(command: PluginCommand, config: Option<&Path>) -> ExitCode {
    match command {
        PluginCommand::Install(Install { options, file }) => {
            options.run(config, async |client, screen| install(&client, screen, &file).await).await
        }
        PluginCommand::List(List { options }) => {
            options.run(config, async |client, screen| list_them(&client, screen).await).await
        }
        PluginCommand::Show(Named { options, plugin }) => {
            options.run(config, async |client, screen| show(&client, screen, &plugin).await).await
        }
        PluginCommand::Remove(Named { options, plugin }) => {
            options.run(config, async |client, screen| remove(&client, screen, &plugin).await).await
        }
    }
}

const PATH: [&str; 4] = ["api", "v1", "admin", "plugins"];

async fn install(client: &Client, screen: Screen, file: &Path) -> Result<Finding, ClientError> {
    let bytes = read(file).map_err(ClientError::Usage)?;
    let call = client.post(&PATH).body("application/wasm", bytes).takes_longer(INSTALL_TAKES);
    let answer = call.send().await?;
    let (plugin, new) = (answer.body, answer.status == reqwest::StatusCode::CREATED);
    screen.show(&plugin, || {
        let mut out = format!(
            "{} {} {}\n{}\n",
            text(&plugin, "/name"),
            text(&plugin, "/version"),
            if new { "installed" } else { "was installed already" },
            text(&plugin, "/digest")
        );
        let permissions: Vec<&str> = list(&plugin, "/permissions").iter().filter_map(Value::as_str).collect();
        out.push_str(&format!(
            "asks for {}\n",
            if permissions.is_empty() { "nothing".to_owned() } else { permissions.join(", ") }
        ));
        let short: String = text(&plugin, "/digest").chars().take(12).collect();
        let (kind, name) = match text(&plugin, "/kind").as_str() {
            "router" => ("router", "default"),
            _ => ("channel", "CHANNEL"),
        };
        out.push_str(&format!("let a {kind} use it: fanfare {kind} activate {name} --plugin {short}\n"));
        out
    });
    Ok(Finding::Good)
}

/// Reads no more than a gateway takes.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file);
    let read = opened.and_then(|opened| opened.take(COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("{} can't be read: {error}", file.display()))?;
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(format!(
            "{} is larger than 64 MiB, which is the most; strip its debug information",
            file.display()
        ));
    }
    Ok(bytes)
}

async fn list_them(client: &Client, screen: Screen) -> Result<Finding, ClientError> {
    let answer = client.get(&PATH).send().await?.body;
    screen.show(&answer, || {
        let mut table = Table::new(&["NAME", "VERSION", "KIND", "DIGEST", "BYTES", "USED BY"]);
        for item in list(&answer, "/items").iter().chain(list(&answer, "/built_in")) {
            let [name, version, kind, digest, bytes] =
                ["/name", "/version", "/kind", "/digest", "/bytes"].map(|member| text(item, member));
            let version = if version.is_empty() { "(built in)".to_owned() } else { version };
            table.row([name, version, kind, digest.chars().take(12).collect(), bytes, used_by(item)]);
        }
        table.to_string()
    });
    Ok(Finding::Good)
}

fn used_by(item: &Value) -> String {
    let users: Vec<&str> = list(item, "/used_by").iter().filter_map(Value::as_str).collect();
    users.join("; ")
}

async fn show(client: &Client, screen: Screen, plugin: &str) -> Result<Finding, ClientError> {
    let call = client.get(&[&PATH[..], &[plugin]].concat());
    let answer = call.send().await?.body;
    screen.show(&answer, || {
        let mut out = String::new();
        for (name, member) in [
            ("name", "/name"),
            ("version", "/version"),
            ("kind", "/kind"),
            ("digest", "/digest"),
            ("bytes", "/bytes"),
            ("description", "/description"),
            ("installed", "/installed_at"),
            ("by", "/installed_by"),
        ] {
            out.push_str(&format!("{name:<12}  {}\n", text(&answer, member)));
        }
        let lines = |member: &str| list(&answer, member).iter().filter_map(Value::as_str);
        for line in lines("/permissions") {
            out.push_str(&format!("{:<12}  {line}\n", "asks for"));
        }
        for line in lines("/used_by") {
            out.push_str(&format!("{:<12}  {line}\n", "used by"));
        }
        out.push('\n');
        out.push_str(&entries(list(&answer, "/audit")));
        out
    });
    Ok(Finding::Good)
}

async fn remove(client: &Client, screen: Screen, plugin: &str) -> Result<Finding, ClientError> {
    let answer = client.delete(&[&PATH[..], &[plugin]].concat()).send().await?.body;
    screen.show(&answer, || format!("{} removed\n", text(&answer, "/digest")));
    Ok(Finding::Good)
}
