//! What a guest meets: the host's interfaces, and the limits of one attempt.
//!
//! Every host call is counted; every byte, line and request is bounded. A limit that is hit ends the call with its own
//! code, by way of [`Hit`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_model::fault::{FaultCode, code};
use fanfare_model::text::plain;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::bindings::channel::fanfare::host::{
    crypto as wit_crypto, http as wit_http, log, settings, smtp as wit_smtp,
};
use crate::bindings::channel::fanfare::types::types;
use crate::call::Said;
use crate::egress::{CallContext, Door, Refusal, Request};
use crate::inert::{self, Frozen};
use crate::limits::Limits;
use crate::meter::Meter;
use crate::output::Printed;
use crate::report::{Cut, Level, LogLine, RequestSummary};
use crate::secrets::AttemptSecrets;
use crate::smtp::{Mailer, SmtpContext, SmtpRefusal};
use crate::web::{Tally, Web};
use crate::{crypto, smtp};

/// Shortened lines are told of one by one up to here.
const CUTS_MAX: usize = 20;

/// A limit that a guest hit.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Hit {
    #[error("it used more CPU time than allowed")]
    Cpu,
    #[error("it called the host more often than allowed")]
    Calls,
}

impl Hit {
    pub(crate) fn code(self) -> FaultCode {
        match self {
            Self::Cpu => code::PLUGIN_CPU,
            Self::Calls => code::PLUGIN_CALLS,
        }
    }
}

/// The ways out; none while a generation checks itself, and for routers.
pub(crate) struct Outside {
    pub(crate) door: Door,
    pub(crate) mailer: Mailer,
    pub(crate) context: CallContext,
}

/// The state of one call.
pub(crate) struct Guest {
    limits: Limits,
    settings: String,
    secrets: Arc<AttemptSecrets>,
    outside: Option<Outside>,
    frozen: Option<Frozen>,
    /// Made when the guest first asks for it: most never do, and it costs more than the rest of this together.
    wasi: Option<Box<Wasi>>,
    /// The same; it belongs to one call.
    web: Option<Box<Web>>,
    table: ResourceTable,
    began: Instant,
    meter: Arc<Meter>,
    pub(crate) memory: Memory,
    pub(crate) host_calls: u32,
    pub(crate) requests: u32,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    log: Vec<LogLine>,
    log_dropped: u32,
    cuts: Vec<Cut>,
    sent: Vec<RequestSummary>,
}

struct Wasi {
    context: WasiCtx,
    printed: Printed,
}

impl Wasi {
    fn new(frozen: Option<Frozen>) -> Box<Self> {
        let printed = Printed::default();
        Box::new(Self { context: inert::wasi(&printed, frozen), printed })
    }
}

/// Memories and tables of one instance together.
#[derive(Debug)]
pub(crate) struct Memory {
    used: u64,
    limit: u64,
    pub(crate) peak: u64,
    pub(crate) denied: bool,
}

/// What a guest is made of.
pub(crate) struct Parts {
    pub(crate) limits: Limits,
    pub(crate) settings: String,
    pub(crate) secrets: Arc<AttemptSecrets>,
    pub(crate) outside: Option<Outside>,
    pub(crate) frozen: Option<Frozen>,
}

impl Guest {
    pub(crate) fn new(parts: Parts, meter: Arc<Meter>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(parts.limits.handles).unwrap_or(usize::MAX));
        Self {
            memory: Memory { used: 0, limit: parts.limits.memory_bytes, peak: 0, denied: false },
            limits: parts.limits,
            settings: parts.settings,
            secrets: parts.secrets,
            outside: parts.outside,
            frozen: parts.frozen,
            wasi: None,
            web: None,
            table,
            began: Instant::now(),
            meter,
            host_calls: 0,
            requests: 0,
            bytes_out: 0,
            bytes_in: 0,
            log: Vec::new(),
            log_dropped: 0,
            cuts: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Begins another call of the same instance: what the guest keeps is its memory and its handles.
    pub(crate) fn begin(&mut self, parts: Parts, meter: Arc<Meter>) {
        let fresh = Self::new(parts, meter);
        let used = self.memory.used;
        *self = Self {
            memory: Memory { used, peak: used, ..fresh.memory },
            wasi: self.wasi.take(),
            table: std::mem::take(&mut self.table),
            ..fresh
        };
    }

    /// The epoch moved on while the guest ran: it yields once it has used a whole tick, and ends when its CPU time is used
    /// up, that of host functions included.
    pub(crate) fn tick(mut store: StoreContextMut<'_, Self>) -> wasmtime::Result<UpdateDeadline> {
        let guest = store.data_mut();
        if guest.meter.spent_in_poll() > guest.limits.cpu {
            return Err(Hit::Cpu.into());
        }
        Ok(if guest.meter.lasts() { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) })
    }

