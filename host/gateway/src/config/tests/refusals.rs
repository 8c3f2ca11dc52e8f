//! What is refused, by the text that a person reads.

use super::*;

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_word_that_was_meant() {
    assert_eq!(
        told("[server]\nlisten = \"127.0.0.1:1\"\nlistne = 1\n"),
        "conf/fanfare.toml:3:10: server.listne: is not a known key; did you mean \"listen\"? Known here: listen, \
         notification_bytes, batch_bytes, header_timeout, read_timeout, idle_timeout, connections_max, \
         requests_in_flight_max, wait_max, waits_max, shutdown_deadline"
    );
    assert!(
        told("channel.x.plugin = \"p\"").contains("channel: is not a known key; did you mean \"channels\"?")
    );
    assert!(
        told("[channels.a]\nplugin = \"p\"\nretry.max_retrys = 1").contains("did you mean \"max_retries\"?")
    );
}

#[test]
fn every_fault_is_told_at_once_in_the_order_of_the_file() {
    let told = told(
        "[server]\nlisten = \"localhost\"\nwait_max = 5\n[channels.BAD]\nplugin = \"p\"\n[channels.a]\n\
         concurrency = 0\nalert_channel = \"a\"\nisolation = \"hot\"\n[users.bob]\ncontacts = [{ channel = \"mial\" }]\n[routers.other]\n",
    );
    let starts = [
        "conf/fanfare.toml:2:10: server.listen: ",
        "conf/fanfare.toml:3:12: server.wait_max: must be a duration in quotes, not an integer; write it with its unit",
        "conf/fanfare.toml:4:11: channels.BAD: \"BAD\" is not a valid channel name: 1 to 64 of a-z",
        "conf/fanfare.toml:6:11: channels.a.plugin: is missing; add a line such as: plugin = \"webhook\"",
        "conf/fanfare.toml:7:15: channels.a.concurrency: must be an integer from 1 to 1000",
        "conf/fanfare.toml:8:17: channels.a.alert_channel: a channel can't be told of its own dead letters",
        "conf/fanfare.toml:9:13: channels.a.isolation: is neither \"fresh\" nor \"warm\"; write \"fresh\" or \"warm\"",
        "conf/fanfare.toml:11:25: users.bob.contacts[0].channel: there is no channel \"mial\"; add a section [channels.mial]",
        "conf/fanfare.toml:12:10: routers.other: only the router named default routes",
    ];
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), starts.len(), "{told}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}\n{start}");
    }
}

#[test]
fn an_open_gateway_is_refused_with_the_lines_to_paste() {
    let told = told("[server]\nlisten = \"0.0.0.0:8080\"");
    assert!(told.starts_with("conf/fanfare.toml:2:10: server.listen: 0.0.0.0:8080 can be reached"), "{told}");
    assert!(told.contains("printf %s \"$KEY\" | sha256sum"), "{told}");
    let lines =
        "[[keys]]\nname = \"ci\"\nsha256 = \"THE 64 DIGITS\"\nscopes = [\"submit\", \"read\", \"admin\"]";
    assert!(told.ends_with(lines), "{told}");
    // Pasted, with a digest, it serves.
    let pasted = lines.replace("THE 64 DIGITS", &"ab".repeat(32));
    read(&format!("server.listen = \"0.0.0.0:8080\"\n{pasted}"));
}

#[test]
fn a_fault_in_a_key_is_not_told_as_having_no_key() {
    let told = told(
        "server.listen = \"0.0.0.0:1\"\n[[keys]]\nname = \"a\"\nsha256 = \"my own key\"\nscopes = [\"raed\"]",
    );
    assert!(!told.contains("no key is configured"), "{told}");
    assert!(!told.contains("my own key"), "what may be the key itself is not repeated: {told}");
    assert!(told.contains("keys[0].sha256: is not a SHA-256 digest"), "{told}");
    assert!(told.contains("the scopes are submit, read and admin; did you mean \"read\"?"), "{told}");
}

