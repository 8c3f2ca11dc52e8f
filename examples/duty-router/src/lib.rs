//! A router: what is critical goes to people every way they can be reached, the rest by their first choice.

use fanfare_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
struct Duty {
    /// Who hears of what names nobody.
    fallback: String,
}

impl Router for Duty {
    fn route(&self, notification: &Notification, people: &[Person], _: u64) -> Result<Plan, Fault> {
        if people.is_empty() {
            return Ok([Target::new(&self.fallback, "nobody is named")].into_iter().collect());
        }
        let critical = notification.priority == Priority::Critical;
        let (ways, reason) = if critical { (usize::MAX, "critical: every way") } else { (1, "first choice") };
        let targets = people.iter().flat_map(|person| {
            person
                .contacts
                .iter()
                .take(ways)
                .map(move |way| Target::new(&way.channel, reason).to(person, way))
        });
        Ok(targets.collect())
    }
}

fanfare_sdk::router!(Duty);

#[cfg(test)]
mod tests;