    fn count_call(&mut self) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > self.limits.host_calls { Err(Hit::Calls.into()) } else { Ok(()) }
    }

    fn note(&mut self, level: Level, message: &str) {
        if self.log.len() >= usize::try_from(self.limits.log_lines).unwrap_or(usize::MAX) {
            self.log_dropped += 1;
            return;
        }
        let max = usize::try_from(self.limits.log_line_bytes).unwrap_or(usize::MAX);
        if message.len() > max && self.cuts.len() < CUTS_MAX {
            let cut = Cut { what: Cut::LOG_LINE, given: message.len(), kept: max, unit: "bytes" };
            self.cuts.push(cut);
        }
        // Secrets first: one may hold such characters itself.
        let message = plain(&self.secrets.mask_text(cut(message, max)));
        self.log.push(LogLine { level, message });
    }

    /// Adds what went by `wasi:http` to what is counted.
    pub(crate) fn settle_web(&mut self) {
        let Some(web) = self.web.take() else { return };
        let Tally { bytes_out, bytes_in, sent, refusals } = web.take_tally();
        self.requests = self.requests.saturating_add(web.hooks.requests);
        self.bytes_out += bytes_out;
        self.bytes_in += bytes_in;
        self.sent.extend(sent);
        for refusal in refusals {
            self.note(Level::Warn, &refusal);
        }
    }

    /// What is to be told of the call: what the guest printed becomes lines of its log.
    pub(crate) fn take_said(&mut self) -> Said {
        let printed = self.wasi.as_ref().map(|wasi| wasi.printed.take());
        let (printed, lines_dropped) = printed.unwrap_or_default();
        for line in String::from_utf8_lossy(&printed).lines() {
            self.note(Level::Info, line);
        }
        Said {
            log: std::mem::take(&mut self.log),
            log_dropped: std::mem::take(&mut self.log_dropped).saturating_add(lines_dropped),
            cuts: std::mem::take(&mut self.cuts),
            sent: std::mem::take(&mut self.sent),
        }
    }

    fn remaining(&self) -> Duration {
        self.limits.wall.saturating_sub(self.began.elapsed())
    }

    /// Whether one more request may leave.
    fn count_request(&mut self) -> Result<(), String> {
        self.requests += 1;
        let by_wasi = self.web.as_ref().map_or(0, |web| web.hooks.requests);
        if self.requests.saturating_add(by_wasi) > self.limits.requests {
            return Err(format!("an attempt makes at most {} requests", self.limits.requests));
        }
        Ok(())
    }
}

/// The text, cut at the last character that fits.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

impl Memory {
    /// What the instance has now; it never gives any back.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    fn grow(&mut self, by: u64) -> bool {
        let wanted = self.used.saturating_add(by);
        if wanted > self.limit {
            self.denied = true;
            return false;
        }
        self.used = wanted;
        self.peak = self.peak.max(wanted);
        true
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current) as u64))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        // A table's element takes the place of a pointer.
        Ok(self.grow((desired.saturating_sub(current) * size_of::<usize>()) as u64))
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(|| Wasi::new(self.frozen));
        WasiCtxView { ctx: &mut wasi.context, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let remaining = self.remaining();
        let web = self.web.get_or_insert_with(|| {
            let outside = self.outside.as_ref();
            Web::new(outside.map(|outside| (outside.door.clone(), outside.context.clone())), remaining)
        });
        // Requests by either way count together.
        web.hooks.requests_left = self.limits.requests.saturating_sub(self.requests);
        let Web { context, hooks } = &mut **web;
        WasiHttpCtxView { hooks, table: &mut self.table, ctx: context }
    }
}

impl types::Host for Guest {}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.count_call()?;
        let level = match level {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
        };
        self.note(level, &message);
        Ok(())
    }
}

