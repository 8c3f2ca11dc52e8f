//! Sends one mail: route, connection, exchange, and what an error means.

use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::Error as LettreError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;

use super::message;
use super::pool::{Account, Key, Pool, TlsNames};
use super::{Encryption, Message, Reply, Server, SmtpContext, SmtpRefusal};
use crate::egress::{
    AddressClass, AddressPolicy, Denial, DialError, Grants, Host, Resolve, Roots, ServerPattern,
    SystemResolver, cause, classify, permitted,
};
use crate::rehearsal::{Script, SentMail};
use crate::secrets::Place;

/// What a mailer is built with.
#[derive(Clone)]
pub struct MailerOptions {
    /// Turns names into addresses.
    pub resolver: Arc<dyn Resolve>,
    /// Whom to trust.
    pub roots: Roots,
    /// Time for connecting to one address.
    pub connect_timeout: Duration,
    /// The longest mail, encoded, in bytes.
    pub message_bytes_max: usize,
    /// Idle connections kept, over all servers.
    pub idle_max: usize,
    /// Idle connections are closed after this.
    pub idle_timeout: Duration,
    /// Answers in place of the network, once a mail was found good and granted.
    pub script: Option<Arc<dyn Script>>,
}

impl Default for MailerOptions {
    fn default() -> Self {
        Self {
            resolver: Arc::new(SystemResolver),
            roots: Roots::System,
            connect_timeout: Duration::from_secs(5),
            message_bytes_max: 16 * 1024 * 1024,
            idle_max: 64,
            idle_timeout: Duration::from_secs(30),
            script: None,
        }
    }
}

/// Sends mail. Cheap to clone; clones share the pool.
#[derive(Clone)]
pub struct Mailer {
    options: Arc<MailerOptions>,
    pool: Pool,
    tls_names: Arc<TlsNames>,
}

impl Mailer {
    /// A mailer with its own, empty pool.
    #[must_use]
    pub fn new(options: MailerOptions) -> Self {
        let pool = Pool::new(options.idle_max, options.idle_timeout);
        let tls_names = Arc::new(TlsNames::new(options.roots.clone()));
        Self { options: Arc::new(options), pool, tls_names }
    }

    /// Sends one mail, if its server is granted. A call that is dropped closes its connection.
    ///
    /// # Errors
    ///
    /// [`SmtpRefusal`], with every secret of the context masked.
    pub async fn send(&self, context: &SmtpContext, message: Message) -> Result<Reply, SmtpRefusal> {
        let limit = context.timeout;
        // Boxed, because lettre's futures are large and this one lives inside a guest's fiber.
        let work = Box::pin(self.carry(context, message));
        let late = || {
            SmtpRefusal::Timeout(format!("the mail server did not finish within {} ms", limit.as_millis()))
        };
        let sent = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()));
        let masked = |reply: Reply| Reply { code: reply.code, text: context.secrets.mask_text(reply.text) };
        match sent {
            Ok(reply) => Ok(masked(reply)),
            Err(SmtpRefusal::Refused(reply)) => Err(SmtpRefusal::Refused(masked(reply))),
            Err(SmtpRefusal::Protocol(text)) => Err(SmtpRefusal::Protocol(context.secrets.mask_text(text))),
            Err(other) => Err(other),
        }
    }

    async fn carry(&self, context: &SmtpContext, message: Message) -> Result<Reply, SmtpRefusal> {
        let route = Route::of(context, &message.server)?;
        let built = message::build(&message)?;
        let formatted = built.formatted();
        let max = self.options.message_bytes_max;
        if formatted.len() > max {
            let sentence = format!("a mail of {} bytes, encoded; at most {max} are carried", formatted.len());
            return Err(SmtpRefusal::Limit(sentence));
        }
        let account = account(context, &message.server)?;
        if let Some(script) = &self.options.script {
            let to = built.envelope().to().iter().map(ToString::to_string).collect();
            let message = context.secrets.mask(formatted);
            return script.mail(SentMail { server: route.place.to_string(), to, message });
        }
        let key = Key::new(&route.place, route.policy, route.encryption, account.as_ref());
        let (mut connection, mails) = match self.pool.take(&key).await {
            Some(idle) => idle,
            None => (self.connect(context, &route, account).await?, 0),
        };
        let answer = connection.send(built.envelope(), &formatted).await;
        let answer = answer.map_err(|error| explain(&error, &route.place))?;
        self.pool.put(key, connection, mails.saturating_add(1));
        let text: Vec<&str> = answer.message().collect();
        Ok(Reply { code: u16::from(answer.code()), text: text.join(" ") })
    }

    async fn connect(
        &self,
        context: &SmtpContext,
        route: &Route,
        account: Option<Account>,
    ) -> Result<AsyncSmtpConnection, SmtpRefusal> {
        let place = &route.place;
        let found = permitted(&*self.options.resolver, place.host(), place.port(), route.policy);
        let addresses = found.await.map_err(|error| of_dial(error, &context.grants, place))?;
        let leaves = addresses.iter().any(|address| classify(address.ip()) != AddressClass::Loopback);
        if account.is_some() && route.encryption == Encryption::None && leaves {
            return Err(SmtpRefusal::Denied(Denial::PasswordInClear { place: place.to_string() }));
        }
        let failed = |error: LettreError| explain(&error, place);
        let tls = match route.encryption {
            Encryption::None => None,
            Encryption::Starttls | Encryption::Tls => Some(self.tls(place.host()).await?),
        };
        let hello = ClientId::default();
        let timeout = Some(self.options.connect_timeout);
        let from_the_start = tls.clone().filter(|_| route.encryption == Encryption::Tls);
        let opened =
            AsyncSmtpConnection::connect_tokio1(addresses.as_slice(), timeout, &hello, from_the_start, None)
                .await;
        let mut connection = opened.map_err(failed)?;
        if let (Encryption::Starttls, Some(tls)) = (route.encryption, tls) {
            if !connection.can_starttls() {
                return Err(SmtpRefusal::Tls(format!(
                    "{place} does not offer STARTTLS; set encryption to \"tls\" if it speaks TLS from the start"
                )));
            }
            connection.starttls(tls, &hello).await.map_err(failed)?;
        }
        if let Some(Account { username, password }) = account {
            let credentials = Credentials::new(username, password.expose().to_owned());
            connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await.map_err(failed)?;
        }
        Ok(connection)
    }

    /// Off the executor, because a name's first configuration reads the system's certificates.
    async fn tls(&self, host: &Host) -> Result<TlsParameters, SmtpRefusal> {
        let (names, name) = (Arc::clone(&self.tls_names), host.clone());
        let built =
            tokio::task::spawn_blocking(move || names.get(&name).map_err(|error| error.to_string())).await;
        let built = built.map_err(|error| error.to_string()).and_then(|built| built);
        built.map_err(|error| SmtpRefusal::Tls(format!("TLS can't be set up for {host}: {error}")))
    }
}

