//! An author's way, as the README tells it: from an empty folder to a component that was tried.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fanfare_test_components as components;

use crate::child::Receiver;
use crate::command::{Ended, command, fanfare};
use crate::house::{House, LOG};

/// One for both kinds, and kept between runs: the SDK is compiled once.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("projects")
}

fn build(folder: &Path, project: &str) -> Ended {
    Ended::of(
        command(folder)
            .args(["plugin", "build", project])
            .env("CARGO_TARGET_DIR", target())
            .output()
            .unwrap(),
    )
}

/// `new`, its own tests, `build`, `check`, and the path of the component.
fn make(folder: &Path, name: &str, kind: &str) -> String {
    let said = fanfare(folder, ["plugin", "new", name, "--lang", "rust", "--kind", kind]).good();
    assert_eq!(said.lines().last(), Some(format!("./{name}").as_str()), "{said}");
    let cargo = std::env::var_os("CARGO").unwrap();
    let tests = Command::new(cargo)
        .args(["test", "--locked"])
        .current_dir(folder.join(name))
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    let tested = Ended::of(tests).good();
    assert!(tested.contains("test result: ok. 3 passed"), "{tested}");
    let built = build(folder, name).good();
    let path = built.lines().last().unwrap().to_owned();
    assert!(path.ends_with(&format!("/{name}/{name}.wasm")) && Path::new(&path).is_file(), "{built}");
    let checked = fanfare(folder, ["plugin", "check", &path]).good();
    assert!(checked.contains("a gateway takes it"), "{checked}");
    let tested = fanfare(folder, ["plugin", "test", &path, "--json"]).json();
    assert_eq!(tested["failed"], 0, "{tested:#}");
    assert!(tested["passed"].as_u64().unwrap() > 60, "{tested:#}");
    path
}

#[test]
fn a_channel_and_a_router_come_out_of_an_empty_folder_and_are_rehearsed() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let pager = make(here, "pager", "channel");
    let busy = ["--reply", "429", "--header", "Retry-After: 30"];
    let told =
        fanfare(here, ["plugin", "run", &pager, "--input", "pager/attempt.json"].iter().chain(&busy)).good();
    for says in
        ["30s", "channel.http-429", "authorization: Bearer ***", "peak memory", "cpu", "truncated    nothing"]
    {
        assert!(told.contains(says), "{says}: {told}");
    }
    assert!(!told.contains("a-token-for-rehearsals"), "{told}");
    let told = fanfare(here, ["plugin", "run", &pager, "--json"].iter().chain(&busy)).json();
    assert_eq!(
        (&told["outcome"], &told["retry_after_ms"]),
        (&"retry-after".into(), &30_000.into()),
        "{told:#}"
    );
    assert_eq!(told["requests"][0]["reply"]["status"], 429);

    let duty = make(here, "duty", "router");
    let told = fanfare(here, ["plugin", "run", &duty, "--input", "duty/attempt.json", "--json"]).json();
    let channels: Vec<_> =
        told["plan"]["targets"].as_array().unwrap().iter().map(|t| t["channel"].clone()).collect();
    assert_eq!(channels, ["mail", "sms"], "{told:#}");
    a_router_is_swapped_in(here, &duty);

    // The SDK lies there already, and nothing is overwritten.
    let again = fanfare(here, ["plugin", "new", "pager"]);
    assert_eq!(again.code, Some(2));
    assert!(again.err.contains("nothing is overwritten"), "{}", again.err);

    mistakes_in_a_project_are_told(here);
}

/// `plugin dev` of a router: it becomes the one that routes, with the settings that the one before had.
fn a_router_is_swapped_in(here: &Path, duty: &str) {
    let router = format!("[routers.default]\nplugin = {duty:?}\nsettings = {{ fallback = \"log\" }}\n");
    let house = House::start("", &format!("{LOG}{router}"));
    let told = Ended::of(dev(here, "duty", &house, &["--once", "--json"]).output().unwrap()).json();
    assert_eq!((&told[0]["router"], &told[0]["generation"]), (&"default".into(), &2.into()), "{told:#}");
    let ended = house.submit_and_wait(r#"{"type":"a.b"}"#);
    assert_eq!(ended["deliveries"][0]["channel"], "log", "{ended:#}");
    assert_eq!(ended["deliveries"][0]["status"], "delivered", "{ended:#}");
}

fn mistakes_in_a_project_are_told(here: &Path) {
    let library = here.join("pager/src/lib.rs");
    let sound = std::fs::read_to_string(&library).unwrap();
    std::fs::write(&library, sound.replace("fanfare_sdk::channel!", "// fanfare_sdk::channel!")).unwrap();
    let ended = build(here, "pager");
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.err.contains("fanfare_sdk::channel!(Type)"), "{}", ended.err);
    std::fs::write(&library, sound.replace("impl Channel", "impl Chanel")).unwrap();
    let ended = build(here, "pager");
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.err.contains("Chanel") && ended.err.contains("build.failed"), "{}", ended.err);
}

