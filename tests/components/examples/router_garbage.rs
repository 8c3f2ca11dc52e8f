//! A router whose plan can't be carried out: 100,000 targets with the title `many`, otherwise channels and users that
//! there are not.

use fanfare_sdk::{Plan, Target};

fanfare_components::router!(|notification, _, _| {
    if notification.title.as_deref() == Some("many") {
        return Ok((0..100_000).map(|n| Target::new(format!("channel-{n}"), "many")).collect());
    }
    let mut stranger = Target::new("no-such-channel", "\u{1b}[31m\r\n").delay_ms(u64::MAX);
    stranger.user = Some("no-such-user".to_owned());
    let nameless = Target::new("", "");
    let plan: Plan = [stranger, nameless, Target::new("../(router)", "x")].into_iter().collect();
    Ok(plan)
});