/// A granted server.
struct Route {
    place: ServerPattern,
    policy: AddressPolicy,
    encryption: Encryption,
}

impl Route {
    fn of(context: &SmtpContext, server: &Server) -> Result<Self, SmtpRefusal> {
        let host = Host::parse(&server.host)
            .map_err(|problem| SmtpRefusal::Invalid(format!("the mail server {problem}")))?;
        let place = ServerPattern::new(host, server.port);
        let Some(policy) = context.grants.allows_smtp(&place) else {
            let line = context.grants.line_with_smtp(&place.to_string());
            return Err(SmtpRefusal::Denied(Denial::NotGranted { place: place.to_string(), line }));
        };
        Ok(Self { place, policy, encryption: server.encryption })
    }
}

fn account(context: &SmtpContext, server: &Server) -> Result<Option<Account>, SmtpRefusal> {
    let invalid = |sentence: &str| SmtpRefusal::Invalid(sentence.to_owned());
    match (&server.username, &server.password) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(invalid("there is a password and no username; set both or neither")),
        (Some(_), None) => Err(invalid("there is a username and no password; set both or neither")),
        (Some(username), Some(password)) => {
            // A secret that is bound to origins is for those, and a mail server is none.
            let unbound = |entry: &crate::secrets::SecretEntry| entry.origins.is_none();
            let filled = context.secrets.fill(username.clone().into_bytes(), Place::Header, &unbound);
            let filled = filled.ok().and_then(|(bytes, _)| String::from_utf8(bytes).ok());
            let username =
                filled.ok_or_else(|| invalid("the secret in the username can't be used for mail"))?;
            Ok(Some(Account { username, password: password.clone() }))
        }
    }
}

fn of_dial(error: DialError, grants: &Grants, place: &ServerPattern) -> SmtpRefusal {
    match error {
        DialError::Dns(reason) => SmtpRefusal::Dns(format!("{} has no address: {reason}", place.host())),
        DialError::Forbidden { address, class } => {
            let literal = ServerPattern::new(Host::Address(address), place.port()).to_string();
            let opens = class.opens_with_allow_private();
            let line = if opens { grants.line_with_private() } else { grants.line_with_smtp(&literal) };
            SmtpRefusal::Denied(Denial::Address { place: place.to_string(), address, class, line })
        }
        DialError::Connect(_) | DialError::Full(_) => {
            SmtpRefusal::Connect(format!("no connection to {place}: {error}"))
        }
    }
}

/// What lettre's error means.
fn explain(error: &LettreError, place: &ServerPattern) -> SmtpRefusal {
    let reason = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    if let Some(code) = error.status() {
        return SmtpRefusal::Refused(Reply { code: u16::from(code), text: reason });
    }
    if error.is_tls() || cause::<rustls::Error>(error).is_some() {
        return SmtpRefusal::Tls(format!("no trusted connection to {place}: {reason}"));
    }
    if error.is_client() {
        return SmtpRefusal::Protocol(format!("{place} can't take this mail: {reason}"));
    }
    if error.is_response() {
        return SmtpRefusal::Protocol(format!("{place} answered something that is no SMTP: {reason}"));
    }
    let refused = cause::<std::io::Error>(error).map(std::io::Error::kind);
    match refused {
        Some(std::io::ErrorKind::ConnectionRefused) => {
            SmtpRefusal::Connect(format!("no connection to {place}: connection refused"))
        }
        Some(std::io::ErrorKind::TimedOut) => {
            SmtpRefusal::Connect(format!("no connection to {place}: no answer in time"))
        }
        _ => SmtpRefusal::Connect(format!("the connection to {place} failed: {reason}")),
    }
}