/// `plugin dev` on a project in `folder`.
fn dev(folder: &Path, project: &str, house: &House, arguments: &[&str]) -> Command {
    let mut dev = command(folder);
    dev.args(["plugin", "dev", project]).args(arguments).env("CARGO_TARGET_DIR", target());
    dev.env("FANFARE_URL", format!("http://{}", house.gateway.address));
    dev
}

/// Ends the watching, also when the test fails.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}: {text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn each_save_is_built_tested_and_swapped_in_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fanfare(here, ["plugin", "new", "beeper"]).good();
    let built = build(here, "beeper").good();
    let component = built.lines().last().unwrap();
    let receiver = Receiver::start();
    let house = House::start(
        "",
        &format!(
            "[channels.beeper]\nplugin = {component:?}\nsettings = {{ url = \"http://{0}/\", token = \"t\" }}\n\
             grants = {{ http = [\"http://{0}\"] }}\n",
            receiver.address
        ),
    );
    let serving = || {
        let channel = house.call("GET", "/api/v1/admin/channels/beeper", "").1;
        let generations = channel["generations"].as_array().unwrap();
        let serving = generations.iter().find(|generation| generation["state"] == "serving").unwrap();
        (serving["plugin"].as_str().unwrap().to_owned(), serving["generation"].as_u64().unwrap())
    };
    assert_eq!(serving(), ("beeper 0.1.0".to_owned(), 1));

    let mut watching = dev(here, "beeper", &house, &[]);
    let mut watching = Watching(watching.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    let mut swapped = || {
        lines.by_ref().find(|line| line.as_ref().is_ok_and(|line| line.contains("serves beeper"))).unwrap()
    };
    assert!(swapped().unwrap().contains("generation 2"));
    replace(&here.join("beeper/Cargo.toml"), "version = \"0.1.0\"", "version = \"0.2.0\"");
    assert!(swapped().unwrap().contains("generation 3"));
    drop(watching);
    assert_eq!(serving(), ("beeper 0.2.0".to_owned(), 3));
    let ended = house.submit_and_wait(r#"{"type":"a.b","to":[{"channel":"beeper"}]}"#);
    assert_eq!(ended["deliveries"][0]["status"], "delivered", "{ended}");

    let refused =
        Ended::of(dev(here, "beeper", &house, &["--once", "--channel", "nobody"]).output().unwrap());
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.err.contains("channel.absent"), "{}", refused.err);

    replace(&here.join("beeper/src/lib.rs"), "\"text\": text", "\"txt\": text");
    let broken = Ended::of(dev(here, "beeper", &house, &["--once", "--json"]).output().unwrap());
    assert_eq!(broken.code, Some(5), "{broken:#?}");
    assert_eq!(broken.json()["code"], "build.failed");
    assert_eq!(serving(), ("beeper 0.2.0".to_owned(), 3));
}

/// A component as its compiler left it: without the section that holds the manifest.
pub(crate) fn bare(packed: &[u8]) -> Vec<u8> {
    let (mut bare, mut at) = (packed[..8].to_vec(), 8);
    while at < packed.len() {
        let (begun, id) = (at, packed[at]);
        at += 1;
        let mut size = 0;
        for shift in (0..).step_by(7) {
            let byte = packed[at];
            at += 1;
            size |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let content = &packed[at..at + size];
        at += size;
        let is_manifest = id == 0 && content.windows(12).any(|text| text == b"\"manifest\":1");
        if !is_manifest {
            bare.extend_from_slice(&packed[begun..at]);
        }
    }
    bare
}

#[test]
fn a_component_of_another_toolchain_is_packed_checked_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::create_dir(here.join("build")).unwrap();
    let component = bare(components::HTTP_POST);
    assert!(component.len() < components::HTTP_POST.len());
    std::fs::write(here.join("build/poster.component.wasm"), component).unwrap();
    let manifest = r#"{"name":"poster","version":"2.0.0","kind":"channel","description":"Posts.",
        "settings_schema":{"type":"object","properties":{"url":{"type":"string"}},"required":["url"]},
        "permissions":{"http":["{settings.url}"]},"limits":{"memory_mib":16}}"#;
    std::fs::write(here.join("manifest.json"), manifest).unwrap();
    let input = r#"{"settings":{"url":"https://a.example/hook"},"notification":{"type":"a.b","title":"x"}}"#;
    std::fs::write(here.join("attempt.json"), input).unwrap();
    let pack = ["plugin", "pack", "build/poster.component.wasm", "--manifest", "manifest.json"];

    let checked = fanfare(here, ["plugin", "check", "build/poster.component.wasm"]);
    assert!(checked.code == Some(1) && checked.err.contains("manifest"), "{checked:#?}");
    let packed = fanfare(here, pack).good();
    assert!(packed.contains("poster 2.0.0, a channel"), "{packed}");
    assert!(packed.lines().last().unwrap().ends_with("poster.wasm"), "{packed}");
    // It is there already: only by force.
    let again = fanfare(here, pack);
    assert!(again.code == Some(2) && again.err.contains("pack.exists"), "{again:#?}");
    let told = fanfare(here, pack.iter().chain(&["--force", "--json"])).json();
    let bytes = std::fs::read(here.join("poster.wasm")).unwrap();
    assert_eq!(told["bytes"], bytes.len());
    let elsewhere = fanfare(here, pack.iter().chain(&["--output", "other.wasm"]));
    assert_eq!(elsewhere.code, Some(0), "{elsewhere:#?}");
    assert_eq!(
        std::fs::read(here.join("other.wasm")).unwrap(),
        bytes,
        "the same goes in, the same comes out"
    );

    let checked = fanfare(here, ["plugin", "check", "poster.wasm", "--input", "attempt.json"]).good();
    assert!(checked.contains("a gateway takes it") && checked.contains("poster"), "{checked}");
    let run = ["plugin", "run", "poster.wasm", "--input", "attempt.json", "--json"];
    let told = fanfare(here, run).json();
    assert_eq!(told["outcome"], "delivered", "{told:#}");
    assert!(told["requests"][0].to_string().contains("https://a.example"), "{told:#}");
    // What is packed already is not packed twice.
    let twice = fanfare(here, ["plugin", "pack", "poster.wasm", "--manifest", "manifest.json", "--force"]);
    assert!(twice.code == Some(2) && twice.err.contains("without a manifest"), "{twice:#?}");
}

