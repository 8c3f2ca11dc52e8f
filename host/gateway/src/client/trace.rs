//! `fanfare trace`: a notification, its deliveries, and everything decided about it in the order of time.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use fanfare_model::id::{DeliveryId, NotificationId};
use serde_json::Value;

use super::http::Client;
use super::output::{Screen, Table, list, text};
use super::{ClientError, Finding, Options, help};

/// Whose trace.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare trace 019aa3b2-7c1e-7000-8000-0242ac120002\n  \
       fanfare trace 019aa3b2-7c1e-7000-8000-0242ac120002-0    one delivery of it\n  \
       fanfare trace 019aa3b2-7c1e-7000-8000-0242ac120002 --json | jq .items"
))]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// The id of a notification, or of one of its deliveries.
    id: String,
}

pub(super) async fn run(arguments: &Arguments, config: Option<&Path>) -> ExitCode {
    arguments.options.run(config, async |client, screen| trace(&arguments.id, &client, screen).await).await
}

async fn trace(id: &str, client: &Client, screen: Screen) -> Result<Finding, ClientError> {
    let subject = Subject::parse(id)?;
    let trace = subject.trace(client).await?;
    screen.show(&trace, || {
        let head = format!("{}  {}\n\n", text(&trace, "/id"), text(&trace, "/status"));
        head + &events(&trace)
    });
    Ok(Finding::Good)
}

/// A notification, or one of its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) notification: NotificationId,
    pub(super) delivery: Option<DeliveryId>,
}

impl Subject {
    fn parse(id: &str) -> Result<Self, ClientError> {
        if let Ok(notification) = id.parse() {
            return Ok(Self { notification, delivery: None });
        }
        let delivery: DeliveryId = id.parse().map_err(|_| {
            let short: String = id.chars().take(80).collect();
            ClientError::Usage(format!(
                "{short:?} is no id; write a notification's, or a delivery's: the notification's, a dash and a number"
            ))
        })?;
        Ok(Self { notification: delivery.notification, delivery: Some(delivery) })
    }

    /// The whole trace, however many pages it has, with the events of the delivery alone when it is one.
    pub(super) async fn trace(self, client: &Client) -> Result<Value, ClientError> {
        let id = self.notification.to_string();
        let page = async |cursor: Option<String>| {
            let query: Vec<_> = cursor.map(|cursor| ("cursor", cursor)).into_iter().collect();
            client.get(&["api", "v1", "notifications", &id, "trace"]).query(&query).send().await
        };
        let mut trace = page(None).await?.body;
        let mut items = list(&trace, "/items").to_vec();
        let next = |page: &Value| page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        let mut cursor = next(&trace);
        while cursor.is_some() {
            let more = page(cursor).await?.body;
            items.extend_from_slice(list(&more, "/items"));
            cursor = next(&more);
        }
        if let Some(delivery) = self.delivery.map(|delivery| delivery.to_string()) {
            items.retain(|event| event.get("delivery").is_none_or(|of| of.as_str() == Some(&delivery)));
        }
        if let Some(members) = trace.as_object_mut() {
            members.remove("next_cursor");
            members.insert("items".to_owned(), items.into());
        }
        Ok(trace)
    }
}

/// One line an event.
pub(super) fn events(trace: &Value) -> String {
    let mut table = Table::wide(&["AT", "CHANNEL", "WHAT", "WHY"]);
    for event in list(trace, "/items") {
        let duration = event.pointer("/attempt/duration_ms").and_then(Value::as_u64);
        let took = duration.map_or_else(String::new, |ms| format!(" ({ms} ms)"));
        let why = format!("{}{took}", text(event, "/detail"));
        table.row([text(event, "/at"), text(event, "/channel"), text(event, "/kind"), why]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_notifications_or_a_deliverys() {
        let id = "019aa3b2-7c1e-7000-8000-0242ac120002";
        assert_eq!(Subject::parse(id).unwrap().delivery, None);
        let one = Subject::parse(&format!("{id}-3")).unwrap();
        assert_eq!((one.notification.to_string().as_str(), one.delivery.unwrap().index), (id, 3));
        assert!(Subject::parse("order-1042").unwrap_err().to_string().contains("a dash and a number"));
    }
}
