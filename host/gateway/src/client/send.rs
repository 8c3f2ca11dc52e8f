//! `fanfare send`: submits one notification.
//!
//! Every submission carries an idempotency key, its own or one made here, so that a person whose connection broke can repeat
//! the command without sending twice. What the fields may hold is the gateway's to say; only JSON is parsed here, because a
//! shell's quoting mistakes are best told where they are made.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use fanfare_model::time::Timestamp;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::http::Client;
use super::output::{Screen, Table, list, text};
use super::{ClientError, Finding, Options, help, time};

/// More than the gateway takes by default, so that its limit is the one that is told.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What is sent, and how long is waited.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare send payment.failed --title 'Payment failed' --data '{\"order\": 1042}'\n  \
       fanfare send deploy.done --to ops-hook --to mail=ann@example.org --wait\n  \
       fanfare send report.daily --user ann --send-at 2h --body - < report.txt\n  \
       fanfare send --file notification.json --idempotency-key order-1042"
))]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// The kind of event, such as payment.failed.
    #[arg(value_name = "TYPE", required_unless_present = "file")]
    event_type: Option<String>,
    /// The headline.
    #[arg(long)]
    title: Option<String>,
    /// The text; - reads it from standard input.
    #[arg(long)]
    body: Option<String>,
    /// Facts for rules and channels: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    data: Option<Map<String, Value>>,
    /// Facts that are carried along and not looked at: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    metadata: Option<Map<String, Value>>,
    /// Send through this channel, to its own destination or to ADDRESS; may be repeated.
    #[arg(long, value_name = "CHANNEL[=ADDRESS]")]
    to: Vec<String>,
    /// Send to this user, as the routing rules say; may be repeated.
    #[arg(long, value_name = "ID")]
    user: Vec<String>,
    /// critical, high, normal or low.
    #[arg(long)]
    priority: Option<String>,
    /// Not before this time: RFC 3339, or from now, such as 2h.
    #[arg(long, value_name = "TIME", value_parser = time::future)]
    send_at: Option<Timestamp>,
    /// Not after this time: RFC 3339, or from now, such as 2h.
    #[arg(long, value_name = "TIME", value_parser = time::future)]
    expires_at: Option<Timestamp>,
    /// Suppress this one if another with the same key was sent within --dedup-window.
    #[arg(long, value_name = "KEY")]
    dedup_key: Option<String>,
    /// How long --dedup-key counts, such as 10m.
    #[arg(long, value_name = "TIME", value_parser = time::length, default_value = "10m", requires = "dedup_key")]
    dedup_window: Duration,
    /// Take the notification as JSON from this file, - for standard input, in place of the arguments above.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "event_type", "title", "body", "data", "metadata", "to", "user", "priority", "send_at", "expires_at", "dedup_key",
    ])]
    file: Option<PathBuf>,
    /// Repeating the command with the same key gives the first answer and sends nothing twice.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait until all of it has ended, at most so long, such as --wait=10s; --wait alone is 30s.
    #[arg(long, value_name = "TIME", value_parser = time::length, num_args = 0..=1, require_equals = true, default_missing_value = "30s")]
    wait: Option<Duration>,
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> ExitCode {
    let options = arguments.options.clone();
    options.run(config, async |client, screen| send(arguments, &client, screen).await).await
}

async fn send(arguments: Arguments, client: &Client, screen: Screen) -> Result<Finding, ClientError> {
    let wait = arguments.wait;
    let key = match arguments.idempotency_key.clone() {
        Some(key) => key,
        None => made_up_key(),
    };
    let mut call = client.post(&["api", "v1", "notifications"]);
    call = call.header(HeaderName::from_static("idempotency-key"), header(&key)?);
    if let Some(wait) = wait {
        let prefer = header(&format!("wait={}", wait.as_secs()))?;
        call = call.header(HeaderName::from_static("prefer"), prefer).takes_longer(wait);
    }
    let call = match &arguments.file {
        Some(file) => call.body("application/json", read(file)?),
        None => call.json(&body(arguments)?),
    };
    let answer = match call.send().await {
        Err(ClientError::Interrupted { url, reason }) => {
            let reason = format!(
                "{reason}\n  the same command with --idempotency-key {key} finds out, and sends nothing twice"
            );
            return Err(ClientError::Interrupted { url, reason });
        }
        answer => answer?.body,
    };
    let finding = if wait.is_some() { judge(&answer) } else { Finding::Good };
    screen.show(&answer, || shown(&answer, wait.is_some()));
    Ok(finding)
}

fn header(text: &str) -> Result<HeaderValue, ClientError> {
    HeaderValue::try_from(text)
        .map_err(|_| ClientError::Usage(format!("{text:?} can't be sent in a header; use printable ASCII")))
}

