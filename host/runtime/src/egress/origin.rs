//! The grammar of grants, and the origin of a URL in the same terms.
//!
//! `https://host[:port]`, `http://host[:port]`, `https://*.example.org`, `https://*`, literal addresses;
//! `host:port` for mail servers. Parsed once, into types that can only hold what the grammar allows: lower-case
//! ASCII names and canonical addresses. It refuses paths, user names, wildcards over plain `http`, and
//! addresses at which nothing can listen.

use std::fmt;
use std::net::IpAddr;

use url::Url;

use super::address::{canonical, classify};

/// A line of `grants` that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} can't be granted: {problem}; write {examples}")]
pub struct BadGrant {
    text: String,
    problem: String,
    examples: &'static str,
}

const HTTP_EXAMPLES: &str = "https://hooks.example.org, https://hooks.example.org:8443, http://127.0.0.1:9000, \
    https://*.example.org (any subdomain) or https://* (any public address)";
const SMTP_EXAMPLES: &str = "smtp.example.org:587, 127.0.0.1:2525 or [::1]:2525";

impl BadGrant {
    fn http(text: &str, problem: impl Into<String>) -> Self {
        Self { text: text.to_owned(), problem: problem.into(), examples: HTTP_EXAMPLES }
    }

    fn smtp(text: &str, problem: impl Into<String>) -> Self {
        Self { text: text.to_owned(), problem: problem.into(), examples: SMTP_EXAMPLES }
    }
}

/// How HTTP is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("https") {
            return Some(Self::Https);
        }
        text.eq_ignore_ascii_case("http").then_some(Self::Http)
    }

    /// Its name, lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// One host: a name, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name: lower-case ASCII, no dot at the end.
    Name(String),
    /// A literal address, canonical.
    Address(IpAddr),
}

impl Host {
    /// Reads a host as it stands in a URL or a setting: names in any script, addresses with or without brackets.
    ///
    /// # Errors
    ///
    /// A phrase that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(canonical(address)));
        }
        match url::Host::parse(text) {
            Ok(host) => Self::of_url(host),
            Err(error) => Err(format!("{text:?} is no host name ({error})")),
        }
    }

    fn of_url<S: AsRef<str>>(host: url::Host<S>) -> Result<Self, String> {
        match host {
            url::Host::Ipv4(address) => Ok(Self::Address(IpAddr::V4(address))),
            url::Host::Ipv6(address) => Ok(Self::Address(canonical(IpAddr::V6(address)))),
            url::Host::Domain(name) => host_name(name.as_ref()).map(Self::Name),
        }
    }

    fn is_under(&self, parent: &str) -> bool {
        match self {
            Self::Address(_) => false,
            Self::Name(name) => {
                name.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Names as DNS has them. The URL parser lets more through than any resolver or certificate means.
fn host_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    let label_is_good = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    if name.len() > 253 || !name.split('.').all(label_is_good) {
        return Err(format!("{text:?} is no host name"));
    }
    Ok(name)
}

/// Which hosts a grant means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Any host with a public address.
    Any,
    /// Any name below this one, and not this one.
    Under(String),
    /// This one.
    Exactly(Host),
}

/// A granted, or requested, origin or set of origins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginPattern {
    scheme: Scheme,
    host: HostPattern,
    port: u16,
}

impl OriginPattern {
    /// Reads a line of `grants.http`, or of a manifest.
    ///
    /// # Errors
    ///
    /// [`BadGrant`], with what is wrong and how it is written.
    pub fn parse(text: &str) -> Result<Self, BadGrant> {
        let bad = |problem: &str| BadGrant::http(text, problem);
        let (scheme, rest) =
            text.trim().split_once("://").ok_or_else(|| bad("it does not begin with https:// or http://"))?;
        let scheme = Scheme::parse(scheme).ok_or_else(|| bad("only https and http can be granted"))?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(bad("a grant is for a whole origin and has no path"));
        }
        if authority.contains('@') {
            return Err(bad("a grant names no user"));
        }
        let (host, port) = split_port(authority).map_err(|problem| BadGrant::http(text, problem))?;
        let host = host_pattern(host).map_err(|problem| BadGrant::http(text, problem))?;
        let is_wild = !matches!(host, HostPattern::Exactly(_));
        if is_wild && scheme == Scheme::Http {
            return Err(bad("a wildcard needs https, because only certificates tell such hosts apart"));
        }
        Ok(Self { scheme, host, port: port.unwrap_or_else(|| scheme.default_port()) })
    }

    /// The one origin of a URL, as for a manifest that asks for `{settings.url}`.
    ///
    /// # Errors
    ///
    /// [`BadGrant`] where it is no URL of an origin that could be granted.
    pub fn of_url(url: &str) -> Result<Self, BadGrant> {
        let target = Target::parse(url).map_err(|problem| BadGrant::http(url, problem))?;
        Ok(Self { scheme: target.scheme, host: HostPattern::Exactly(target.host), port: target.port })
    }

    /// The hosts that are meant.
    #[must_use]
    pub fn host(&self) -> &HostPattern {
        &self.host
    }

    /// Whether the target is one of those meant. The address behind a name is another question.
    #[must_use]
    pub fn matches(&self, target: &Target) -> bool {
        self.scheme == target.scheme
            && self.port == target.port
            && match &self.host {
                HostPattern::Any => is_name_or_public(&target.host),
                HostPattern::Under(parent) => target.host.is_under(parent),
                HostPattern::Exactly(host) => *host == target.host,
            }
    }

    /// Whether everything that `requested` means is meant by this one too.
    #[must_use]
    pub fn covers(&self, requested: &Self) -> bool {
        self.scheme == requested.scheme
            && self.port == requested.port
            && match (&self.host, &requested.host) {
                (HostPattern::Any, HostPattern::Exactly(host)) => is_name_or_public(host),
                (HostPattern::Any, _) => true,
                (HostPattern::Under(parent), HostPattern::Under(child)) => {
                    parent == child || Host::Name(child.clone()).is_under(parent)
                }
                (HostPattern::Under(parent), HostPattern::Exactly(host)) => host.is_under(parent),
                (HostPattern::Exactly(granted), HostPattern::Exactly(host)) => granted == host,
                (HostPattern::Under(_) | HostPattern::Exactly(_), _) => false,
            }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            HostPattern::Any => f.write_str("*")?,
            HostPattern::Under(parent) => write!(f, "*.{parent}")?,
            HostPattern::Exactly(host) => write!(f, "{host}")?,
        }
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

