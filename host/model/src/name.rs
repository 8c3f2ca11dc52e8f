//! Names that people give: channels, users, event types. Parsed once, at the edge.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A name that breaks its own rule, and the rule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a valid {what}: {rule}")]
pub struct BadName {
    /// What was to be named.
    pub what: &'static str,
    /// The text that was given.
    pub text: String,
    /// What a name has to look like.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    return Ok(Self(Arc::from(text)));
                }
                // A hostile name must not flood the error that quotes it.
                let text = text.chars().take(80).collect();
                Err(BadName { what: $what, text, rule: $rule })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn slug(text: &str) -> bool {
    let all = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    (1..=64).contains(&text.len())
        && text.chars().all(all)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn dotted(text: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    text.len() <= 128 && text.split('.').all(part)
}

name!(
    /// A configured use of a channel plugin, such as `ops-hook`.
    ChannelName,
    "channel name",
    "1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit",
    slug
);

name!(
    /// A person or system that receives, as the configuration names it.
    UserId,
    "user id",
    "1 to 128 printable characters without spaces",
    |text| (1..=128).contains(&text.len())
        && text.chars().all(|c| !c.is_control() && !c.is_whitespace())
);

name!(
    /// What kind of event a notification tells of: words joined by dots, such as `payment.failed`.
    EventType,
    "event type",
    "words of letters, digits, - and _, joined by dots, 128 bytes at most, such as payment.failed",
    dotted
);

/// The channel that a notification's own routing is booked under when it fails for good. The parentheses
/// keep it apart from every name that the configuration can give.
pub const ROUTER_LANE: &str = "(router)";

impl ChannelName {
    /// The reserved name under which unrouted notifications wait and die.
    #[must_use]
    pub fn router() -> Self {
        Self(Arc::from(ROUTER_LANE))
    }

    /// Whether this is the reserved name.
    #[must_use]
    pub fn is_router(&self) -> bool {
        &*self.0 == ROUTER_LANE
    }

    /// From the store, where only names that were valid are written.
    #[must_use]
    pub fn stored(text: &str) -> Option<Self> {
        if text == ROUTER_LANE { Some(Self::router()) } else { text.parse().ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rule_and_say_it() {
        assert!("ops-hook_2".parse::<ChannelName>().is_ok());
        for text in ["", "-a", "Ops", "a b", "(router)", &"a".repeat(65)] {
            let error = text.parse::<ChannelName>().unwrap_err();
            assert!(error.to_string().contains("1 to 64 of a-z"), "{error}");
        }
        assert!("payment.failed.v2".parse::<EventType>().is_ok());
        for text in ["", ".", "a..b", "a.", "a b", "결제"] {
            assert!(text.parse::<EventType>().is_err(), "{text}");
        }
        assert!("alice@example.org".parse::<UserId>().is_ok());
        assert!("two words".parse::<UserId>().is_err());
    }
}