/// 128 random bits: no other submission has them.
fn made_up_key() -> String {
    format!("cli-{}", hex::encode(rand::random::<[u8; 16]>()))
}

fn body(arguments: Arguments) -> Result<Value, ClientError> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    let text = match arguments.body {
        Some(dash) if dash == "-" => {
            let bytes = read(Path::new("-"))?;
            let text = String::from_utf8(bytes);
            Some(text.map_err(|_| ClientError::Usage("standard input is no UTF-8 text".to_owned()))?)
        }
        text => text,
    };
    let channels = arguments.to.iter().map(|to| match to.split_once('=') {
        Some((channel, address)) => json!({ "channel": channel, "address": address }),
        None => json!({ "channel": to }),
    });
    let to: Vec<Value> = channels.chain(arguments.user.iter().map(|user| json!({ "user": user }))).collect();
    put("type", arguments.event_type.map(Value::from));
    put("title", arguments.title.map(Value::from));
    put("body", text.map(Value::from));
    put("data", arguments.data.map(Value::Object));
    put("metadata", arguments.metadata.map(Value::Object));
    put("to", (!to.is_empty()).then(|| to.into()));
    put("priority", arguments.priority.map(Value::from));
    put("send_at", arguments.send_at.map(|at| at.to_string().into()));
    put("expires_at", arguments.expires_at.map(|at| at.to_string().into()));
    let window = arguments.dedup_window.as_secs();
    put("dedup", arguments.dedup_key.map(|key| json!({ "key": key, "window_s": window })));
    Ok(Value::Object(body))
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("it is JSON, but no object; write such as {\"order\": 1042}".to_owned()),
        Err(error) => {
            Err(format!("it is no JSON: {error}; quote it for the shell, such as '{{\"order\": 1042}}'"))
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    read.map_err(|error| ClientError::Usage(format!("{name} can't be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ClientError::Usage(format!("{name} is larger than 16 MiB, and no notification is")));
    }
    Ok(bytes)
}

/// Whether all that was to be sent has been: a repetition counts as sent, for its first was.
fn judge(answer: &Value) -> Finding {
    let duplicate = answer.get("duplicate_of").is_some_and(|first| !first.is_null());
    let deliveries = list(answer, "/deliveries");
    let delivered =
        !deliveries.is_empty() && deliveries.iter().all(|one| text(one, "/status") == "delivered");
    if duplicate || (delivered && text(answer, "/status") == "done") { Finding::Good } else { Finding::Bad }
}

fn shown(answer: &Value, waited: bool) -> String {
    let id = text(answer, "/id");
    let mut out = format!("{id}  {}\n", text(answer, "/status"));
    let mut table = Table::new(&["DELIVERY", "CHANNEL", "RECIPIENT", "STATUS"]);
    for one in list(answer, "/deliveries") {
        table.row(["/id", "/channel", "/recipient", "/status"].map(|member| text(one, member)));
    }
    if !table.is_empty() {
        out.push_str(&table.to_string());
    }
    let (code, message) = (text(answer, "/reason/code"), text(answer, "/reason/message"));
    if !code.is_empty() {
        out.push_str(&format!("{code}: {message}\n"));
    }
    let first = text(answer, "/duplicate_of");
    if !first.is_empty() {
        out.push_str(&format!("the first of its dedup key is {first}\n"));
    } else if waited && judge(answer) == Finding::Bad {
        out.push_str(&format!("not delivered to all, or not yet; see: fanfare trace {id}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_is_no_object_is_told_with_an_example() {
        assert!(object("{\"a\": 1}").is_ok());
        for text in ["[1]", "{a: 1}", ""] {
            assert!(object(text).unwrap_err().contains("{\"order\": 1042}"), "{text}");
        }
    }

    #[test]
    fn waiting_is_good_only_when_everything_was_delivered() {
        let answer = |status: &str, deliveries: &[&str]| {
            let deliveries: Vec<_> = deliveries.iter().map(|status| json!({ "status": status })).collect();
            json!({ "id": "x", "status": status, "deliveries": deliveries })
        };
        assert_eq!(judge(&answer("done", &["delivered", "delivered"])), Finding::Good);
        assert_eq!(judge(&answer("done", &["delivered", "dead"])), Finding::Bad);
        assert_eq!(judge(&answer("active", &["retrying"])), Finding::Bad);
        assert_eq!(judge(&answer("suppressed", &[])), Finding::Bad);
        assert_eq!(judge(&json!({ "status": "suppressed", "duplicate_of": "y" })), Finding::Good);
        assert!(shown(&answer("done", &["dead"]), true).contains("fanfare trace x"));
    }
}
