//! `fanfare plugin run`: one attempt, or one decision, with a script in place of the network.

use clap::Args;
use fanfare_model::fault::Fault;
use fanfare_runtime::Limits;
use http::{HeaderName, HeaderValue};

use super::failure::Failure;
use super::rig::{Given, Rig, Staged};
use super::script::Reply;
use super::{Output, Shown, help, tell};

/// What is rehearsed.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare plugin run pager.wasm\n  \
       fanfare plugin run pager.wasm --input attempt.json --reply 429 --header 'Retry-After: 30'\n  \
       fanfare plugin run pager.wasm --reply 503 --reply timeout --json\n  \
       fanfare plugin run pager.wasm --reply 200 --body '{\"ok\": false}' --secret chat=s3cr3t\n\n\
     A reply is a status, or timeout, reset, connect, dns or tls for what the network may do. Requests get the replies in\n\
     order, and the last one again and again; without any they get 200, and mails 250. No request leaves this machine.\n\n\
     An attempt.json; every part may be left out, and a router needs notification and people alone:\n  \
       {\n    \"settings\": { \"url\": \"https://chat.example.org/messages\", \"token\": \"${secret:chat}\" },\n    \
       \"secrets\": { \"chat\": \"s3cr3t\" }, \"grants\": [\"https://elsewhere.example.org\"],\n    \
       \"channel\": \"chat\", \"number\": 1, \"now\": \"2026-11-21T00:00:00Z\", \"address\": \"ops\",\n    \
       \"recipient\": { \"user\": \"ann\", \"display_name\": \"Ann\", \"locale\": \"ko-KR\", \"zone\": \"Asia/Seoul\" },\n    \
       \"notification\": { \"type\": \"payment.failed\", \"priority\": \"high\", \"title\": \"T\", \"body\": \"B\", \"data\": {}, \"metadata\": {} },\n    \
       \"people\": [{ \"user\": \"ann\", \"contacts\": [{ \"channel\": \"mail\", \"address\": \"ann@example.org\" }] }],\n    \
       \"replies\": [{ \"status\": 503, \"headers\": { \"retry-after\": \"9\" }, \"body\": \"busy\" }, { \"fails\": \"timeout\" }]\n  }"
))]
pub(crate) struct Arguments {
    #[command(flatten)]
    given: Given,
    /// What the outside answers: a status, or timeout, reset, connect, dns, tls; may be repeated.
    #[arg(long = "reply", value_name = "REPLY")]
    replies: Vec<Reply>,
    /// A header of each --reply; may be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The body of each --reply, or `@FILE`.
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    #[command(flatten)]
    pub(super) output: Output,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write 'Name: value'")?;
    let (name, value) = (name.trim(), value.trim());
    HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
    HeaderValue::from_bytes(value.as_bytes()).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Arguments {
    /// The script: of the arguments, else of the input, else that all is well.
    fn replies(&self, rig: &Rig) -> Result<Vec<Reply>, Failure> {
        let has_own = !self.replies.is_empty() || !self.headers.is_empty() || self.body.is_some();
        if !has_own {
            return rig.input.replies();
        }
        let body = match self.body.as_deref() {
            None => Vec::new(),
            Some(text) => match text.strip_prefix('@') {
                Some(path) => std::fs::read(path).map_err(|error| Failure::file(path.as_ref(), &error))?,
                None => text.as_bytes().to_vec(),
            },
        };
        let all_is_well = [Reply::status(200)];
        let replies = if self.replies.is_empty() { &all_is_well[..] } else { &self.replies };
        let dress = |reply: &Reply| {
            let reply = reply.clone().body(body.clone());
            self.headers.iter().fold(reply, |reply, (name, value)| reply.with(name, value))
        };
        Ok(replies.iter().map(dress).collect())
    }
}

pub(super) async fn run(arguments: &Arguments) -> Result<Shown, Failure> {
    let rig = arguments.given.load(Limits::default()).await?;
    rig.script.set(&arguments.replies(&rig)?);
    match rig.stage().await? {
        Staged::Channel(generation) => {
            let report = generation.send(rig.input.attempt()?).await;
            let (json, text) = tell::attempt(&rig, &report, &rig.script.seen());
            Ok(Shown { json, text, good: !report.outcome.fault().is_some_and(is_of_host) })
        }
        Staged::Router(generation) => {
            let about = std::sync::Arc::new(rig.input.notification()?);
            let report = generation.decide(about, rig.input.people()?, rig.input.now()?).await;
            let (json, text) = tell::decision(&rig, &report);
            Ok(Shown { json, text, good: !report.result.as_ref().is_err_and(is_of_host) })
        }
    }
}

/// Whether the host ended the call: a trap or a limit. What a plugin answers by itself begins with `channel.`.
pub(super) fn is_of_host(fault: &Fault) -> bool {
    !fault.code.as_str().starts_with("channel.")
}
