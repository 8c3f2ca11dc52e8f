//! `fanfare channel`: what serves each channel, and how to change it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::audit::entries;
use super::http::Client;
use super::output::{Screen, Table, clean, list, text};
use super::{ClientError, Finding, Options, help};
use crate::plugins::parse_share;

/// A plugin may have to be compiled, and checks itself.
pub(super) const ACTIVATION_TAKES: Duration = Duration::from_secs(150);

/// What is done with channels.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare channel list\n  \
       fanfare channel show ops-hook\n  \
       fanfare channel activate ops-hook --plugin mine --canary 10%\n  \
       fanfare channel rollback ops-hook"
))]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List channels: what serves them, and how they are.
    #[command(after_help = help!("  fanfare channel list"))]
    List,
    /// Show one: permissions, settings, generations, what its plugin used, what was done to it.
    #[command(after_help = help!("  fanfare channel show ops-hook\n  fanfare channel show ops-hook --json | jq .usage"))]
    Show {
        /// The channel.
        name: String,
    },
    /// Let another plugin, or other settings, serve a channel. What is left out is inherited.
    #[command(after_help = help!(
        "  fanfare channel activate ops-hook --plugin mine\n  \
           fanfare channel activate ops-hook --plugin 3f9a0c12 --canary 10% --approve\n  \
           fanfare channel activate ops-hook --plugin mine --settings '{\"url\": \"https://a.example/x\"}'\n  \
           fanfare channel activate ops-hook --plugin mine --dry-run"
    ))]
    Activate(Box<Activate>),
    /// End a trial, or let the generation before serve again.
    #[command(after_help = help!("  fanfare channel rollback ops-hook"))]
    Rollback {
        /// The channel.
        name: String,
    },
    /// Begin no more attempts: deliveries are parked.
    #[command(after_help = help!("  fanfare channel pause ops-hook"))]
    Pause {
        /// The channel.
        name: String,
    },
    /// Begin attempts again, after a pause or a suspension.
    #[command(after_help = help!("  fanfare channel resume ops-hook"))]
    Resume {
        /// The channel.
        name: String,
    },
    /// Make one attempt with a made-up notification, and show what came of it.
    #[command(after_help = help!("  fanfare channel test ops-hook\n  fanfare channel test mail --address ann@example.org"))]
    Test {
        /// The channel.
        name: String,
        /// Send it here, in place of the channel's own destination.
        #[arg(long)]
        address: Option<String>,
    },
}

#[derive(Args, Debug)]
struct Activate {
    /// The channel.
    name: String,
    /// The plugin: its digest, eight or more digits of it, or its name, of which the latest counts.
    #[arg(long, value_name = "DIGEST-OR-NAME")]
    plugin: String,
    /// Try it on this part of the deliveries; a rule promotes it or rolls it back.
    #[arg(long, value_name = "PART", value_parser = share)]
    canary: Option<String>,
    /// Roll it back when its rate of faults is over so many times the other's.
    #[arg(long, value_name = "TIMES", requires = "canary", default_value_t = 2.0)]
    ratio: f64,
    /// Judge it after so many attempts.
    #[arg(long, value_name = "ATTEMPTS", requires = "canary", default_value_t = 20)]
    after: u32,
    /// Approve what it asks for beyond what serves.
    #[arg(long)]
    approve: bool,
    /// Other settings, as a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    settings: Option<Value>,
    /// Other grants, as a JSON object such as {"http": ["https://a.example"]}.
    #[arg(long, value_name = "JSON", value_parser = object)]
    grants: Option<Value>,
    /// References of other secrets, as a JSON object such as {"token": "env:TOKEN"}; they have to stand in the configuration.
    #[arg(long, value_name = "JSON", value_parser = object)]
    secrets: Option<Value>,
    /// Show what it asks for and what is granted, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

fn share(text: &str) -> Result<String, String> {
    parse_share(text).map(|_| text.to_owned())
}

pub(super) fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("it is no JSON object".to_owned()),
        Err(error) => Err(format!("it is no JSON: {error}")),
    }
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> ExitCode {
    let Arguments { options, command } = arguments;
    options
        .run(config, async |client, screen| match command {
            Command::List => list_them(&client, screen).await,
            Command::Show { name } => show(&client, screen, &name).await,
            Command::Activate(wanted) => activate(&client, screen, &wanted).await,
            Command::Rollback { name } => act(&client, screen, &name, "rollback").await,
            Command::Pause { name } => act(&client, screen, &name, "pause").await,
            Command::Resume { name } => act(&client, screen, &name, "resume").await,
            Command::Test { name, address } => test(&client, screen, &name, address).await,
        })
        .await
}

const PATH: [&str; 4] = ["api", "v1", "admin", "channels"];