#[cfg(unix)]
#[test]
fn without_the_target_the_one_command_is_told() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fanfare(here, ["plugin", "new", "pager"]).good();
    // A compiler that knows no target, and no rustup to add one.
    let rustc = here.join("rustc");
    std::fs::write(&rustc, "#!/bin/sh\necho /nowhere\n").unwrap();
    std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ended =
        command(here).args(["plugin", "build", "pager"]).env("RUSTC", &rustc).env("PATH", here).output();
    let ended = Ended::of(ended.unwrap());
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.err.contains("rustup target add wasm32-wasip2"), "{}", ended.err);
}

#[test]
fn mistakes_are_told_with_a_code_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("text.wasm"), "hello").unwrap();
    std::fs::write(here.join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    std::fs::write(here.join("bare.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    std::fs::write(here.join("manifest.json"), "{}").unwrap();
    std::fs::write(here.join("bad.json"), r#"{"notification":{"titel":"x"}}"#).unwrap();
    let cases: &[(&[&str], i32, &str, &str)] = &[
        (&["build"], 2, "build.project", "fanfare plugin new NAME"),
        (&["build", "nowhere"], 2, "build.project", "nowhere"),
        (&["new", "Pager"], 2, "project.name", "such as pager"),
        (&["new", "pager", "--lang", "cobol"], 2, "project.language", "--lang rust"),
        (&["check", "nothing.wasm"], 2, "file.unusable", "nothing.wasm"),
        (&["check", "text.wasm"], 1, "plugin.invalid", "no WebAssembly component"),
        (&["check", "core.wasm"], 1, "plugin.invalid", "wasm32-wasip2"),
        (&["check", "bare.wasm"], 1, "plugin.invalid", "manifest"),
        (&["run", "text.wasm"], 1, "plugin.invalid", "no WebAssembly component"),
        (&["run", "text.wasm", "--input", "bad.json"], 2, "input.invalid", "notification.titel"),
        (&["test", "."], 2, "plugin.several", "name one"),
        (
            &["pack", "core.wasm", "--manifest", "manifest.json"],
            2,
            "plugin.invalid",
            "wasm-tools component new",
        ),
        (&["pack", "bare.wasm", "--manifest", "manifest.json"], 1, "plugin.invalid", "missing field `name`"),
    ];
    for (arguments, code, word, says) in cases {
        let ended = fanfare(here, ["plugin"].iter().chain(*arguments));
        assert_eq!(ended.code, Some(*code), "{arguments:?}: {ended:#?}");
        assert!(ended.err.contains(word) && ended.err.contains(says), "{arguments:?}: {}", ended.err);
        let ended = fanfare(here, ["plugin"].iter().chain(*arguments).chain(&["--json"]));
        let error: serde_json::Value = serde_json::from_str(&ended.err).unwrap();
        assert_eq!(error["code"], *word, "{arguments:?}");
    }
    for command in ["new", "build", "pack", "check", "run", "test"] {
        let help = fanfare(here, ["plugin", command, "--help"]).good();
        assert!(help.contains("Examples:") && help.contains("--json"), "{command}: {help}");
    }
    for bad in [&["--reply", "slow"][..], &["--header", "none"], &["--header", "a b: c"]] {
        let ended = fanfare(here, ["plugin", "run", "text.wasm"].iter().chain(bad));
        assert_eq!(ended.code, Some(2), "{bad:?}: {ended:#?}");
    }
}
