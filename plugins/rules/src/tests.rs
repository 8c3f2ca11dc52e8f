use super::*;
use fanfare_sdk::Recipient;
use fanfare_sdk::testing::{NOW_MS, notification};

fn rules(settings: Value) -> Rules {
    fanfare_sdk::serde_json::from_value(settings).unwrap()
}

fn person(user: &str, contacts: &[(&str, Option<&str>)]) -> Person {
    let own = |(channel, address): &(&str, Option<&str>)| Contact {
        channel: (*channel).to_owned(),
        address: address.map(str::to_owned),
    };
    Person {
        recipient: Recipient { user: Some(user.to_owned()), ..Recipient::default() },
        contacts: contacts.iter().map(own).collect(),
        ..Person::default()
    }
}

fn plan(rules: &Rules, people: &[Person]) -> Plan {
    rules.route(&notification(), people, NOW_MS).unwrap()
}

fn channels(plan: &Plan) -> Vec<&str> {
    plan.targets.iter().map(|target| target.channel.as_str()).collect()
}

fn rule(name: &str, when: &Value, channels: &[&str]) -> Value {
    json!({ "name": name, "when": when, "then": { "channels": channels } })
}

#[test]
fn a_notification_without_users_goes_to_the_channels_own_destinations() {
    let rules = rules(
        json!({ "rules": [rule("payments", &json!({ "type": "payment.*" }), &["ops-hook", "slack"])] }),
    );
    let plan = plan(&rules, &[]);
    assert_eq!(channels(&plan), ["ops-hook", "slack"]);
    let first = &plan.targets[0];
    assert_eq!((first.reason.as_str(), &first.user, &first.address), ("rule payments", &None, &None));
    assert!(plan.notes.is_empty());
}

#[test]
fn the_first_match_decides_unless_all_are_asked_for() {
    let list = json!([
        rule("other", &json!({ "type": "order.*" }), &["x"]),
        rule("a", &json!({}), &["one"]),
        rule("b", &json!({ "priority": ["normal", "high"] }), &["two", "one"]),
    ]);
    assert_eq!(channels(&plan(&rules(json!({ "rules": list })), &[])), ["one"]);
    let all = plan(&rules(json!({ "rules": list, "mode": "all" })), &[]);
    assert_eq!(channels(&all), ["one", "two"]);
    assert_eq!(all.targets[1].reason, "rule b");
}

#[test]
fn a_user_is_reached_through_their_own_contacts() {
    let rules = rules(json!({ "rules": [rule("r", &json!({}), &["mail", "sms"])] }));
    let people =
        [person("kim", &[("sms", Some("010")), ("mail", Some("k@x"))]), person("lee", &[("mail", None)])];
    let plan = plan(&rules, &people);
    let found: Vec<_> =
        plan.targets.iter().map(|t| (t.channel.as_str(), t.user.as_deref(), t.address.as_deref())).collect();
    let expected =
        [("mail", Some("kim"), Some("k@x")), ("sms", Some("kim"), Some("010")), ("mail", Some("lee"), None)];
    assert_eq!(found, expected);
    assert_eq!(plan.notes, ["rule r: user lee has no contact for channel sms"]);
}

#[test]
fn rules_for_users_hold_for_each_user_apart() {
    let rules = rules(json!({ "rules": [
        rule("vip", &json!({ "user": ["kim", "p*"] }), &["sms"]),
        rule("rest", &json!({}), &["mail"]),
    ] }));
    let contacts = [("mail", Some("m")), ("sms", Some("s"))];
    let of = |people: &[Person]| {
        let plan = plan(&rules, people);
        plan.targets.into_iter().map(|target| (target.user, target.channel)).collect::<Vec<_>>()
    };
    let found = of(&[person("kim", &contacts), person("lee", &contacts)]);
    let pair = |user: &str, channel: &str| (Some(user.to_owned()), channel.to_owned());
    assert_eq!(found, [pair("kim", "sms"), pair("lee", "mail")]);
    assert_eq!(of(&[]), [(None, "mail".to_owned())]);
}

#[test]
fn delay_and_address_come_from_the_rule() {
    let then = json!({ "channels": ["mail"], "delay": "5m", "address": "duty@x" });
    let rules = rules(json!({ "rules": [{ "name": "r", "then": then }] }));
    for people in [vec![], vec![person("kim", &[])], vec![person("kim", &[("mail", Some("k@x"))])]] {
        let plan = plan(&rules, &people);
        assert_eq!((plan.targets[0].delay_ms, plan.targets[0].address.as_deref()), (300_000, Some("duty@x")));
        assert_eq!(plan.targets[0].user.is_some(), !people.is_empty());
    }
}

#[test]
fn data_and_time_narrow_a_rule() {
    let when = |data: Value| json!({ "data": data, "time": { "from": "09:00", "to": "18:00", "zone": "Asia/Seoul" } });
    let fits = |data: Value, now_ms: u64| {
        let rules = rules(json!({ "rules": [rule("r", &when(data), &["x"])] }));
        !rules.route(&notification(), &[], now_ms).unwrap().targets.is_empty()
    };
    // NOW_MS is 09:00 in Seoul.
    assert!(fits(json!({ "order.total": { "gte": 19 }, "order.id": 42 }), NOW_MS));
    assert!(!fits(json!({ "order.total": { "gt": 20 } }), NOW_MS));
    assert!(!fits(json!({}), NOW_MS - 1));
}

#[test]
fn nothing_to_send_is_explained() {
    let rules = rules(json!({ "rules": [
        rule("other", &json!({ "type": "order.*" }), &["x"]), rule("mute", &json!({ "user": "lee" }), &[]),
    ] }));
    assert_eq!(plan(&rules, &[]).notes, ["no rule matches"]);
    let notes = plan(&rules, &[person("kim", &[]), person("lee", &[])]).notes;
    assert_eq!(notes, ["no rule matches for user kim", "rule mute sends nothing"]);
}

#[test]
fn bad_rules_are_refused() {
    let two = rules(json!({ "rules": [rule("a", &json!({}), &["x"]), rule("a", &json!({}), &["x"])] }));
    assert!(two.check().unwrap_err().message.contains("\"a\""));
    for bad in [
        json!({ "rules": [rule("a", &json!({ "tipe": "x" }), &["x"])] }),
        json!({ "rules": [rule("a", &json!({ "priority": "urgent" }), &["x"])] }),
        json!({ "rules": [{ "name": "a", "then": { "channels": ["x"], "delay": "soon" } }] }),
        json!({ "rules": [], "mode": "some" }),
    ] {
        assert!(fanfare_sdk::serde_json::from_value::<Rules>(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn fallbacks_are_in_the_order_of_the_rules_channels_and_skip_those_that_do_not_reach_a_user() {
    let then = json!({ "channels": ["chat", "mail", "sms"], "fallback": true });
    let rules = rules(json!({ "rules": [{ "name": "r", "then": then }] }));
    let orders = |people: &[Person]| -> Vec<(String, u32)> {
        plan(&rules, people)
            .targets
            .into_iter()
            .map(|target| (target.channel, target.fallback_order))
            .collect()
    };
    let in_order = |ways: &[(&str, u32)]| -> Vec<(String, u32)> {
        ways.iter().map(|(channel, order)| ((*channel).to_owned(), *order)).collect()
    };
    assert_eq!(orders(&[]), in_order(&[("chat", 0), ("mail", 1), ("sms", 2)]));
    let ann = person("ann", &[("sms", Some("+82")), ("mail", Some("a@b"))]);
    assert_eq!(orders(&[ann]), in_order(&[("mail", 1), ("sms", 2)]));
}
