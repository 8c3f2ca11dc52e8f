//! What a channel may reach, and the line that would let it reach more.

use std::fmt::Write as _;

use super::address::{AddressClass, classify};
use super::origin::{BadGrant, Host, HostPattern, OriginPattern, ServerPattern, Target};

/// A channel's grants. The default grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Origins for HTTP.
    pub http: Vec<OriginPattern>,
    /// Mail servers.
    pub smtp: Vec<ServerPattern>,
    /// Whether a granted name may resolve to a loopback or private address.
    pub allow_private: bool,
}

/// Which addresses a connection may be opened to. Connections of different policies are pooled apart, so
/// that no channel rides on a connection that it could not have opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressPolicy {
    /// The host is an address, and granted as such: no name is resolved.
    Literal,
    /// A name that must resolve to a public address.
    Public,
    /// A name that may also resolve to a loopback or private address.
    Private,
}

impl AddressPolicy {
    /// Whether a name's address may be connected to.
    #[must_use]
    pub fn permits(self, class: AddressClass) -> bool {
        match self {
            Self::Literal | Self::Public => class == AddressClass::Public,
            Self::Private => class.opens_with_allow_private(),
        }
    }
}

impl Grants {
    /// Reads the lists of a configuration's `grants`.
    ///
    /// # Errors
    ///
    /// The first line that is no grant.
    pub fn parse(http: &[String], smtp: &[String], allow_private: bool) -> Result<Self, BadGrant> {
        let http = http.iter().map(|text| OriginPattern::parse(text)).collect::<Result<_, _>>()?;
        let smtp = smtp.iter().map(|text| ServerPattern::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { http, smtp, allow_private })
    }

    /// Whether the target is granted, and to which addresses a connection for it may then go.
    #[must_use]
    pub fn allows_http(&self, target: &Target) -> Option<AddressPolicy> {
        let mut granted = None;
        for pattern in self.http.iter().filter(|pattern| pattern.matches(target)) {
            let policy = self.policy(target.host(), matches!(pattern.host(), HostPattern::Any));
            if granted != Some(AddressPolicy::Private) {
                granted = Some(policy);
            }
        }
        granted
    }

    /// Whether the mail server is granted, and to which addresses a connection for it may then go.
    #[must_use]
    pub fn allows_smtp(&self, server: &ServerPattern) -> Option<AddressPolicy> {
        self.smtp.contains(server).then(|| self.policy(server.host(), false))
    }

    /// `https://*` means public addresses whatever `allow_private` says.
    fn policy(&self, host: &Host, is_any: bool) -> AddressPolicy {
        match host {
            Host::Address(_) => AddressPolicy::Literal,
            Host::Name(_) if self.allow_private && !is_any => AddressPolicy::Private,
            Host::Name(_) => AddressPolicy::Public,
        }
    }

    /// Whether an origin is granted by more than `https://*`: the places that secrets may go to unless they
    /// say otherwise. With an address chosen by a submitter, `https://*` would hand them to anyone.
    #[must_use]
    pub fn names(&self, target: &Target) -> bool {
        self.http.iter().any(|pattern| !matches!(pattern.host(), HostPattern::Any) && pattern.matches(target))
    }

    /// Whether everything that a manifest asks for is granted.
    #[must_use]
    pub fn covers(&self, requested: &OriginPattern) -> bool {
        self.http.iter().any(|pattern| pattern.covers(requested))
    }

    /// Whether the mail server that a manifest asks for is granted.
    #[must_use]
    pub fn covers_smtp(&self, requested: &ServerPattern) -> bool {
        self.smtp.contains(requested)
    }

    /// The whole line for the configuration, with these grants and one more: grants replace, so what is there
    /// must be in it.
    #[must_use]
    pub fn line_with_http(&self, origin: &str) -> String {
        self.line(Some(origin), None, self.allow_private)
    }

    /// The same with a mail server more.
    #[must_use]
    pub fn line_with_smtp(&self, server: &str) -> String {
        self.line(None, Some(server), self.allow_private)
    }

    /// The same with private addresses allowed.
    #[must_use]
    pub fn line_with_private(&self) -> String {
        self.line(None, None, true)
    }

    fn line(&self, http: Option<&str>, smtp: Option<&str>, allow_private: bool) -> String {
        let mut parts = Vec::new();
        let http = quoted(self.http.iter().map(ToString::to_string).chain(http.map(str::to_owned)));
        if !http.is_empty() {
            parts.push(format!("http = [{http}]"));
        }
        let smtp = quoted(self.smtp.iter().map(ToString::to_string).chain(smtp.map(str::to_owned)));
        if !smtp.is_empty() {
            parts.push(format!("smtp = [{smtp}]"));
        }
        if allow_private {
            parts.push("allow_private = true".to_owned());
        }
        format!("grants = {{ {} }}", parts.join(", "))
    }
}

fn quoted(items: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for item in items {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string can't fail.
        let _ = write!(text, "{comma}\"{item}\"");
    }
    text
}

/// Whether a literal address is public, for the sentence of a refusal.
pub(super) fn class_of(host: &Host) -> Option<AddressClass> {
    match host {
        Host::Address(address) => Some(classify(*address)),
        Host::Name(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(http: &[&str], allow_private: bool) -> Grants {
        let http: Vec<String> = http.iter().map(|&text| text.to_owned()).collect();
        Grants::parse(&http, &[], allow_private).unwrap()
    }

    fn allowed(grants: &Grants, url: &str) -> Option<AddressPolicy> {
        grants.allows_http(&Target::parse(url).unwrap())
    }

    #[test]
    fn nothing_is_granted_by_default() {
        assert_eq!(allowed(&Grants::default(), "https://example.org"), None);
    }

    #[test]
    fn a_literal_address_grants_that_address_alone() {
        let grants = grants(&["http://127.0.0.1:9000"], false);
        assert_eq!(allowed(&grants, "http://127.0.0.1:9000/a"), Some(AddressPolicy::Literal));
        assert_eq!(allowed(&grants, "http://127.0.0.1:9001/a"), None);
        assert_eq!(allowed(&grants, "http://localhost:9000/a"), None);
    }

    #[test]
    fn any_https_stays_public_even_where_private_names_are_allowed() {
        let grants = grants(&["https://internal.example", "https://*"], true);
        assert_eq!(allowed(&grants, "https://internal.example"), Some(AddressPolicy::Private));
        assert_eq!(allowed(&grants, "https://elsewhere.example"), Some(AddressPolicy::Public));
    }

    #[test]
    fn the_line_to_paste_keeps_what_is_granted() {
        let mut grants = grants(&["http://127.0.0.1:9000"], true);
        grants.smtp.push(ServerPattern::parse("smtp.example.org:587").unwrap());
        assert_eq!(
            grants.line_with_http("https://a.example"),
            "grants = { http = [\"http://127.0.0.1:9000\", \"https://a.example\"], \
             smtp = [\"smtp.example.org:587\"], allow_private = true }"
        );
        assert_eq!(Grants::default().line_with_smtp("[::1]:25"), "grants = { smtp = [\"[::1]:25\"] }");
    }
}
