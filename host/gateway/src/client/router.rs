//! `fanfare router`: what decides where notifications go, and how to change it.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::audit::entries;
use super::channel::{ACTIVATION_TAKES, generations, object};
use super::http::Client;
use super::output::{Screen, Table, list, text};
use super::{ClientError, Finding, Options, help};

/// What is done with the router.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare router list\n  \
       fanfare router show default\n  \
       fanfare router activate default --plugin mine\n  \
       fanfare router rollback default"
))]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell which router is configured, what serves it, and how it is.
    #[command(after_help = help!("  fanfare router list"))]
    List,
    /// Show it: settings, generations, what was done to it.
    #[command(after_help = help!("  fanfare router show default\n  fanfare router show default --json | jq .settings"))]
    Show {
        /// The router: default.
        name: String,
    },
    /// Let another plugin, or other settings, decide. Settings that are left out are inherited.
    #[command(after_help = help!(
        "  fanfare router activate default --plugin mine\n  \
           fanfare router activate default --plugin rules --settings '{\"rules\": []}'"
    ))]
    Activate {
        /// The router: default.
        name: String,
        /// The plugin: its digest, eight or more digits of it, or its name, of which the latest counts.
        #[arg(long, value_name = "DIGEST-OR-NAME")]
        plugin: String,
        /// Other settings, as a JSON object.
        #[arg(long, value_name = "JSON", value_parser = object)]
        settings: Option<Value>,
    },
    /// Let the generation before decide again.
    #[command(after_help = help!("  fanfare router rollback default"))]
    Rollback {
        /// The router: default.
        name: String,
    },
}

const PATH: [&str; 4] = ["api", "v1", "admin", "routers"];

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> ExitCode {
    let Arguments { options, command } = arguments;
    options
        .run(config, async |client, screen| match command {
            Command::List => list_them(&client, screen).await,
            Command::Show { name } => {
                let router = client.get(&[&PATH[..], &[&name]].concat()).send().await?.body;
                screen.show(&router, || shown(&router));
                Ok(Finding::Good)
            }
            Command::Activate { name, plugin, settings } => {
                let mut body = json!({ "plugin": plugin });
                if let (Some(members), Some(settings)) = (body.as_object_mut(), settings) {
                    members.insert("settings".to_owned(), settings);
                }
                act(&client, screen, &[&name, "activate"], Some(body)).await
            }
            Command::Rollback { name } => act(&client, screen, &[&name, "rollback"], None).await,
        })
        .await
}

async fn list_them(client: &Client, screen: Screen) -> Result<Finding, ClientError> {
    let answer = client.get(&PATH).send().await?.body;
    screen.show(&answer, || {
        let mut table = Table::new(&["ROUTER", "STATE", "PLUGIN", "DIGEST", "GENERATION", "WHY"]);
        for item in list(&answer, "/items") {
            let [name, state, plugin, digest, generation, why] =
                ["/router", "/state", "/plugin", "/digest", "/generation", "/why"]
                    .map(|member| text(item, member));
            table.row([name, state, plugin, digest.chars().take(12).collect(), generation, why]);
        }
        table.to_string()
    });
    Ok(Finding::Good)
}

async fn act(
    client: &Client,
    screen: Screen,
    path: &[&str],
    body: Option<Value>,
) -> Result<Finding, ClientError> {
    let mut call = client.post(&[&PATH[..], path].concat()).takes_longer(ACTIVATION_TAKES);
    if let Some(body) = &body {
        call = call.json(body);
    }
    let router = call.send().await?.body;
    screen.show(&router, || brief(&router));
    Ok(Finding::Good)
}

/// A line or two that say what serves.
fn brief(router: &Value) -> String {
    let [name, state, generation, plugin, digest, why] =
        ["/router", "/state", "/generation", "/plugin", "/digest", "/why"].map(|member| text(router, member));
    let mut out = format!("{name}  {state}  generation {generation}: {plugin}  {digest}\n");
    if !why.is_empty() {
        out.push_str(&format!("{why}\n"));
    }
    out
}

fn shown(router: &Value) -> String {
    let mut out = brief(router);
    out.push_str(&format!("\nsettings  {}\n\n", text(router, "/settings")));
    out.push_str(&generations(router));
    out.push('\n');
    out.push_str(&entries(list(router, "/audit")));
    out
}
