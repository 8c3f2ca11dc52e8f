//! What the keys mean, the variables that override them, and when a section is a new generation.

use std::time::Duration;

use super::*;
use crate::config::{LogFormat, PluginRef, Scope};

const HOOK: &str = "[channels.hook]\nplugin = \"webhook\"\n";

fn hook(lines: &str) -> Config {
    read(&format!("{HOOK}{lines}"))
}

#[test]
fn zones_are_the_ones_that_there_are() {
    for zone in ["UTC", "Asia/Seoul", "Etc/GMT+9", "America/Argentina/Buenos_Aires"] {
        let config = read(&format!("[users.a]\nzone = \"{zone}\"\n"));
        assert!(config.users.values().any(|user| user.zone.as_deref() == Some(zone)), "{zone}");
    }
}

#[test]
fn relative_paths_begin_in_the_folder_of_the_file() {
    let config = read(
        "store.path = \"data\"\n[channels.mine]\nplugin = \"mine.wasm\"\n[routers.default]\nplugin = \"./r\"",
    );
    assert_eq!(config.store.path, Path::new("conf/data"));
    assert_eq!(config.channels["mine"].plugin, PluginRef::File("conf/mine.wasm".into()));
    assert_eq!(config.router.unwrap().plugin, PluginRef::File("conf/./r".into()));
    assert_eq!(read("store.path = \"/var/lib/x\"").store.path, Path::new("/var/lib/x"));
    assert_eq!(read("").store.path, Path::new("conf/fanfare-data"));
}

#[test]
fn retries_are_the_house_s_unless_the_section_or_the_plugin_says_otherwise() {
    let config = read(
        "[channels.sms]\nplugin = \"coolsms\"\n[channels.slow]\nplugin = \"coolsms\"\nretry = { max_delay = \"2m\" }\n\
         [channels.hook]\nplugin = \"webhook\"\nretry = { max_retries = 7, multiplier = 3, jitter = 0.0 }",
    );
    let max_delay = |name: &str| config.channels[name].retry.max_delay.as_secs();
    assert_eq!([max_delay("sms"), max_delay("slow"), max_delay("hook")], [30, 120, 300]);
    let retry = &config.channels["hook"].retry;
    assert_eq!((retry.max_retries, retry.multiplier, retry.jitter), (7, 3.0, 0.0));
    assert_eq!(retry.initial_delay, Duration::from_secs(1));
}

#[test]
fn settings_become_json() {
    let config = hook("settings = { a = 1, b = 1.5, c = true, d = [\"x\", { e = -1 }] }");
    let expected = serde_json::json!({ "a": 1, "b": 1.5, "c": true, "d": ["x", { "e": -1 }] });
    assert_eq!(serde_json::Value::Object(config.channels["hook"].settings.clone()), expected);
}

#[test]
fn secrets_come_from_variables_and_files_without_the_last_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s");
    std::fs::write(&file, "two\nlines\r\n").unwrap();
    let text = format!("{HOOK}secrets = {{ a = \"env:A\", b = \"file:{}\" }}", file.display());
    let config = read_with(&text, &variables(&[("A", " kept ")])).unwrap();
    let secrets = &config.channels["hook"].secrets;
    assert_eq!([secrets["a"].expose(), secrets["b"].expose()], [" kept ", "two\nlines"]);
    assert!(!format!("{config:?}").contains("kept"), "no secret in what is printed for debugging");
}

#[test]
fn variables_take_the_place_of_single_values() {
    let text = format!(
        "{HOOK}settings = {{ n = 1, flag = true, number = \"1\" }}\n[channels.ops-hook]\nplugin = \"webhook\""
    );
    let set = variables(&[
        ("FANFARE_SERVER__LISTEN", "[::1]:0"),
        ("FANFARE_SERVER__CONNECTIONS_MAX", "7"),
        ("FANFARE_LOG__FORMAT", "json"),
        ("FANFARE_CHANNELS__OPS_HOOK__CONCURRENCY", "3"),
        ("FANFARE_CHANNELS__OPS_HOOK__GRANTS__ALLOW_PRIVATE", "true"),
        ("FANFARE_CHANNELS__HOOK__SETTINGS__N", "2"),
        ("FANFARE_CHANNELS__HOOK__SETTINGS__FLAG", "false"),
        ("FANFARE_CHANNELS__HOOK__SETTINGS__NUMBER", "0101234"),
        ("FANFARE_CONFIG", "somebody else's"),
    ]);
    let config = read_with(&text, &set).unwrap();
    assert_eq!(config.server.listen.to_string(), "[::1]:0");
    assert_eq!((config.server.connections_max, config.log.format), (7, LogFormat::Json));
    assert_eq!(config.channels["ops-hook"].concurrency, 3);
    assert!(config.channels["ops-hook"].grants.allow_private);
    let settings = serde_json::Value::Object(config.channels["hook"].settings.clone());
    assert_eq!(settings, serde_json::json!({ "n": 2, "flag": false, "number": "0101234" }));
}

