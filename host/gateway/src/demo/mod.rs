//! `fanfare demo`: the main job on one machine, over real sockets, in half a minute.
//!
//! Receivers and gateway run in this process; everything the demo knows it learns over HTTP, as any program would.

#![allow(clippy::indexing_slicing, reason = "a JSON value that lacks a member gives null, and never panics")]

mod client;
mod receivers;
mod screen;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};

use self::client::Client;
use self::receivers::Receivers;
use self::screen::Progress;
use crate::config::Config;
use crate::gateway::{CompileWith, Gateway};
use crate::serve::compile_in_child;

/// The demo gives up on a delivery after this time.
const PATIENCE: Duration = Duration::from_secs(25);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Shows the main job; with `keep`, goes on serving until Ctrl-C.
pub(crate) async fn demo(keep: bool) -> ExitCode {
    match run(keep, compile_in_child()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(keep: bool, compile: CompileWith) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let receivers = Receivers::start().await.context("the receivers can't listen")?;
    println!("Receivers: http://{} and smtp://{}", receivers.http, receivers.smtp);
    println!("Starting the gateway (the first start compiles its plugins) ...");
    let text = config(&receivers, &folder.path().display().to_string());
    let config = Config::read(None, &text, &environment()).map_err(|errors| anyhow!("{errors}"))?;
    let gateway = Gateway::start_in(Arc::new(environment()), config, compile).await?;
    println!("Gateway:   http://{}\n", gateway.address());
    let story = story(&Client::of(gateway.address()), &receivers).await;
    if let Ok(dead) = &story {
        how_to_go_on(&gateway, dead, keep);
        if keep {
            tokio::signal::ctrl_c().await.context("Ctrl-C can't be waited for")?;
        }
    }
    gateway.stop().await.context("the store could not be closed")?;
    story.map(drop)
}

/// Secrets of the demo, which real configurations keep in the environment or in files.
fn environment() -> BTreeMap<String, String> {
    let secrets = [
        ("DEMO_SIGNING", "whsec_ZmFuZmFyZSBkZW1vIHNpZ25pbmcga2V5"),
        ("DEMO_SLACK", "T000/B000/demo-token"),
        ("DEMO_SMS", "demo-sms-secret"),
    ];
    secrets.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn config(receivers: &Receivers, folder: &str) -> String {
    let Receivers { http, smtp, .. } = receivers;
    let (smtp_host, smtp_port) = (smtp.ip(), smtp.port());
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
[store]
path = "{folder}"

[channels.hook]
plugin = "webhook"
settings = {{ url = "http://{http}/hook" }}
secrets = {{ signing = "env:DEMO_SIGNING" }}
grants = {{ http = ["http://{http}"] }}

[channels.flaky]
plugin = "webhook"
settings = {{ url = "http://{http}/flaky" }}
grants = {{ http = ["http://{http}"] }}

[channels.billing]
plugin = "webhook"
settings = {{ url = "http://{http}/reject" }}
grants = {{ http = ["http://{http}"] }}
alert_channel = "log"

[channels.chat]
plugin = "slack"
settings = {{ url = "http://{http}/slack/${{secret:hook}}" }}
secrets = {{ hook = "env:DEMO_SLACK" }}
grants = {{ http = ["http://{http}"] }}

[channels.mail]
plugin = "email"
settings = {{ host = "{smtp_host}", port = {smtp_port}, encryption = "none", from = "fanfare@example.org" }}
grants = {{ smtp = ["{smtp}"] }}

[channels.sms]
plugin = "coolsms"
settings = {{ base_url = "http://{http}", api_key = "DEMOKEY", from = "0212345678" }}
secrets = {{ api-secret = "env:DEMO_SMS" }}
grants = {{ http = ["http://{http}"] }}

[channels.log]
plugin = "console"

[routers.default]
plugin = "rules"
[[routers.default.settings.rules]]
name = "payments"
when = {{ type = "payment.*" }}
then = {{ channels = ["hook", "chat"] }}
"#
    )
}

fn notifications() -> [(&'static str, Value); 6] {
    let to = |channel: &str| json!([{ "channel": channel }]);
    let at = |channel: &str, address: &str| json!([{ "channel": channel, "address": address }]);
    [
        (
            "routed by rule to webhook and chat",
            json!({ "type": "payment.failed", "title": "Payment failed", "body": "Order 1042 was declined.",
                    "data": { "order": 1042, "amount": 19.9 } }),
        ),
        (
            "a webhook that is busy twice",
            json!({ "type": "stock.low", "title": "Stock is low", "to": to("flaky") }),
        ),
        (
            "a webhook that rejects",
            json!({ "type": "invoice.created", "title": "Invoice 7", "to": to("billing") }),
        ),
        (
            "an e-mail",
            json!({ "type": "user.welcome", "title": "환영합니다", "body": "가입해 주셔서 감사합니다.",
                    "to": at("mail", "ann@example.org") }),
        ),
        (
            "a text message",
            json!({ "type": "user.code", "body": "인증번호는 4711입니다.", "to": at("sms", "01012345678") }),
        ),
        ("the gateway's own log", json!({ "type": "deploy.done", "title": "Deployed", "to": to("log") })),
    ]
}

/// Tells the story; answers the id of the delivery that was dead.
async fn story(client: &Client, receivers: &Receivers) -> anyhow::Result<String> {
    println!("Submitting six notifications:");
    let mut ids = Vec::new();
    for (what, body) in notifications() {
        let accepted = client.post("/api/v1/notifications", &body).await?;
        ids.push((text(&accepted, "id")?, what));
    }
    let mut progress = Progress::new();
    let states = watch(client, &ids, &mut progress).await?;
    progress.end();
    println!("\nDeliveries:");
    print_deliveries(&states);
    let (flaky, _) = ids.get(1).context("no second notification")?;
    println!("\nThe trace of the webhook that was busy twice:");
    screen::trace(&client.get(&format!("/api/v1/notifications/{flaky}/trace")).await?);

    let letters = client.get("/api/v1/admin/dlq").await?;
    let letter = letters["items"].get(0).context("there is no dead letter")?;
    let dead = text(letter, "id")?;
    println!(
        "\nDead letter {dead}:\n  {}: {}",
        text(&letter["fault"], "code")?,
        text(&letter["fault"], "message")?
    );
    receivers.inbox.mended.store(true, Ordering::Relaxed);
    println!("The receiver is mended; sending it again:");
    client.post(&format!("/api/v1/admin/dlq/{dead}/retry"), &Value::Null).await?;
    let again = [(text(letter, "notification_id")?, "the dead letter, sent again")];
    let mut progress = Progress::new();
    let states = watch(client, &again, &mut progress).await?;
    progress.end();
    print_deliveries(&states);
    if client.get("/api/v1/admin/dlq").await?["items"].get(0).is_some() {
        bail!("a dead letter is left");
    }
    let inbox = &receivers.inbox;
    println!(
        "\nThe receivers took: webhooks {}, chat messages {}, mails {}, text messages {}.",
        inbox.webhooks.load(Ordering::Relaxed),
        inbox.slack.load(Ordering::Relaxed),
        inbox.mails.load(Ordering::Relaxed),
        inbox.messages.load(Ordering::Relaxed),
    );
    Ok(dead)
}

fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    value[name].as_str().map(str::to_owned).with_context(|| format!("the answer has no {name}"))
}

/// Looks at the notifications until all have ended; answers them.
async fn watch(
    client: &Client,
    ids: &[(String, &str)],
    progress: &mut Progress,
) -> anyhow::Result<Vec<Value>> {
    let began = std::time::Instant::now();
    loop {
        let mut states = Vec::new();
        for (id, what) in ids {
            let state = client.get(&format!("/api/v1/notifications/{id}")).await?;
            let ended = state["status"] == "done";
            progress.show(id, what, &summary(&state), ended);
            states.push(state);
        }
        if states.iter().all(|state| state["status"] == "done") {
            return Ok(states);
        }
        if began.elapsed() > PATIENCE {
            bail!("not everything ended within {PATIENCE:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn summary(state: &Value) -> String {
    let one = |delivery: &Value| {
        let status = delivery["status"].as_str().unwrap_or_default();
        match delivery["last_fault"]["status"].as_u64() {
            Some(code) if status != "delivered" => format!("{status} ({code})"),
            _ => status.to_owned(),
        }
    };
    let deliveries = state["deliveries"].as_array();
    deliveries.map(|all| all.iter().map(one).collect::<Vec<_>>().join(", ")).unwrap_or_default()
}

fn print_deliveries(states: &[Value]) {
    let mut rows = Vec::new();
    for state in states {
        for delivery in state["deliveries"].as_array().into_iter().flatten() {
            let word = |name: &str| match &delivery[name] {
                Value::String(text) => text.clone(),
                Value::Null => "-".to_owned(),
                other => other.to_string(),
            };
            let fault = delivery["last_fault"]["code"].as_str().unwrap_or("-").to_owned();
            let kind = state["type"].as_str().unwrap_or_default().to_owned();
            rows.push(vec![
                kind,
                word("channel"),
                word("recipient"),
                word("status"),
                word("attempts"),
                fault,
            ]);
        }
    }
    screen::table(&["TYPE", "CHANNEL", "RECIPIENT", "STATUS", "TRIES", "LAST FAULT"], &rows);
}

fn how_to_go_on(gateway: &Gateway, dead: &str, keep: bool) {
    // As it was called: `cargo run` leaves it out of the path.
    let program = std::env::args().next().unwrap_or_else(|| "fanfare".to_owned());
    println!("\nHow to go on:");
    if keep {
        let base = format!("http://{}", gateway.address());
        let id = dead.rsplit_once('-').map_or(dead, |(id, _)| id);
        println!("  export FANFARE_URL={base}");
        println!("  {program} status");
        println!("  {program} send payment.failed --title Hello --wait");
        println!("  {program} trace {id}");
        println!("\n  curl $FANFARE_URL/api/v1/notifications \\");
        println!("       -H 'content-type: application/json' \\");
        println!("       -d '{{\"type\": \"payment.failed\", \"title\": \"Hello\"}}'");
        println!("  curl $FANFARE_URL/api/v1/admin/dlq");
        println!("\nServing {base} until Ctrl-C.");
    } else {
        println!("  {program} demo --keep                      # leave it running and try the API");
        println!("  {program} config default > fanfare.toml    # begin a configuration of your own");
        println!("  {program} serve --config fanfare.toml      # serve it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_first_party_plugin_does_its_part_in_the_real_runtime() {
        run(false, CompileWith::InProcess).await.unwrap();
    }
}
