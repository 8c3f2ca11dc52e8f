//! `fanfare status`: one look that says how a gateway is.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::http::Client;
use super::output::{Screen, Table, clean, list, text};
use super::{ClientError, Finding, Options, help};

/// Nothing but the gateway.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare status\n  \
       FANFARE_URL=https://fanfare.example.org FANFARE_KEY=... fanfare status\n  \
       fanfare status --json | jq '.channels[] | select(.dead > 0)'"
))]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(arguments: &Arguments, config: Option<&Path>) -> ExitCode {
    arguments.options.run(config, async |client, screen| status(&client, screen).await).await
}

async fn status(client: &Client, screen: Screen) -> Result<Finding, ClientError> {
    let status = client.get(&["api", "v1", "admin", "status"]).send().await?.body;
    screen.show(&status, || shown(&status, client.url().as_str()));
    Ok(finding(&status))
}

fn finding(status: &Value) -> Finding {
    let ready = status.get("ready").and_then(Value::as_bool) == Some(true);
    // A candidate on trial is no bad news.
    let serves = |channel: &Value| matches!(text(channel, "/state").as_str(), "serving" | "canary");
    let parked = !list(status, "/channels").iter().all(serves);
    let routes = text(status, "/router/state") != "suspended";
    if ready && routes && !parked { Finding::Good } else { Finding::Bad }
}

fn shown(status: &Value, url: &str) -> String {
    let is = |pointer: &str| status.pointer(pointer).and_then(Value::as_bool) == Some(true);
    let ready = if is("/ready") { "ready" } else { "NOT READY" };
    let mut out = format!("{url}  {ready}  (fanfare {})\n", text(status, "/version"));
    for reason in list(status, "/reasons").iter().filter_map(Value::as_str) {
        out.push_str(&format!("  {}\n", clean(reason)));
    }
    let store = if is("/store/accepting") { "takes new work" } else { "refuses new work" };
    out.push_str(&format!("store   {store}; {} accepted so far\n", text(status, "/store/accepted")));
    let access = if is("/access/open") { "no key is configured: loopback only" } else { "by API keys" };
    out.push_str(&format!("access  {access}\n"));
    let router = text(status, "/router/plugin");
    let router =
        if router.is_empty() { "none: notifications without `to` reach nobody".to_owned() } else { router };
    out.push_str(&format!("router  {router}\n"));
    if text(status, "/router/state") == "suspended" {
        let [why, code] = ["/router/why", "/router/code"].map(|member| text(status, member));
        out.push_str(&format!("        SUSPENDED: {why} ({code})\n"));
    }
    out.push('\n');
    let mut table = Table::new(&[
        "CHANNEL",
        "STATE",
        "PLUGIN",
        "QUEUED",
        "SENDING",
        "RETRYING",
        "SCHEDULED",
        "DEAD",
        "DELIVERED",
    ]);
    for channel in list(status, "/channels") {
        let [name, state, plugin] = ["/channel", "/state", "/plugin"].map(|member| text(channel, member));
        let capped = channel.get("waiting_capped").and_then(Value::as_bool) == Some(true);
        let waiting = |member: &str| text(channel, member) + if capped { "+" } else { "" };
        let [queued, retrying, scheduled] = ["/queued", "/retrying", "/scheduled"].map(waiting);
        let [sending, dead, delivered] =
            ["/sending", "/dead", "/delivered"].map(|member| text(channel, member));
        table.row([name, state, plugin, queued, sending, retrying, scheduled, dead, delivered]);
    }
    out.push_str(&table.to_string());
    for channel in list(status, "/channels") {
        let why = text(channel, "/why");
        if !why.is_empty() {
            out.push_str(&format!("\n{}: {why}\n", text(channel, "/channel")));
        }
    }
    if is("/dead_capped") {
        out.push_str("\nthere are more dead letters than were counted: the latest 10,000 were\n");
    }
    if list(status, "/channels").iter().any(|one| one.get("dead").and_then(Value::as_u64) > Some(0)) {
        out.push_str("\nlook at what is dead: fanfare dlq list\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_router_that_can_not_route_is_bad_news_and_says_why() {
        let mut status = json!({
            "ready": true, "channels": [],
            "router": { "plugin": "rules 0.1.0", "state": "serving", "code": null, "why": null },
        });
        assert_eq!(finding(&status), Finding::Good);
        assert!(!shown(&status, "http://here").contains("SUSPENDED"));
        status["router"] = json!({
            "plugin": "rules 0.1.0", "state": "suspended", "code": "plugin.check", "why": "it traps",
        });
        assert_eq!(finding(&status), Finding::Bad);
        assert!(shown(&status, "http://here").contains("SUSPENDED: it traps (plugin.check)"));
    }
}
