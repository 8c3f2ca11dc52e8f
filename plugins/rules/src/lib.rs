//! `rules`: routing by declarative rules. What matches goes to these channels, and the rule's name is the reason.
//!
//! Rules are tried in order for each user that the notification names, or once where it names none; `mode` says whether
//! the first match decides or all do. A user is reached through their own contact for a channel: where there is none
//! nothing is sent there, and a note in the trace says so. A notification without users goes to the channels' own
//! destinations. It decides from its arguments and settings alone, so that a decision can be replayed.

mod data;
mod delay;
mod glob;
mod time;
mod when;

use std::collections::BTreeSet;

use fanfare_sdk::prelude::*;

use delay::Delay;
use when::{Facts, When};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rules {
    /// Tried in order.
    rules: Vec<Rule>,
    /// Whether the first match decides, or all do.
    #[serde(default)]
    mode: Mode,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    First,
    All,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// The reason of its deliveries in the trace.
    name: String,
    /// Every condition has to hold; without any it always holds.
    #[serde(default)]
    when: When,
    then: Then,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Then {
    /// Where it goes; none for nowhere.
    channels: Vec<String>,
    /// Not before this long from now, such as `5m`.
    #[serde(default)]
    delay: Delay,
    /// Replaces the channels' own destinations, and users' contacts.
    address: Option<String>,
    /// Whether each channel is sent only once all before it are dead.
    #[serde(default)]
    fallback: bool,
}

impl Router for Rules {
    fn route(&self, notification: &Notification, people: &[Person], now_ms: u64) -> Result<Plan, Fault> {
        let facts = Facts { notification, data: notification.data.parse(), now_ms };
        let mut decision = Decision::default();
        if people.is_empty() {
            self.decide(&facts, None, &mut decision);
        }
        for person in people {
            self.decide(&facts, Some(person), &mut decision);
        }
        Ok(decision.plan)
    }

    fn check(&self) -> Result<(), Fault> {
        let mut names = BTreeSet::new();
        for rule in &self.rules {
            if rule.name.trim().is_empty() {
                return Err(Fault::new("bad-rule", "a rule has no name: the trace gives it as the reason"));
            }
            if !names.insert(&rule.name) {
                return Err(Fault::new("bad-rule", format!("two rules are called {:?}", rule.name)));
            }
        }
        Ok(())
    }
}

/// A plan in the making, and what is in it already: a second rule must not send the same again.
#[derive(Default)]
struct Decision {
    plan: Plan,
    seen: BTreeSet<(String, Option<String>, Option<String>)>,
}

impl Rules {
    fn decide(&self, facts: &Facts<'_>, person: Option<&Person>, decision: &mut Decision) {
        let user = person.and_then(|person| person.recipient.user.as_deref());
        let mut matching = self.rules.iter().filter(|rule| rule.when.holds(facts, user)).peekable();
        if matching.peek().is_none() {
            let whom = user.map(|user| format!(" for user {user}")).unwrap_or_default();
            decision.plan.notes.push(format!("no rule matches{whom}"));
        }
        let count = if self.mode == Mode::First { 1 } else { usize::MAX };
        for rule in matching.take(count) {
            rule.apply(person, decision);
        }
    }
}

impl Rule {
    fn apply(&self, person: Option<&Person>, decision: &mut Decision) {
        let name = &self.name;
        if self.then.channels.is_empty() {
            decision.plan.notes.push(format!("rule {name} sends nothing"));
        }
        for (order, channel) in (0..).zip(&self.then.channels) {
            let mut target = Target::new(channel, format!("rule {name}")).delay_ms(self.then.delay.ms);
            if self.then.fallback {
                target = target.fallback_order(order);
            }
            if let Some(person) = person {
                let user = person.recipient.user.as_deref().unwrap_or("?");
                match (person.contact(channel), &self.then.address) {
                    (Some(contact), _) => target = target.to(person, contact),
                    (None, Some(_)) => target.user.clone_from(&person.recipient.user),
                    (None, None) => {
                        let note = format!("rule {name}: user {user} has no contact for channel {channel}");
                        decision.plan.notes.push(note);
                        continue;
                    }
                }
            }
            if self.then.address.is_some() {
                target.address.clone_from(&self.then.address);
            }
            if decision.seen.insert((target.channel.clone(), target.user.clone(), target.address.clone())) {
                decision.plan.targets.push(target);
            }
        }
    }
}

fanfare_sdk::router!(Rules);

#[cfg(test)]
mod tests;