impl settings::Host for Guest {
    fn get(&mut self) -> wasmtime::Result<String> {
        self.count_call()?;
        Ok(self.settings.clone())
    }
}

pub(crate) const CLOSED: &str = "nothing can be reached from here: a check and a router make no requests";

impl wit_http::Host for Guest {
    async fn send(
        &mut self,
        request: wit_http::Request,
    ) -> wasmtime::Result<Result<wit_http::Response, wit_http::HttpError>> {
        self.count_call()?;
        if let Err(why) = self.count_request() {
            return Ok(Err(wit_http::HttpError::Limit(why)));
        }
        let remaining = self.remaining();
        let asked = request.timeout_ms.map_or(remaining, Duration::from_millis);
        let Some(outside) = &self.outside else {
            return Ok(Err(wit_http::HttpError::Denied(CLOSED.to_owned())));
        };
        let body_bytes = request.body.len() as u64;
        let mut summary = RequestSummary::of(&request.method, &request.url);
        let request = Request {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
            timeout: asked.min(remaining),
        };
        let began = Instant::now();
        let answer = outside.door.send(&outside.context, request).await;
        summary.took = began.elapsed();
        summary.status = answer.as_ref().ok().map(|response| response.status);
        self.sent.push(summary);
        if answer.as_ref().err().is_none_or(|refusal| refusal.has_left(body_bytes <= self.limits.body_bytes))
        {
            self.bytes_out += body_bytes;
        }
        Ok(match answer {
            Ok(response) => {
                self.bytes_in += response.body.len() as u64;
                Ok(wit_http::Response {
                    status: response.status,
                    headers: response.headers,
                    body: response.body,
                    extensions: Vec::new(),
                })
            }
            Err(refusal) => Err(http_error(&refusal)),
        })
    }
}

fn http_error(refusal: &Refusal) -> wit_http::HttpError {
    use wit_http::HttpError as E;
    let text = refusal.to_string();
    match refusal {
        Refusal::Denied(_) => E::Denied(text),
        Refusal::Invalid(_) => E::Invalid(text),
        Refusal::Limit(_) => E::Limit(text),
        Refusal::Dns(_) => E::Dns(text),
        Refusal::Connect(_) => E::Connect(text),
        Refusal::Tls(_) => E::Tls(text),
        Refusal::Timeout(_) => E::Timeout(text),
        Refusal::Protocol(_) => E::Protocol(text),
    }
}

impl wit_smtp::Host for Guest {
    async fn send(
        &mut self,
        message: wit_smtp::Message,
    ) -> wasmtime::Result<Result<wit_smtp::Reply, wit_smtp::SmtpError>> {
        self.count_call()?;
        if let Err(why) = self.count_request() {
            return Ok(Err(wit_smtp::SmtpError::Limit(why)));
        }
        let timeout = self.remaining();
        let Some(outside) = &self.outside else {
            return Ok(Err(wit_smtp::SmtpError::Denied(CLOSED.to_owned())));
        };
        let password = match &message.server.password_secret {
            None => None,
            Some(name) => match self.secrets.by_name(name) {
                Ok(secret) => Some(secret.clone()),
                Err(error) => return Ok(Err(wit_smtp::SmtpError::Denied(error.to_string()))),
            },
        };
        let context = SmtpContext {
            grants: Arc::clone(&outside.context.grants),
            secrets: Arc::clone(&self.secrets),
            timeout,
        };
        self.bytes_out += mail_bytes(&message);
        let mut summary =
            RequestSummary::of("SMTP", &format!("{}:{}", message.server.host, message.server.port));
        let began = Instant::now();
        let answer = outside.mailer.send(&context, mail(message, password)).await;
        summary.took = began.elapsed();
        summary.status = answer.as_ref().ok().map(|reply| reply.code);
        self.sent.push(summary);
        Ok(match answer {
            Ok(reply) => Ok(wit_smtp::Reply { code: reply.code, text: reply.text }),
            Err(refusal) => Err(smtp_error(refusal)),
        })
    }
}

/// Text, HTML and attachments.
fn mail_bytes(message: &wit_smtp::Message) -> u64 {
    let texts = [&message.text, &message.html].into_iter().flatten().map(String::len);
    let files = message.attachments.iter().map(|file| file.content.len());
    texts.chain(files).sum::<usize>() as u64
}

