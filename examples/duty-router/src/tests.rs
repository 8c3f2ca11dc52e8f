use super::*;
use fanfare_sdk::testing::notification;

fn people() -> Vec<Person> {
    let way =
        |channel: &str| Contact { channel: channel.to_owned(), address: Some(format!("kim@{channel}")) };
    vec![Person { contacts: vec![way("mail"), way("sms")], ..Person::default() }]
}

fn channels(priority: Priority, people: &[Person]) -> Vec<String> {
    let notification = Notification { priority, ..notification() };
    let duty = Duty { fallback: "ops".to_owned() };
    duty.route(&notification, people, 0).unwrap().targets.into_iter().map(|target| target.channel).collect()
}

#[test]
fn what_is_critical_goes_every_way_and_the_rest_the_first() {
    assert_eq!(channels(Priority::Critical, &people()), ["mail", "sms"]);
    assert_eq!(channels(Priority::Normal, &people()), ["mail"]);
}

#[test]
fn what_names_nobody_goes_to_the_fallback() {
    assert_eq!(channels(Priority::Low, &[]), ["ops"]);
}
