//! The cases of routers.

use std::sync::Arc;

use fanfare_model::name::ChannelName;
use fanfare_model::notification::Notification;
use fanfare_model::text::plain;
use fanfare_model::time::Timestamp;
use fanfare_runtime::{Contact, Person, Plan, RouteReport, RouterGeneration};

use super::super::failure::Failure;
use super::super::input::NOW_MS;
use super::super::rig::Rig;
use super::super::run::is_of_host;
use super::{Verdict, Verdicts, cut, texts};

/// As many as a notification may name.
const PEOPLE_MAX: usize = 100;

/// Moments at which calendars are odd, in milliseconds.
const MOMENTS: [(&str, u64); 7] = [
    ("epoch", 0),
    ("leap-day", 1_709_164_800_000),
    ("midnight-in-seoul", 1_795_186_800_000),
    ("spring-forward-in-new-york", 1_772_953_200_000),
    ("fall-back-in-berlin", 1_792_890_000_000),
    ("new-year", 1_798_761_599_999),
    ("year-9999", 253_402_214_400_000),
];

/// All cases whose names begin with `only`.
pub(super) async fn suite(rig: &Rig, generation: &RouterGeneration, only: &str) -> Result<Verdicts, Failure> {
    let plain = rig.input.notification()?;
    let given = rig.input.people()?;
    let ann = given.first().cloned().map_or_else(ann, Ok)?;
    let now = Timestamp::from_ms(NOW_MS);
    let mut cases: Vec<(String, Notification, Vec<Person>, Timestamp)> = Vec::new();
    for (name, notification) in texts::notifications(&plain) {
        cases.push((name.clone(), notification.clone(), vec![ann.clone()], now));
        cases.push((format!("{name}-to-nobody"), notification, Vec::new(), now));
    }
    for (name, people) in people(&ann)? {
        cases.push((format!("people/{name}"), plain.clone(), people, now));
    }
    if !given.is_empty() {
        cases.push(("people/given".to_owned(), plain.clone(), given, now));
    }
    for (name, ms) in MOMENTS {
        cases.push((format!("moment/{name}"), plain.clone(), vec![ann.clone()], Timestamp::from_ms(ms)));
    }
    let mut verdicts = Verdicts::default();
    for (name, about, people, now) in cases {
        if !name.starts_with(only) || verdicts.is_over() {
            continue;
        }
        let about = Arc::new(about);
        let one = generation.decide(Arc::clone(&about), people.clone(), now).await;
        if let Err(fault) = one.result.as_ref()
            && is_of_host(fault)
        {
            let fault = Some(verdicts.ended(fault));
            verdicts.all.push(Verdict { name, outcome: told(&one), fault });
            continue;
        }
        let two = generation.decide(about, people.clone(), now).await;
        let fault = judge(&one, &people).or_else(|| {
            (one.result != two.result)
                .then(|| "the same question gets another plan the second time".to_owned())
        });
        verdicts.all.push(Verdict { name, outcome: told(&one), fault });
    }
    Ok(verdicts)
}

fn told(report: &RouteReport) -> String {
    match &report.result {
        Ok(plan) => {
            let channels: Vec<&str> =
                plan.targets.iter().take(8).map(|target| target.channel.as_str()).collect();
            format!("{} targets: {}", plan.targets.len(), channels.join(", "))
        }
        Err(fault) => format!("{} ({})", plain(&fault.message), fault.code),
    }
}

/// What is wrong about a decision.
fn judge(report: &RouteReport, people: &[Person]) -> Option<String> {
    let plan = match &report.result {
        Ok(plan) => plan,
        Err(fault) => {
            return Some(format!(
                "a fault delays the notification until its routing dies: {}",
                fault.message
            ));
        }
    };
    cut(&report.cuts).or_else(|| impossible(plan, people))
}

/// A target that no gateway could carry out.
fn impossible(plan: &Plan, people: &[Person]) -> Option<String> {
    for target in &plan.targets {
        if let Err(error) = target.channel.parse::<ChannelName>() {
            return Some(format!("the plan names a channel that there can't be: {error}"));
        }
        if let Some(user) = &target.user
            && !people.iter().any(|person| person.user.as_str() == user)
        {
            return Some(format!("the plan is for {user:?}, whom the notification does not name"));
        }
    }
    None
}

fn name<T: std::str::FromStr>(text: &str) -> Result<T, Failure>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Failure::new("host.internal", error.to_string(), ""))
}

fn ann() -> Result<Person, Failure> {
    let contact = |channel: &str, address: &str| {
        Ok::<_, Failure>(Contact { channel: name(channel)?, address: Some(address.to_owned()) })
    };
    Ok(Person {
        user: name("ann")?,
        display_name: Some("Ann".to_owned()),
        locale: Some("ko-KR".to_owned()),
        zone: Some("Asia/Seoul".to_owned()),
        contacts: vec![contact("mail", "ann@receiver.example")?, contact("sms", "01012345678")?],
    })
}

fn people(ann: &Person) -> Result<Vec<(&'static str, Vec<Person>)>, Failure> {
    let like_ann = |zone: Option<&str>, locale: Option<&str>| Person {
        zone: zone.map(str::to_owned),
        locale: locale.map(str::to_owned),
        ..ann.clone()
    };
    let odd =
        Person { user: name("앤+🦀")?, display_name: Some("\u{202e}앤\r\n".to_owned()), ..ann.clone() };
    let without_address: Vec<Contact> =
        ann.contacts.iter().map(|contact| Contact { address: None, ..contact.clone() }).collect();
    let crowd: Result<Vec<Person>, Failure> =
        (0..PEOPLE_MAX).map(|n| Ok(Person { user: name(&format!("user-{n}"))?, ..ann.clone() })).collect();
    Ok(vec![
        ("nobody", Vec::new()),
        ("without-contacts", vec![Person { contacts: Vec::new(), ..ann.clone() }]),
        ("without-addresses", vec![Person { contacts: without_address, ..ann.clone() }]),
        ("without-a-zone", vec![like_ann(None, None)]),
        ("with-a-zone-that-there-is-not", vec![like_ann(Some("Mars/Olympus"), Some("xx-🦀"))]),
        ("with-empty-texts", vec![like_ann(Some(""), Some(""))]),
        ("unicode", vec![odd]),
        ("the-same-twice", vec![ann.clone(), ann.clone()]),
        ("a-crowd", crowd?),
    ])
}
