//! A scripted host for unit tests: what it answers, and what the plugin asked of it.
//!
//! It belongs to the test's own thread and is empty again when its [`Host`] is dropped. It enforces no limit and no
//! grant: those are the gateway's, and are tested there.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};

use crate::attempt::{Attempt, Json, Notification, Recipient};
use crate::http::{HttpError, Request, Response};
use crate::log::Level;
use crate::smtp::{Message, Reply, SmtpError};

/// The wall clock of a fresh script: 2026-11-21T00:00:00Z.
pub const NOW_MS: u64 = 1_795_219_200_000;

pub(super) struct Script {
    pub(super) settings: String,
    pub(super) now_ms: u64,
    pub(super) secrets: HashMap<String, String>,
    pub(super) signatures: HashMap<String, Vec<u8>>,
    pub(super) replies: VecDeque<Result<Response, HttpError>>,
    pub(super) requests: Vec<Request>,
    pub(super) mail_replies: VecDeque<Result<Reply, SmtpError>>,
    pub(super) mails: Vec<Message>,
    pub(super) log: Vec<(Level, String)>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            settings: "{}".to_owned(),
            now_ms: NOW_MS,
            secrets: HashMap::new(),
            signatures: HashMap::new(),
            replies: VecDeque::new(),
            requests: Vec::new(),
            mail_replies: VecDeque::new(),
            mails: Vec::new(),
            log: Vec::new(),
        }
    }
}

thread_local! {
    static SCRIPT: RefCell<Script> = RefCell::new(Script::default());
}

pub(super) fn with<T>(act: impl FnOnce(&mut Script) -> T) -> T {
    SCRIPT.with(|script| act(&mut script.borrow_mut()))
}

/// The scripted host of this thread. Dropping it forgets the script.
#[derive(Debug)]
#[must_use = "the script lasts only as long as this value"]
pub struct Host(());

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        with(|script| *script = Script::default());
    }
}

impl Host {
    /// An empty script.
    pub fn new() -> Self {
        with(|script| *script = Script::default());
        Self(())
    }

    /// What [`settings`](crate::settings()) reads.
    pub fn set_settings(&self, json: impl Into<String>) {
        with(|script| script.settings = json.into());
    }

    /// The wall clock.
    pub fn set_now_ms(&self, now_ms: u64) {
        with(|script| script.now_ms = now_ms);
    }

    /// A secret that `crypto` can use.
    pub fn set_secret(&self, name: &str, value: &str) {
        with(|script| script.secrets.insert(name.to_owned(), value.to_owned()));
    }

    /// What `crypto::sign` answers for this secret.
    pub fn set_signature(&self, secret: &str, signature: impl Into<Vec<u8>>) {
        with(|script| script.signatures.insert(secret.to_owned(), signature.into()));
    }

    /// The answer to the next request that has none yet.
    pub fn reply(&self, status: u16, body: impl AsRef<[u8]>) {
        self.reply_with(status, &[], body);
    }

    /// The same, with headers.
    pub fn reply_with(&self, status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        let headers = headers.iter().map(own).collect();
        let response = Response { status, headers, body: body.as_ref().to_vec(), ..Response::default() };
        with(|script| script.replies.push_back(Ok(response)));
    }

    /// The next request that has no answer yet gets none.
    pub fn fail(&self, error: HttpError) {
        with(|script| script.replies.push_back(Err(error)));
    }

    /// What the mail server says to the next mail.
    pub fn mail_reply(&self, reply: Result<Reply, SmtpError>) {
        with(|script| script.mail_replies.push_back(reply));
    }

    /// The requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        with(|script| script.requests.clone())
    }

    /// The mails so far.
    #[must_use]
    pub fn mails(&self) -> Vec<Message> {
        with(|script| script.mails.clone())
    }

    /// The lines logged so far.
    #[must_use]
    pub fn log(&self) -> Vec<(Level, String)> {
        with(|script| script.log.clone())
    }
}

/// A notification such as a client submits.
#[must_use]
pub fn notification() -> Notification {
    Notification {
        id: "0192f0c1-0000-7000-8000-000000000001".to_owned(),
        event_type: "payment.failed".to_owned(),
        created_at_ms: NOW_MS,
        title: Some("Payment failed".to_owned()),
        body: Some("Order 42 could not be charged.".to_owned()),
        data: Json::new(r#"{"order":{"id":42,"total":19.5}}"#),
        ..Notification::default()
    }
}

/// The first attempt to deliver [`notification`].
#[must_use]
pub fn attempt() -> Attempt {
    Attempt {
        delivery_id: "0192f0c1-0000-7000-8000-0000000000d1".to_owned(),
        number: 1,
        channel: "test".to_owned(),
        notification: notification(),
        recipient: Recipient::default(),
        now_ms: NOW_MS,
        deadline_ms: 15_000,
        ..Attempt::default()
    }
}