#[test]
fn keys_are_told_apart() {
    let key = |name: &str, digest: &str| {
        format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nscopes = [\"read\"]\n")
    };
    let (one, two) = ("ab".repeat(32), "cd".repeat(32));
    assert!(told(&(key("a", &one) + &key("a", &two))).contains("there are two keys named \"a\""));
    assert!(told(&(key("a", &one) + &key("b", &one))).contains("\"a\" and \"b\" are the same key"));
    let empty = fanfare_model::digest::Digest::of(b"").to_string();
    assert!(told(&key("a", &empty)).contains("is the digest of an empty key"));
    assert!(told("keys = [{ name = \"a b\", sha256 = \"x\", scopes = [] }]").contains("allows nothing"));
}

#[test]
fn a_missing_secret_names_channel_secret_and_place_and_shows_no_value() {
    let of = |reference: &str| {
        told(&format!("[channels.hook]\nplugin = \"webhook\"\nsecrets.signing = \"{reference}\""))
    };
    let place = "conf/fanfare.toml:3:19: channels.hook.secrets.signing: ";
    let (variable, file, raw) = (of("env:HOOK"), of("file:/nowhere/x"), of("whsec_raw"));
    assert!(
        variable.starts_with(&format!("{place}the environment has no variable \"HOOK\"; set HOOK")),
        "{variable}"
    );
    assert!(file.starts_with(&format!("{place}/nowhere/x can't be read: ")), "{file}");
    assert!(raw.starts_with(&format!("{place}is not a reference to a secret")), "{raw}");
    assert!(!raw.contains("whsec_raw"), "{raw}");
    let empty = "[channels.hook]\nplugin = \"webhook\"\nsecrets.signing = \"env:HOOK\"";
    let empty = read_with(empty, &variables(&[("HOOK", "")])).unwrap_err().to_string();
    assert!(empty.contains("leads to an empty secret"), "{empty}");
}

