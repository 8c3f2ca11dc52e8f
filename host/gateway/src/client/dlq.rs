//! `fanfare dlq`: the dead letters of a gateway.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use fanfare_model::id::DeliveryId;
use fanfare_model::time::Timestamp;
use serde_json::{Value, json};

use super::http::Client;
use super::output::{Screen, Table, list, text};
use super::trace::{Subject, events};
use super::{ClientError, Finding, Options, help, time};

/// Letters that one call brings at most; the API gives no more.
const PAGE: usize = 200;

/// What is done with them.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare dlq list --channel ops-hook --since 2h\n  \
       fanfare dlq show 019aa3b2-7c1e-7000-8000-0242ac120002-0\n  \
       fanfare dlq retry 019aa3b2-7c1e-7000-8000-0242ac120002-0\n  \
       fanfare dlq retry-all --code channel.http-503"
))]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead letters, the latest death first.
    #[command(after_help = help!(
        "  fanfare dlq list\n  \
           fanfare dlq list --channel ops-hook --since 2h\n  \
           fanfare dlq list --limit 10000 --json | jq -r '.items[].id'"
    ))]
    List {
        #[command(flatten)]
        filter: Filter,
        /// List at most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
        limit: usize,
        /// Go on where an earlier list ended: its next_cursor.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one: what was to be sent, what it died of, and everything that was tried.
    #[command(after_help = help!("  fanfare dlq show 019aa3b2-7c1e-7000-8000-0242ac120002-0"))]
    Show {
        /// The delivery's id.
        #[arg(value_parser = delivery)]
        id: DeliveryId,
    },
    /// Send some again: a new chain of attempts, with their history kept.
    #[command(after_help = help!("  fanfare dlq retry 019aa3b2-7c1e-7000-8000-0242ac120002-0"))]
    Retry {
        /// The deliveries' ids.
        #[arg(required = true, value_name = "ID", value_parser = delivery)]
        ids: Vec<DeliveryId>,
    },
    /// Send all again that fit the filters.
    #[command(after_help = help!(
        "  fanfare dlq retry-all --channel ops-hook --since 2h\n  \
           fanfare dlq retry-all"
    ))]
    RetryAll {
        #[command(flatten)]
        filter: Filter,
    },
    /// Delete some: they are not sent again, and their trace says who deleted them.
    #[command(after_help = help!("  fanfare dlq delete 019aa3b2-7c1e-7000-8000-0242ac120002-0"))]
    Delete {
        /// The deliveries' ids.
        #[arg(required = true, value_name = "ID", value_parser = delivery)]
        ids: Vec<DeliveryId>,
    },
}

#[derive(Args, Debug)]
struct Filter {
    /// Only of this channel.
    #[arg(long)]
    channel: Option<String>,
    /// Only with this code.
    #[arg(long)]
    code: Option<String>,
    /// Only of notifications of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only those that died since: RFC 3339, or so long ago, such as 2h.
    #[arg(long, value_name = "TIME", value_parser = time::past)]
    since: Option<Timestamp>,
}

