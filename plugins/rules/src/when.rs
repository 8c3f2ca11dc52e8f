//! When a rule holds: every condition that it gives.

use std::collections::BTreeMap;

use fanfare_sdk::prelude::*;

use crate::data::Condition;
use crate::glob::Glob;
use crate::time::Window;

/// The conditions of a rule; one without any always holds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct When {
    /// Event types; `*` stands for any run of characters, dots included.
    r#type: Option<OneOrMore<Glob>>,
    priority: Option<OneOrMore<Level>>,
    /// User ids, with `*`. A rule that names users holds for nobody else.
    user: Option<OneOrMore<Glob>>,
    /// Fields of `data` by dotted path.
    data: BTreeMap<String, Condition>,
    /// A window in the day.
    time: Option<Window>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Level {
    Critical,
    High,
    Normal,
    Low,
}

impl<T> OneOrMore<T> {
    fn any(&self, fits: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::One(one) => fits(one),
            Self::More(list) => list.iter().any(fits),
        }
    }
}

impl Level {
    fn is(self, priority: Priority) -> bool {
        let own = match self {
            Self::Critical => Priority::Critical,
            Self::High => Priority::High,
            Self::Normal => Priority::Normal,
            Self::Low => Priority::Low,
        };
        own == priority
    }
}

/// What rules look at, parsed once for all of them.
pub(crate) struct Facts<'a> {
    pub(crate) notification: &'a Notification,
    pub(crate) data: Value,
    pub(crate) now_ms: u64,
}

impl When {
    /// Whether it holds for this user, or for the notification by itself.
    pub(crate) fn holds(&self, facts: &Facts<'_>, user: Option<&str>) -> bool {
        let notification = facts.notification;
        self.r#type.as_ref().is_none_or(|types| types.any(|glob| glob.matches(&notification.event_type)))
            && self.priority.as_ref().is_none_or(|list| list.any(|level| level.is(notification.priority)))
            && self
                .user
                .as_ref()
                .is_none_or(|users| user.is_some_and(|user| users.any(|glob| glob.matches(user))))
            && self.data.iter().all(|(path, condition)| condition.holds(&facts.data, path))
            && self.time.as_ref().is_none_or(|window| window.contains(facts.now_ms))
    }
}