fn mail(message: wit_smtp::Message, password: Option<crate::secrets::Secret>) -> smtp::Message {
    let mailbox = |mailbox: wit_smtp::Mailbox| smtp::Mailbox { name: mailbox.name, address: mailbox.address };
    let attachment = |file: types::Attachment| smtp::Attachment {
        name: file.name,
        content_type: file.content_type,
        content: file.content,
    };
    let encryption = match message.server.encryption {
        wit_smtp::Encryption::Starttls => smtp::Encryption::Starttls,
        wit_smtp::Encryption::Tls => smtp::Encryption::Tls,
        wit_smtp::Encryption::None => smtp::Encryption::None,
    };
    smtp::Message {
        server: smtp::Server {
            host: message.server.host,
            port: message.server.port,
            encryption,
            username: message.server.username,
            password,
        },
        sender: mailbox(message.sender),
        to: message.to.into_iter().map(mailbox).collect(),
        reply_to: message.reply_to.map(mailbox),
        subject: message.subject,
        message_id: message.message_id,
        text: message.text,
        html: message.html,
        headers: message.headers,
        attachments: message.attachments.into_iter().map(attachment).collect(),
    }
}

fn smtp_error(refusal: SmtpRefusal) -> wit_smtp::SmtpError {
    use wit_smtp::SmtpError as E;
    let text = refusal.to_string();
    match refusal {
        SmtpRefusal::Denied(_) => E::Denied(text),
        SmtpRefusal::Invalid(_) => E::Invalid(text),
        SmtpRefusal::Limit(_) => E::Limit(text),
        SmtpRefusal::Dns(_) => E::Dns(text),
        SmtpRefusal::Connect(_) => E::Connect(text),
        SmtpRefusal::Tls(_) => E::Tls(text),
        SmtpRefusal::Timeout(_) => E::Timeout(text),
        SmtpRefusal::Refused(reply) => E::Refused(wit_smtp::Reply { code: reply.code, text: reply.text }),
        SmtpRefusal::Protocol(_) => E::Protocol(text),
    }
}

impl wit_crypto::Host for Guest {
    fn hmac(
        &mut self,
        secret: String,
        format: wit_crypto::KeyFormat,
        hash: wit_crypto::Hash,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, wit_crypto::CryptoError>> {
        self.count_call()?;
        let format = match format {
            wit_crypto::KeyFormat::Raw => crypto::KeyFormat::Raw,
            wit_crypto::KeyFormat::Base64 => crypto::KeyFormat::Base64,
            wit_crypto::KeyFormat::Hex => crypto::KeyFormat::Hex,
            wit_crypto::KeyFormat::StandardWebhooks => crypto::KeyFormat::StandardWebhooks,
        };
        let hash = match hash {
            wit_crypto::Hash::Sha1 => crypto::Hash::Sha1,
            wit_crypto::Hash::Sha256 => crypto::Hash::Sha256,
            wit_crypto::Hash::Sha512 => crypto::Hash::Sha512,
        };
        let key = match self.secrets.by_name(&secret) {
            Ok(key) => key,
            Err(error) => return Ok(Err(wit_crypto::CryptoError::NoSecret(error.to_string()))),
        };
        let made = crypto::hmac(key, format, hash, &data);
        Ok(made.map_err(|error| wit_crypto::CryptoError::BadKey(error.to_string())))
    }

    fn sign(
        &mut self,
        secret: String,
        algorithm: wit_crypto::Algorithm,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, wit_crypto::CryptoError>> {
        self.count_call()?;
        let algorithm = match algorithm {
            wit_crypto::Algorithm::Ed25519 => crypto::Algorithm::Ed25519,
            wit_crypto::Algorithm::RsaPkcs1Sha256 => crypto::Algorithm::RsaPkcs1Sha256,
            wit_crypto::Algorithm::EcdsaP256Sha256 => crypto::Algorithm::EcdsaP256Sha256,
        };
        let key = match self.secrets.by_name(&secret) {
            Ok(key) => key,
            Err(error) => return Ok(Err(wit_crypto::CryptoError::NoSecret(error.to_string()))),
        };
        let made = crypto::sign(key, algorithm, &data);
        Ok(made.map_err(|error| wit_crypto::CryptoError::BadKey(error.to_string())))
    }
}
