//! What a router is given and answers.

use serde::Serialize;

use crate::attempt::{Extensions, Recipient};

/// A way to reach a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// The channel.
    pub channel: String,
    /// Where it reaches them; none for the channel's own destination.
    pub address: Option<String>,
}

/// A user that the notification names, with the ways to reach them in order of preference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Who it is.
    pub recipient: Recipient,
    /// How to reach them.
    pub contacts: Vec<Contact>,
    /// What later hosts add.
    pub extensions: Extensions,
}

impl Person {
    /// The way to reach them through `channel`.
    #[must_use]
    pub fn contact(&self, channel: &str) -> Option<&Contact> {
        self.contacts.iter().find(|contact| contact.channel == channel)
    }
}

/// One delivery to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The channel that carries it.
    pub channel: String,
    /// Which of the given people it is for; none for the channel's own destination.
    pub user: Option<String>,
    /// Replaces the channel's own destination.
    pub address: Option<String>,
    /// Not before so many milliseconds from now.
    pub delay_ms: u64,
    /// 0 is sent at once; a higher number only when all lower ones of the same user have died.
    pub fallback_order: u32,
    /// Why, for the trace; such as the rule's name.
    pub reason: String,
    /// For later hosts.
    pub extensions: Extensions,
}

impl Target {
    /// To the channel's own destination, at once.
    pub fn new(channel: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { channel: channel.into(), reason: reason.into(), ..Self::default() }
    }

    /// For this person, through their contact.
    #[must_use]
    pub fn to(mut self, person: &Person, contact: &Contact) -> Self {
        self.user.clone_from(&person.recipient.user);
        self.address.clone_from(&contact.address);
        self
    }

    /// Not before so many milliseconds from now.
    #[must_use]
    pub fn delay_ms(mut self, delay_ms: u64) -> Self {
        self.delay_ms = delay_ms;
        self
    }

    /// Sent only when all targets of the same user with a lower order have died.
    #[must_use]
    pub fn fallback_order(mut self, order: u32) -> Self {
        self.fallback_order = order;
        self
    }
}

/// The deliveries to make. An empty plan suppresses the notification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The deliveries.
    pub targets: Vec<Target>,
    /// Decisions about the notification as a whole, for the trace.
    pub notes: Vec<String>,
    /// For later hosts.
    pub extensions: Extensions,
}

impl Plan {
    /// Nothing to do, and why.
    pub fn nothing(note: impl Into<String>) -> Self {
        Self { notes: vec![note.into()], ..Self::default() }
    }
}

impl FromIterator<Target> for Plan {
    fn from_iter<I: IntoIterator<Item = Target>>(targets: I) -> Self {
        Self { targets: targets.into_iter().collect(), ..Self::default() }
    }
}