#[test]
fn values_out_of_their_bounds_are_refused_with_the_bounds() {
    for (line, words) in [
        ("server.notification_bytes = \"1 GiB\"", "must be from 1 KiB to 512 KiB"),
        ("server.batch_bytes = \"16 megs\"", "is not a size; write it as \"256 KiB\""),
        ("store.idempotency_window = \"400d\"", "must be from 1s to 30d"),
        ("store.keep_bodies = \"0s\"", "must be from 1s to 3650d"),
        ("store.keep_history = \"10y\"", "is not a duration"),
        ("store.keep_history = \"6d\"", "make `keep_history` at least as long as `keep_bodies`"),
        ("store.reclaim_percent = 0", "must be an integer from 1 to 100"),
        ("runtime.instances = 5000", "must be an integer from 1 to 1000"),
        ("log.format = \"xml\"", "\"xml\" is not a format; write \"text\" or \"json\""),
        ("log.filter = \"fanfare=loud\"", "is not a filter"),
        ("server.read_timeout = \"5 parsecs\"", "\"5 parsecs\" is not a duration; write it with its unit"),
        ("channels.a = { plugin = \"p\", retry = { jitter = 2.0 } }", "jitter must be a number from 0 to 1"),
        (
            "channels.a = { plugin = \"p\", retry = { initial_delay = \"1h\" } }",
            "must not be longer than max_delay",
        ),
        ("channels.a = { plugin = \"p\", limits = { memory_mib = 65 } }", "must be an integer from 1 to 64"),
        ("channels.a = { plugin = \"p\", limits = { cpu_ms = 501 } }", "must be an integer from 10 to 500"),
        (
            "channels.a = { plugin = \"p\", limits = { wall_ms = 15001 } }",
            "must be an integer from 10 to 15000",
        ),
        ("channels.a = { plugin = \"p\", settings = 1 }", "must be a table, not an integer"),
        (
            "channels.a = { plugin = \"p\", settings.at = 2026-11-21 }",
            "settings.at: is a date or time, which JSON",
        ),
        (
            "channels.a = { plugin = \"p\", grants.allow_private = \"yes\" }",
            "must be true or false, without quotes",
        ),
        ("users.\"a b\".name = \"x\"", "is not a valid user id"),
        ("users.a.zone = \"Seoul time\"", "is not an IANA time zone"),
        ("users.a.zone = \"Asia/Seul\"", "is not an IANA time zone"),
        ("users.a.zone = \"asia/seoul\"", "is not an IANA time zone"),
        ("users.a.locale = \"korean!\"", "is not a language tag"),
        ("server = 1", "server: must be a table, not an integer"),
        ("store.path = \"\"", "is empty; give a value, or take the line away"),
    ] {
        let told = told(line);
        assert!(told.contains(words), "{line}\n{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn a_variable_that_can_t_be_used_is_named() {
    let of = |name: &str, value: &str| {
        let text = "[channels.a]\nplugin = \"p\"\ngrants.http = []";
        read_with(text, &variables(&[(name, value)])).unwrap_err().to_string()
    };
    let told = of("FANFARE_SERVER__LISTEN", "nowhere");
    assert!(told.starts_with("$FANFARE_SERVER__LISTEN: server.listen: "), "{told}");
    let told = of("FANFARE_SERVER__LISTENING", "x");
    assert!(told.starts_with("$FANFARE_SERVER__LISTENING: server.listening: is not a known key"), "{told}");
    assert!(
        of("FANFARE_CHANNELS__A__GRANTS__HTTP", "x")
            .contains("it names a list; such a variable sets one single")
    );
    assert!(of("FANFARE_CHANNELS__A", "x").contains("it names a section"));
    assert!(of("FANFARE_CHANNELS__A__PLUGIN__X", "x").contains("goes through a key that is no section"));
    assert!(of("FANFARE_RUNTIME__INSTANCES", "many").contains("must be an integer from 1 to 1000"));
    assert!(of("FANFARE___X", "many").contains("a word of the key is empty"));
}

#[test]
fn a_file_that_can_t_be_read_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str| {
        Config::load(Some(&folder.path().join(name)), &Variables::new()).unwrap_err().to_string()
    };
    let told = load("none.toml");
    assert!(told.contains("none.toml: can't be read: "), "{told}");
    assert!(
        told.ends_with(
            "give the path of a configuration; `fanfare config default > fanfare.toml` writes one"
        ),
        "{told}"
    );
    std::fs::write(folder.path().join("big.toml"), "# ".repeat(600_000)).unwrap();
    assert!(load("big.toml").contains("is larger than 1 MiB"));
    std::fs::write(folder.path().join("latin.toml"), [b'#', 0xe9]).unwrap();
    assert!(load("latin.toml").contains("is no UTF-8 text"));
}

#[test]
fn broken_toml_is_told_alone_with_its_place() {
    let told = told("[server\nlisten = 5\n[channels.a]\nplugin = ");
    assert!(told.lines().all(|line| line.starts_with("conf/fanfare.toml:")), "{told}");
    assert!(!told.contains("known key"), "{told}");
    assert!(
        super::told("[server]\nwait_max = \"1s\"\nwait_max = \"2s\"").contains("conf/fanfare.toml:3:1: ")
    );
}

#[test]
fn a_rule_that_names_a_channel_that_is_not_there_is_told_with_its_place() {
    let rules = "[channels.mail]\nplugin = \"email\"\n[routers.default]\nplugin = \"rules\"\n\
         [[routers.default.settings.rules]]\nname = \"a\"\nthen = { channels = [\"mail\", \"mial\"] }\n\
         [[routers.default.settings.rules]]\nname = \"b\"\nthen = { channels = [\"sms\"] }\n";
    let told = told(rules);
    let lines: Vec<&str> = told.lines().collect();
    let places = [
        "conf/fanfare.toml:7:30: routers.default.settings.rules[0].then.channels[1]: ",
        "conf/fanfare.toml:10:22: ",
    ];
    for (line, (place, says)) in
        lines.iter().zip(places.into_iter().zip(["did you mean \"mail\"?", "add a section [channels.sms]"]))
    {
        assert!(
            line.starts_with(place) && line.contains("there is no channel") && line.contains(says),
            "{told}"
        );
    }
    assert_eq!(lines.len(), 2, "{told}");
}

#[test]
fn what_another_router_calls_channels_is_its_own_affair() {
    for (plugin, settings) in [
        ("./mine.wasm", "{ rules = [{ then = { channels = [\"nope\"] } }] }"),
        // Of another form than the schema of `rules` allows, which says so better when it is loaded.
        (
            "rules",
            "{ rules = [5, { then = 5 }, { then = { channels = 5 } }, { then = { channels = [5] } }] }",
        ),
        ("rules", "{ rules = 5 }"),
    ] {
        let text = format!("[routers.default]\nplugin = \"{plugin}\"\nsettings = {settings}\n");
        assert!(read_with(&text, &Variables::new()).is_ok(), "{text}");
    }
}