fn is_name_or_public(host: &Host) -> bool {
    match host {
        Host::Name(_) => true,
        Host::Address(address) => classify(*address) == super::AddressClass::Public,
    }
}

fn host_pattern(text: &str) -> Result<HostPattern, String> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some(parent) = text.strip_prefix("*.") {
        return match Host::parse(parent)? {
            Host::Name(name) => Ok(HostPattern::Under(name)),
            Host::Address(_) => Err("an address has no subdomains".to_owned()),
        };
    }
    if text.contains('*') {
        return Err("a * stands for the whole host, or for whole labels at its beginning".to_owned());
    }
    granted_host(text).map(HostPattern::Exactly)
}

fn granted_host(text: &str) -> Result<Host, String> {
    let host = Host::parse(text)?;
    if let Host::Address(address) = &host {
        let class = classify(*address);
        if !class.is_destination() {
            return Err(format!("{address} is {class}, which is no destination"));
        }
    }
    Ok(host)
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    let after_brackets = authority.rfind(']').map_or(0, |end| end + 1);
    let colon = authority.get(after_brackets..).and_then(|tail| tail.rfind(':'));
    let Some(colon) = colon.map(|at| at + after_brackets) else { return Ok((authority, None)) };
    let (host, port) = authority.split_at(colon);
    let digits = port.get(1..).unwrap_or_default();
    match digits.parse::<u16>() {
        Ok(port) if port > 0 && digits.bytes().all(|c| c.is_ascii_digit()) => Ok((host, Some(port))),
        _ => Err(format!("{digits:?} is no port from 1 to 65535")),
    }
}

/// A granted mail server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerPattern {
    host: Host,
    port: u16,
}

impl ServerPattern {
    /// Reads a line of `grants.smtp`, or of a manifest.
    ///
    /// # Errors
    ///
    /// [`BadGrant`], with what is wrong and how it is written.
    pub fn parse(text: &str) -> Result<Self, BadGrant> {
        let bad = |problem: String| BadGrant::smtp(text, problem);
        let text = text.trim();
        if text.contains("://") {
            return Err(bad("a mail server has no scheme".to_owned()));
        }
        let (host, port) = split_port(text).map_err(bad)?;
        let port = port.ok_or_else(|| bad("the port is missing".to_owned()))?;
        Ok(Self { host: granted_host(host).map_err(bad)?, port })
    }

    /// One server, from its parts.
    #[must_use]
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for ServerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where a request goes: a URL, parsed by the rules of browsers and brought to one form.
#[derive(Clone, Debug)]
pub struct Target {
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) url: Url,
}

impl Target {
    /// Reads an absolute `http` or `https` URL.
    ///
    /// # Errors
    ///
    /// A phrase that says what is wrong. It does not repeat the URL, whose path may be confidential.
    pub fn parse(url: &str) -> Result<Self, String> {
        let parsed = Url::parse(url).map_err(|error| format!("the URL can't be read ({error})"))?;
        let scheme = Scheme::parse(parsed.scheme()).ok_or_else(|| {
            format!("the URL's scheme is {:?}; only https and http are carried", parsed.scheme())
        })?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("the URL names a user; send an authorization header instead".to_owned());
        }
        let host = parsed.host().ok_or_else(|| "the URL has no host".to_owned())?;
        let host = Host::of_url(host).map_err(|problem| format!("the URL's host {problem}"))?;
        let port = parsed.port().unwrap_or_else(|| scheme.default_port());
        if port == 0 {
            return Err("the URL's port is 0".to_owned());
        }
        Ok(Self { scheme, host, port, url: parsed })
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// `host`, or `host:port` where the port is not the scheme's own.
    pub(super) fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            return self.host.to_string();
        }
        format!("{}:{}", self.host, self.port)
    }
}

/// The origin alone, as it would be granted.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}