impl Filter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let since = self.since.map(|since| since.to_string());
        let all = [
            ("channel", self.channel.clone()),
            ("code", self.code.clone()),
            ("type", self.event_type.clone()),
            ("since", since),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

fn delivery(text: &str) -> Result<DeliveryId, String> {
    text.parse().map_err(|_| "a dead letter's id is the notification's, a dash and a number".to_owned())
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> ExitCode {
    let Arguments { options, command } = arguments;
    options
        .run(config, async |client, screen| match command {
            Command::List { filter, limit, cursor } => {
                list_them(&client, screen, &filter, limit, cursor).await
            }
            Command::Show { id } => show(&client, screen, id).await,
            Command::Retry { ids } => each(&client, screen, &ids, Act::Retry).await,
            Command::RetryAll { filter } => retry_all(&client, screen, &filter).await,
            Command::Delete { ids } => each(&client, screen, &ids, Act::Delete).await,
        })
        .await
}

/// Reads page by page until there are `limit`, or no more.
async fn list_them(
    client: &Client,
    screen: Screen,
    filter: &Filter,
    limit: usize,
    mut cursor: Option<String>,
) -> Result<Finding, ClientError> {
    let mut items: Vec<Value> = Vec::new();
    loop {
        let mut query = filter.query();
        query.push(("limit", (limit - items.len()).min(PAGE).to_string()));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let mut page = client.get(&["api", "v1", "admin", "dlq"]).query(&query).send().await?.body;
        if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() || items.len() >= limit {
            break;
        }
    }
    let answer = json!({ "items": items, "next_cursor": cursor });
    screen.show(&answer, || {
        if items.is_empty() {
            return "no dead letters\n".to_owned();
        }
        let mut table = Table::new(&["ID", "CHANNEL", "TYPE", "DIED", "TRIES", "FAULT"]);
        for item in &items {
            let fault = format!("{}: {}", text(item, "/fault/code"), text(item, "/fault/message"));
            let [id, channel, kind, died, tries] =
                ["/id", "/channel", "/type", "/last_at", "/attempts"].map(|member| text(item, member));
            table.row([id, channel, kind, died, tries, fault]);
        }
        match &cursor {
            Some(cursor) => format!("{table}there are more: --limit N, or --cursor {cursor}\n"),
            None => table.to_string(),
        }
    });
    Ok(Finding::Good)
}

async fn show(client: &Client, screen: Screen, id: DeliveryId) -> Result<Finding, ClientError> {
    let subject = Subject { notification: id.notification, delivery: Some(id) };
    let (mut notification, delivery) = find(client, id).await?;
    if let Some(members) = notification.as_object_mut() {
        members.retain(|name, _| !matches!(name.as_str(), "deliveries" | "counts" | "next_cursor"));
    }
    let trace = subject.trace(client).await?;
    let dead = text(&delivery, "/status") == "dead";
    let answer = json!({ "delivery": delivery, "notification": notification, "events": trace.get("items") });
    screen.show(&answer, || {
        let mut out = String::new();
        let mut line = |name: &str, value: String| {
            if !value.is_empty() {
                out.push_str(&format!("{name:<12}  {value}\n"));
            }
        };
        line("delivery", id.to_string());
        line("status", text(&delivery, "/status"));
        line("channel", text(&delivery, "/channel"));
        line("recipient", text(&delivery, "/recipient"));
        line("attempts", text(&delivery, "/attempts"));
        line("fault", text(&delivery, "/last_fault/code"));
        line("message", text(&delivery, "/last_fault/message"));
        line("type", text(&notification, "/type"));
        line("priority", text(&notification, "/priority"));
        line("accepted", text(&notification, "/created_at"));
        line("title", text(&notification, "/title"));
        line("body", text(&notification, "/body"));
        line("data", text(&notification, "/data"));
        out.push('\n');
        out.push_str(&events(&trace));
        if dead {
            out.push_str(&format!("\nsend it again: fanfare dlq retry {id}\n"));
        } else {
            out.push_str("\nit is no dead letter now\n");
        }
        out
    });
    Ok(if dead { Finding::Good } else { Finding::Bad })
}

/// The notification and the one delivery, which may stand on a later page.
async fn find(client: &Client, id: DeliveryId) -> Result<(Value, Value), ClientError> {
    let (notification, wanted) = (id.notification.to_string(), id.to_string());
    let mut cursor: Option<String> = None;
    loop {
        let query: Vec<_> = cursor.take().map(|cursor| ("cursor", cursor)).into_iter().collect();
        let page =
            client.get(&["api", "v1", "notifications", &notification]).query(&query).send().await?.body;
        if let Some(found) = list(&page, "/deliveries").iter().find(|one| text(one, "/id") == wanted) {
            let found = found.clone();
            return Ok((page, found));
        }
        cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            return Err(ClientError::absent(
                "delivery.unknown",
                format!("the notification has no delivery {id}"),
            ));
        }
    }
}

#[derive(Clone, Copy)]
enum Act {
    Retry,
    Delete,
}

/// Goes through all ids, so that one that is gone already does not keep the others; the first refusal is the command's.
async fn each(client: &Client, screen: Screen, ids: &[DeliveryId], act: Act) -> Result<Finding, ClientError> {
    let mut results = Vec::new();
    let mut refused = None;
    for id in ids {
        let text = id.to_string();
        let call = match act {
            Act::Retry => client.post(&["api", "v1", "admin", "dlq", &text, "retry"]),
            Act::Delete => client.delete(&["api", "v1", "admin", "dlq", &text]),
        };
        match call.send().await {
            Ok(_) => {
                let status = match act {
                    Act::Retry => "queued",
                    Act::Delete => "deleted",
                };
                results.push(json!({ "id": text, "status": status }));
            }
            Err(error @ ClientError::Refused(_)) if ids.len() > 1 && !error.is_of_access() => {
                results.push(json!({ "id": text, "status": "refused", "problem": error.to_json() }));
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let answer = json!({ "results": results });
    screen.show(&answer, || {
        let mut table = Table::new(&["ID", "STATUS", "WHY"]);
        for result in &results {
            table.row(["/id", "/status", "/problem/detail"].map(|member| text(result, member)));
        }
        table.to_string()
    });
    refused.map_or(Ok(Finding::Good), Err)
}

async fn retry_all(client: &Client, screen: Screen, filter: &Filter) -> Result<Finding, ClientError> {
    let call = client.post(&["api", "v1", "admin", "dlq", "retry-all"]).query(&filter.query());
    // The gateway sends all of them again within this one call.
    let answer = call.takes_longer(std::time::Duration::from_secs(600)).send().await?.body;
    screen.show(&answer, || format!("{} dead letters are sent again\n", text(&answer, "/retried")));
    Ok(Finding::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_the_parameters_of_the_api_and_absent_ones_do_not() {
        let since: Timestamp = "2026-03-01T09:00:00Z".parse().unwrap();
        let filter = Filter {
            channel: Some("hook".to_owned()),
            code: None,
            event_type: Some("a.b".to_owned()),
            since: Some(since),
        };
        let expected =
            [("channel", "hook".to_owned()), ("type", "a.b".to_owned()), ("since", since.to_string())];
        assert_eq!(filter.query(), expected);
    }
}
