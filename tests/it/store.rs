//! `fanfare store` against the real binary: while it serves, after it died, and on a store that someone damaged.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::child::{Gateway, call};

/// A configuration whose store lies in `store`.
fn configured(folder: &Path, store: &Path) -> PathBuf {
    let config = folder.join("fanfare.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n[store]\npath = \"{}\"\n\
         [channels.log]\nplugin = \"console\"\n",
        store.display()
    );
    fs::write(&config, text).unwrap();
    config
}

fn fanfare(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fanfare")).args(args).output().unwrap()
}

/// The command's JSON and its exit code.
fn store(args: &[&str]) -> (Option<i32>, Value) {
    let output = fanfare(&[&["store", "--json"], args].concat());
    let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    let value = serde_json::from_slice(text);
    (output.status.code(), value.unwrap_or_else(|_| panic!("{args:?}: {output:?}")))
}

/// Notifications that wait for a later day.
fn submit(gateway: &Gateway, count: usize) -> Vec<String> {
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 30);
    let body = format!(r#"{{"type":"later.on","to":[{{"channel":"log"}}],"title":"x","send_at":"{later}"}}"#);
    let submit = |_| {
        let (status, answer) = call(gateway.address, "POST", "/api/v1/notifications", &body).unwrap();
        assert_eq!(status, 202, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    };
    (0..count).map(submit).collect()
}

fn assert_all_there(gateway: &Gateway, ids: &[String]) {
    for id in ids {
        let (status, _) = call(gateway.address, "GET", &format!("/api/v1/notifications/{id}"), "").unwrap();
        assert_eq!(status, 200, "{id} is lost");
    }
}

#[test]
fn a_store_that_is_served_is_counted_and_copied_and_a_gateway_starts_from_the_copy() {
    let folder = tempfile::tempdir().unwrap();
    let store_path = folder.path().join("store");
    let config = configured(folder.path(), &store_path);
    let config = config.to_str().unwrap();
    let gateway = Gateway::start(Path::new(config));
    let ids = submit(&gateway, 30);

    let (code, stats) = store(&["stats", "-c", config]);
    assert_eq!((code, &stats["kinds"]["body"]["records"]), (Some(0), &Value::from(30)), "{stats}");

    // What needs the store alone says who has it, and so does a second gateway.
    let holder = format!("process {}", gateway.id());
    for command in ["check", "rebuild", "repair"] {
        let (code, error) = store(&[command, "-c", config]);
        assert_eq!((code, error["code"].as_str()), (Some(1), Some("store.in-use")), "{error}");
        assert!(error["detail"].as_str().unwrap().contains(&holder), "{error}");
    }
    let second = fanfare(&["serve", "-c", config]);
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains(&holder), "{second:?}");

    let backup = folder.path().join("backup");
    let (code, report) = store(&["backup", backup.to_str().unwrap(), "-c", config]);
    assert_eq!(code, Some(0), "{report}");
    let (code, error) = store(&["backup", backup.to_str().unwrap(), "-c", config]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error["detail"].as_str().unwrap().contains("is not empty"), "{error}");
    submit(&gateway, 3);
    gateway.kill();

    let (code, report) = store(&["check", "--path", backup.to_str().unwrap()]);
    assert_eq!((code, &report["whole"]), (Some(0), &Value::Bool(true)), "{report}");
    assert_eq!(report["kinds"]["due"]["records"], 30);
    let other = tempfile::tempdir().unwrap();
    let restored = Gateway::start(&configured(other.path(), &backup));
    assert_all_there(&restored, &ids);
    // What a dead process left of its socket is in nobody's way.
    let (code, stats) = store(&["stats", "-c", config]);
    assert_eq!((code, &stats["kinds"]["body"]["records"]), (Some(0), &Value::from(33)), "{stats}");
}

#[test]
fn a_damaged_store_is_named_by_segment_and_offset_and_serves_after_a_repair() {
    let folder = tempfile::tempdir().unwrap();
    let store_path = folder.path().join("store");
    let config = configured(folder.path(), &store_path);
    let config = config.to_str().unwrap();
    let gateway = Gateway::start(Path::new(config));
    let ids = submit(&gateway, 20);
    gateway.kill();
    let (code, report) = store(&["check", "-c", config]);
    assert_eq!(code, Some(0), "{report}");

    let mut segments: Vec<_> =
        fs::read_dir(store_path.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let segment = segments.pop().unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    let mut bytes = fs::read(&segment).unwrap();
    // Among the notifications, which were written last.
    let middle = bytes.len() - 3_000;
    bytes[middle] ^= 1;
    fs::write(&segment, &bytes).unwrap();

    let check = fanfare(&["store", "check", "-c", config]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(5), "{said}");
    assert!(said.contains(&format!("frame.broken: {name} at offset ")), "{said}");
    fs::remove_dir_all(store_path.join("index")).unwrap();
    let start = fanfare(&["serve", "-c", config]);
    let said = String::from_utf8_lossy(&start.stderr).into_owned();
    assert!(
        !start.status.success() && said.contains(&name) && said.contains("fanfare store repair"),
        "{said}"
    );

    let (code, report) = store(&["repair", "-c", config]);
    assert_eq!(code, Some(5), "{report}");
    assert!(report["damage"][0]["text"].as_str().unwrap().contains("held commit"), "{report}");
    assert_eq!(fs::read(store_path.join("damaged-1").join(&name)).unwrap(), bytes);
    for command in ["check", "rebuild", "check", "repair"] {
        let (code, report) = store(&[command, "-c", config]);
        assert_eq!(code, Some(0), "{command}: {report}");
    }
    let gateway = Gateway::start(Path::new(config));
    let there = |id: &&String| {
        call(gateway.address, "GET", &format!("/api/v1/notifications/{id}"), "").unwrap().0 == 200
    };
    // One frame held one notification, for nobody else was writing.
    assert_eq!(ids.iter().filter(there).count(), 19);
}

#[test]
fn a_report_is_one_document_also_where_the_index_can_not_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let store_path = folder.path().join("store");
    let config = configured(folder.path(), &store_path);
    let config = config.to_str().unwrap();
    let mut gateway = Gateway::start(Path::new(config));
    submit(&gateway, 20);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    for slab in fs::read_dir(store_path.join("index/slabs")).unwrap() {
        File::options().write(true).open(slab.unwrap().path()).unwrap().set_len(0).unwrap();
    }
    let output = fanfare(&["store", "check", "--json", "-c", config]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The journal has it all, so nothing is damaged.
    assert_eq!((output.status.code(), &report["index"]["state"]), (Some(0), &"unusable".into()), "{report}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("failed to read"), "sled no longer prints that");
    let (code, report) = store(&["rebuild", "-c", config]);
    assert_eq!(code, Some(0), "{report}");
}

#[test]
fn every_store_command_has_help_with_examples_and_refuses_what_is_no_store() {
    for command in ["check", "stats", "rebuild", "repair", "backup"] {
        let help = fanfare(&["store", command, "--help"]);
        let said = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.status.success() && said.contains("Examples:") && said.contains("--json"), "{said}");
    }
    let nowhere = tempfile::tempdir().unwrap();
    let path = nowhere.path().join("none");
    for command in [&["check"][..], &["stats"], &["rebuild"], &["repair"], &["backup", "/tmp/none-either"]] {
        let (code, error) = store(&[command, &["--path", path.to_str().unwrap()]].concat());
        assert_eq!((code, error["code"].as_str()), (Some(1), Some("store.absent")), "{error}");
    }
    assert!(!path.exists());
}
