//! The built-in default serves as it stands, and everything that its comments claim is true.

use super::*;
use crate::config::{DEFAULT_TOML, LimitsConfig, PluginRef, ServerConfig};
use fanfare_model::retry::RetryPolicy;

/// Every secret that the examples name.
const SECRETS: [&str; 5] =
    ["OPS_HOOK_SECRET", "OPS_HOOK_TOKEN", "SLACK_WEBHOOK_PATH", "SMTP_PASSWORD", "COOLSMS_API_SECRET"];

/// The default with each usable comment used.
fn everything_used() -> String {
    let used = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c != ' ' && c != '#') => rest,
        _ => line,
    };
    DEFAULT_TOML.lines().map(used).collect::<Vec<_>>().join("\n")
}

fn everything() -> Config {
    let secrets: Vec<(&str, &str)> = SECRETS.iter().map(|name| (*name, "whsec_c2VjcmV0")).collect();
    read_with(&everything_used(), &variables(&secrets)).unwrap()
}

#[test]
fn without_a_file_this_machine_is_served_and_everything_goes_to_the_console() {
    let config = Config::load(None, &Variables::new()).unwrap();
    assert_eq!(config.source, None);
    assert_eq!(config.server, ServerConfig::default());
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.store.path, Path::new("fanfare-data"));
    assert!(config.keys.is_empty() && config.users.is_empty());
    let channels: Vec<_> =
        config.channels.iter().map(|(name, channel)| (name.as_str(), &channel.plugin)).collect();
    assert_eq!(channels, [("console", &PluginRef::Embedded("console".to_owned()))]);
    let router = config.router.unwrap();
    assert_eq!(router.plugin, PluginRef::Embedded("rules".to_owned()));
    assert_eq!(router.settings["rules"][0]["then"]["channels"][0], "console");
}

#[test]
fn the_commented_keys_carry_the_default_values() {
    let (default, everything) = (Config::read(None, DEFAULT_TOML, &Variables::new()).unwrap(), everything());
    assert_eq!(everything.server, default.server);
    assert_eq!(everything.store.idempotency_window, default.store.idempotency_window);
    assert_eq!(everything.store.keep_bodies, default.store.keep_bodies);
    assert_eq!(everything.store.keep_history, default.store.keep_history);
    assert_eq!(everything.store.reclaim_percent, default.store.reclaim_percent);
    assert_eq!(everything.log, default.log);
    assert_eq!(everything.runtime.instances, default.runtime.instances);
    let hook = &everything.channels["ops-hook"];
    assert_eq!(hook.retry, RetryPolicy::default());
    assert_eq!(hook.concurrency, default.channels["console"].concurrency);
    assert_eq!(hook.isolation, default.channels["console"].isolation);
    assert_eq!(everything.router.unwrap().deadline, default.router.unwrap().deadline);
}

#[test]
fn every_example_can_be_used_as_it_stands() {
    let config = everything();
    let plugins: Vec<String> = config.channels.values().map(|channel| channel.plugin.to_string()).collect();
    assert_eq!(plugins, ["console", "email", "webhook", "coolsms", "slack"]);
    assert_eq!(config.channels["mail"].grants.smtp, ["smtp.example.org:587"]);
    assert_eq!(config.channels["ops-hook"].alert_channel.as_ref().unwrap().as_str(), "console");
    assert_eq!(config.channels["ops-hook"].settings["headers"]["x-token"], "${secret:token}");
    assert_ne!(config.channels["ops-hook"].limits, LimitsConfig::default());
    assert_eq!(config.router.unwrap().settings["rules"].as_array().unwrap().len(), 3);
    assert_eq!(config.keys[0].scopes.len(), 3);
    assert_eq!(config.users["alice"].contacts.len(), 2);
}

#[test]
fn every_known_key_stands_in_the_default() {
    // What is known is what the errors list: an unknown key in each section brings the lists out.
    let text = "x = 1\nserver.x = 1\nstore.x = 1\nlog.x = 1\nruntime.x = 1\nkeys = [{ x = 1 }]\n\
                [channels.c]\nplugin = \"p\"\nx = 1\ngrants.x = 1\nretry.x = 1\nlimits.x = 1\n\
                [routers.default]\nplugin = \"p\"\nx = 1\n\
                [users.u]\nx = 1\ncontacts = [{ channel = \"c\", x = 1 }]";
    let told = told(text);
    let lists: Vec<&str> =
        told.lines().filter_map(|line| line.split_once("nown here: ")).map(|(_, list)| list).collect();
    assert_eq!(lists.len(), 13, "{told}");
    let words: Vec<&str> = DEFAULT_TOML.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    for key in lists.iter().flat_map(|list| list.split(", ")) {
        assert!(words.contains(&key), "{key} is not documented");
    }
}