async fn list_them(client: &Client, screen: Screen) -> Result<Finding, ClientError> {
    let answer = client.get(&PATH).send().await?.body;
    screen.show(&answer, || {
        let mut table = Table::new(&["CHANNEL", "STATE", "PLUGIN", "DIGEST", "GENERATION", "CANARY", "WHY"]);
        for item in list(&answer, "/items") {
            let [name, state, plugin, digest, generation, why] =
                ["/channel", "/state", "/plugin", "/digest", "/generation", "/why"]
                    .map(|member| text(item, member));
            let canary = match text(item, "/canary/share") {
                share if share.is_empty() => String::new(),
                share => format!("{share} to {}", text(item, "/canary/generation")),
            };
            table.row([name, state, plugin, digest.chars().take(12).collect(), generation, canary, why]);
        }
        table.to_string()
    });
    Ok(Finding::Good)
}

async fn show(client: &Client, screen: Screen, name: &str) -> Result<Finding, ClientError> {
    let channel = client.get(&[&PATH[..], &[name]].concat()).send().await?.body;
    screen.show(&channel, || shown(&channel));
    Ok(Finding::Good)
}

async fn act(client: &Client, screen: Screen, name: &str, act: &str) -> Result<Finding, ClientError> {
    let call = client.post(&[&PATH[..], &[name, act]].concat()).takes_longer(ACTIVATION_TAKES);
    let channel = call.send().await?.body;
    screen.show(&channel, || brief(&channel));
    Ok(Finding::Good)
}

async fn activate(client: &Client, screen: Screen, wanted: &Activate) -> Result<Finding, ClientError> {
    let mut body = Map::new();
    body.insert("plugin".to_owned(), wanted.plugin.clone().into());
    for (member, value) in
        [("settings", &wanted.settings), ("grants", &wanted.grants), ("secrets", &wanted.secrets)]
    {
        if let Some(value) = value {
            body.insert(member.to_owned(), value.clone());
        }
    }
    if let Some(share) = &wanted.canary {
        let canary = json!({ "share": share, "ratio": wanted.ratio, "attempts_min": wanted.after });
        body.insert("canary".to_owned(), canary);
    }
    let path = [&PATH[..], &[wanted.name.as_str(), "activate"]].concat();
    let mut dry = body.clone();
    dry.insert("dry_run".to_owned(), true.into());
    let call = client.post(&path).json(&Value::Object(dry)).takes_longer(ACTIVATION_TAKES);
    let review = call.send().await?.body;
    let good =
        text(&review, "/paste").is_empty() && (wanted.approve || list(&review, "/needs_approval").is_empty());
    if wanted.dry_run {
        screen.show(&review, || reviewed(&review, wanted));
        return Ok(if good { Finding::Good } else { Finding::Bad });
    }
    // Scripts get one document: the channel as it is afterwards, or the problem.
    if !screen.is_json() {
        screen.show(&review, || reviewed(&review, wanted));
    }
    body.insert("approve".to_owned(), wanted.approve.into());
    let call = client.post(&path).json(&Value::Object(body)).takes_longer(ACTIVATION_TAKES);
    let channel = call.send().await?.body;
    screen.show(&channel, || brief(&channel));
    Ok(Finding::Good)
}

/// Requested against granted, and what to do about what is missing.
fn reviewed(review: &Value, wanted: &Activate) -> String {
    let mut out = format!("{}  {}\n", text(review, "/plugin"), text(review, "/digest"));
    out.push_str(&permissions(review));
    let beyond: Vec<&str> = list(review, "/needs_approval").iter().filter_map(Value::as_str).collect();
    if !beyond.is_empty() {
        let approved = if wanted.approve { "approved" } else { "needs --approve" };
        out.push_str(&format!("new, {approved}: {}\n", clean(&beyond.join("; "))));
    }
    if let Some(paste) = review.get("paste").and_then(Value::as_str) {
        out.push_str("not granted; paste this into the configuration and reload it, or give --grants:\n\n");
        paste.lines().for_each(|line| out.push_str(&format!("    {}\n", clean(line))));
        out.push('\n');
    }
    out
}

fn permissions(of: &Value) -> String {
    let mut table = Table::wide(&["REQUESTED", "WHAT", "GRANTED"]);
    for request in list(of, "/permissions") {
        let granted = request.get("granted").and_then(Value::as_bool) == Some(true);
        let granted = match (granted, text(request, "/kind").as_str()) {
            (true, _) => "yes",
            (false, "secret") => "not given",
            (false, _) => "NO",
        };
        table.row([text(request, "/kind"), text(request, "/requested"), granted.to_owned()]);
    }
    if table.is_empty() { "it asks for nothing\n".to_owned() } else { table.to_string() }
}