#[test]
fn keys_open_other_addresses_than_loopback() {
    let digest = "ab".repeat(32);
    let config = read(&format!(
        "server.listen = \"0.0.0.0:80\"\n[[keys]]\nname = \"ci\"\nsha256 = \"{digest}\"\nscopes = [\"read\", \"submit\"]"
    ));
    assert_eq!(config.keys[0].scopes.iter().copied().collect::<Vec<_>>(), [Scope::Submit, Scope::Read]);
    assert_eq!(config.keys[0].sha256.to_string(), digest);
}

#[test]
fn a_generation_is_new_when_plugin_settings_references_of_secrets_or_grants_change() {
    let secret = |reference: &str, value: &str| {
        let text = format!("{HOOK}secrets = {{ s = \"env:{reference}\" }}");
        read_with(&text, &variables(&[("S", value), ("T", value)])).unwrap().channels["hook"].fingerprint
    };
    let of = |lines: &str| hook(lines).channels["hook"].fingerprint;
    let plain = of("");
    for same in [
        "# a comment",
        "concurrency = 2",
        "retry = { max_retries = 1 }",
        "settings = {}",
        "grants.http = []",
        "limits.cpu_ms = 20",
        "suspend_after = 9",
        "isolation = \"warm\"",
    ] {
        assert_eq!(of(same), plain, "{same}");
    }
    for other in ["settings.a = 1", "grants.http = [\"https://a.org\"]", "grants.allow_private = true"] {
        assert_ne!(of(other), plain, "{other}");
    }
    assert_eq!(secret("S", "one"), secret("S", "two"), "a secret is rotated without a new generation");
    assert_ne!(secret("S", "one"), secret("T", "one"));
    assert_ne!(read("[channels.hook]\nplugin = \"slack\"").channels["hook"].fingerprint, plain);
}

#[test]
fn when_a_channel_is_suspended_and_probed_can_be_said_within_bounds() {
    let channel = |lines: &str| hook(lines).channels["hook"].clone();
    assert_eq!((channel("").suspend_after, channel("").probe_after), (5, Duration::from_secs(30)));
    let said = channel("suspend_after = 2\nprobe_after = \"50ms\"");
    assert_eq!((said.suspend_after, said.probe_after), (2, Duration::from_millis(50)));
    for bad in ["suspend_after = 0", "suspend_after = 1001", "probe_after = \"1ms\"", "probe_after = \"2d\""]
    {
        assert!(told(&format!("{HOOK}{bad}")).contains("must be"), "{bad}");
    }
}

#[test]
fn an_installed_plugin_is_named_by_its_digest() {
    let digest = "ab".repeat(32);
    let config = read(&format!("[channels.hook]\nplugin = \"sha256:{digest}\""));
    assert_eq!(config.channels["hook"].plugin, PluginRef::Installed(digest.parse().unwrap()));
    assert!(told("[channels.hook]\nplugin = \"sha256:ab\"").contains("fanfare plugin list"));
}

#[test]
fn what_takes_a_restart_is_named() {
    let (old, new) =
        (read(""), read("server.wait_max = \"1s\"\nlog.filter = \"debug\"\n[users.alice]\nname = \"A\""));
    assert_eq!(old.needs_restart_for(&new), ["server", "log"]);
    assert!(old.needs_restart_for(&read("")).is_empty());
}

#[test]
fn a_section_is_found_in_the_file() {
    let config = hook("grants = { http = [] }");
    assert_eq!(config.place_of("channels.hook").to_string(), "conf/fanfare.toml:1:11");
    assert_eq!(config.place_of("channels.hook.grants").to_string(), "conf/fanfare.toml:3:1");
    assert_eq!(config.place_of("channels.hook.secrets").to_string(), "conf/fanfare.toml:1:11");
    assert_eq!(config.place_of("routers.default").to_string(), "conf/fanfare.toml");
}
