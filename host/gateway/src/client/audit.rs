//! `fanfare audit`: who did what to plugins and channels.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::http::Client;
use super::output::{Screen, Table, list, text};
use super::{ClientError, Finding, Options, help};

/// Which entries.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare audit\n  \
       fanfare audit --subject 'channel ops-hook' --limit 200\n  \
       fanfare audit --json | jq '.items[] | select(.act == \"activate\")'"
))]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Only about this: `channel NAME`, `router NAME` or `plugin NAME`.
    #[arg(long)]
    subject: Option<String>,
    /// List at most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

pub(super) async fn run(arguments: &Arguments, config: Option<&Path>) -> ExitCode {
    arguments.options.run(config, async |client, screen| audit(arguments, &client, screen).await).await
}

async fn audit(arguments: &Arguments, client: &Client, screen: Screen) -> Result<Finding, ClientError> {
    let mut query = vec![("limit", arguments.limit.to_string())];
    query.extend(arguments.subject.clone().map(|subject| ("subject", subject)));
    let answer = client.get(&["api", "v1", "admin", "audit"]).query(&query).send().await?.body;
    screen.show(&answer, || entries(list(&answer, "/items")));
    Ok(Finding::Good)
}

/// One line an act; permissions that changed below it.
pub(super) fn entries(items: &[Value]) -> String {
    let mut table = Table::wide(&["AT", "BY", "ACT", "ON", "DIGEST", "WHAT"]);
    for item in items {
        let [at, by, act, subject, digest] =
            ["/at", "/by", "/act", "/subject", "/digest"].map(|member| text(item, member));
        let changed = |member: &str, sign: &str| {
            let lines = list(item, member).iter().filter_map(Value::as_str);
            lines.map(|line| format!("; {sign}{line}")).collect::<String>()
        };
        let what = text(item, "/detail")
            + &changed("/permissions_added", "+")
            + &changed("/permissions_removed", "-");
        table.row([at, by, act, subject, digest.chars().take(12).collect(), what]);
    }
    table.to_string()
}