/// A few lines that say what serves.
fn brief(channel: &Value) -> String {
    let [name, state, generation, plugin, digest, why] =
        ["/channel", "/state", "/generation", "/plugin", "/digest", "/why"]
            .map(|member| text(channel, member));
    let mut out = format!("{name}  {state}  generation {generation}: {plugin}  {digest}\n");
    if !why.is_empty() {
        out.push_str(&format!("{why}\n"));
    }
    let probe = text(channel, "/probe_at");
    if !probe.is_empty() {
        let failed = text(channel, "/probes_failed");
        out.push_str(&format!(
            "probed at {probe}; {failed} probes failed; at once: fanfare channel resume {name}\n"
        ));
    }
    if channel.get("canary").is_some_and(Value::is_object) {
        let [share, candidate, tried, ratio, after] =
            ["share", "generation", "plugin", "ratio", "attempts_min"]
                .map(|member| text(channel, &format!("/canary/{member}")));
        out.push_str(&format!(
            "canary  {share} go to generation {candidate} ({tried}); judged after {after} attempts, rolled back over {ratio} times the faults\n"
        ));
        let score = |side: &str| {
            let of = |member: &str| text(channel, &format!("/canary/{side}/{member}"));
            format!("{} faults in {} attempts", of("faults"), of("attempts"))
        };
        out.push_str(&format!("        candidate: {}; serving: {}\n", score("candidate"), score("serving")));
    }
    out
}

fn shown(channel: &Value) -> String {
    let mut out = brief(channel);
    out.push('\n');
    out.push_str(&permissions(channel));
    out.push_str(&format!(
        "settings  {}\nsecrets   {}\ngrants    {}\n\n",
        text(channel, "/settings"),
        text(channel, "/secrets"),
        text(channel, "/grants")
    ));
    out.push_str(&generations(channel));
    out.push_str("\nused since the gateway started\n");
    let mut table = Table::new(&[
        "GENERATION",
        "CALLS",
        "TRAPS",
        "TIMEOUTS",
        "CPU MS",
        "PEAK BYTES",
        "HOST CALLS",
        "REQUESTS",
        "OUT",
        "IN",
    ]);
    let all = channel.get("usage").cloned().unwrap_or_default();
    for (name, one) in std::iter::once(("all".to_owned(), &all))
        .chain(list(&all, "/generations").iter().map(|one| (text(one, "/generation"), one)))
    {
        let cpu = one.get("cpu_ms").and_then(Value::as_f64).unwrap_or(0.0);
        let [calls, traps, timeouts, memory, host, requests, sent, received] = [
            "calls",
            "traps",
            "timeouts",
            "memory_bytes_peak",
            "host_calls",
            "requests",
            "bytes_out",
            "bytes_in",
        ]
        .map(|member| text(one, &format!("/{member}")));
        table.row([
            name,
            calls,
            traps,
            timeouts,
            format!("{cpu:.2}"),
            memory,
            host,
            requests,
            sent,
            received,
        ]);
    }
    out.push_str(&table.to_string());
    out.push('\n');
    out.push_str(&entries(list(channel, "/audit")));
    out
}

/// The generations of a channel or router, the newest first.
pub(super) fn generations(of: &Value) -> String {
    let mut table = Table::new(&["GENERATION", "STATE", "PLUGIN", "DIGEST", "MADE AT", "BY"]);
    for one in list(of, "/generations") {
        let [number, state, plugin, digest, at, by] =
            ["/generation", "/state", "/plugin", "/digest", "/made_at", "/made_by"]
                .map(|member| text(one, member));
        table.row([number, state, plugin, digest.chars().take(12).collect(), at, by]);
    }
    table.to_string()
}

async fn test(
    client: &Client,
    screen: Screen,
    name: &str,
    address: Option<String>,
) -> Result<Finding, ClientError> {
    let call = client.post(&[&PATH[..], &[name, "test"]].concat());
    let report = call.json(&json!({ "address": address })).send().await?.body;
    screen.show(&report, || {
        let mut out =
            format!("{name}  generation {}: {}\n", text(&report, "/generation"), text(&report, "/outcome"));
        if report.get("fault").is_some_and(Value::is_object) {
            out.push_str(&format!("{}: {}\n", text(&report, "/fault/code"), text(&report, "/fault/message")));
        }
        for request in list(&report, "/requests") {
            let [method, origin, status] =
                ["/method", "/origin", "/status"].map(|member| text(request, member));
            out.push_str(&format!("request  {method} {origin}  {status}\n"));
        }
        for line in list(&report, "/log") {
            out.push_str(&format!("log      {} {}\n", text(line, "/level"), text(line, "/message")));
        }
        out
    });
    let good = text(&report, "/outcome") == "delivered";
    Ok(if good { Finding::Good } else { Finding::Bad })
}
