//! A gateway whose disk runs full: a tmpfs of 64 MiB, most of which somebody else takes, and gives back.
//!
//! The test starts itself once more in a mount namespace of its own, where it may mount. Where that is not allowed (it takes
//! root, or user namespaces) it says so on standard error, and with `FANFARE_TMPFS=required` it fails.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::child::{Gateway, call};
use crate::hook::Hook;
use crate::house::{LOG, NOTIFICATIONS, TO_LOG};

const NAME: &str =
    "full::on_a_full_disk_work_is_refused_507_what_is_under_way_settles_and_all_goes_on_once_there_is_room";

/// Set in the namespace: where the tmpfs is.
const MOUNTED: &str = "FANFARE_ON_TMPFS";

#[test]
fn on_a_full_disk_work_is_refused_507_what_is_under_way_settles_and_all_goes_on_once_there_is_room() {
    if let Some(mounted) = std::env::var_os(MOUNTED) {
        return fill_and_free(Path::new(&mounted));
    }
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64m fanfare '{0}' || exit 77; {MOUNTED}='{0}' exec '{1}' --exact {NAME} --nocapture",
        folder.path().display(),
        std::env::current_exe().unwrap().display()
    );
    for namespace in ["-m", "-rm"] {
        let Ok(output) = Command::new("unshare").args([namespace, "sh", "-c", &script]).output() else {
            break;
        };
        let said =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        if output.status.success() {
            assert!(said.contains("1 passed"), "{said}");
            return;
        }
        assert!(output.status.code() == Some(77) || said.contains("unshare failed"), "{said}");
    }
    assert!(std::env::var_os("FANFARE_TMPFS").is_none(), "no tmpfs can be mounted here, and it is required");
    eprintln!("SKIPPED: no tmpfs can be mounted here: a gateway on a full disk was not tried");
}

/// Takes the room that is left, but for so much.
fn take_all_but(mounted: &Path, bytes_left: u64) -> File {
    let free = || {
        let told = Command::new("df").args(["--output=avail", "-B1"]).arg(mounted).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        told.lines().last().unwrap().trim().parse::<u64>().unwrap()
    };
    let mut ballast = File::create(mounted.join("ballast")).unwrap();
    while free() > bytes_left {
        let piece = (free() - bytes_left).min(64 * 1024);
        ballast.write_all(&vec![1; usize::try_from(piece).unwrap()]).unwrap();
    }
    ballast
}

fn fill_and_free(mounted: &Path) {
    let (hook, held) = Hook::held();
    let config = mounted.join("fanfare.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[store]\npath = \"{}\"\n[log]\nformat = \"json\"\n{LOG}{}",
        mounted.join("data").display(),
        hook.channel("hook")
    );
    std::fs::write(&config, text).unwrap();
    let mut gateway = Gateway::start(&config);
    let to = gateway.address;
    let ask = move |method: &str, path: &str, body: &str| call(to, method, path, body).unwrap();
    let until = |path: &str, found: &dyn Fn(u16, &Value) -> bool| loop {
        let (status, answer) = ask("GET", path, "");
        if found(status, &answer) {
            return answer;
        }
        std::thread::yield_now();
    };

    // Three are under way when the room goes; each has its attempt before.
    let under_way: Vec<String> = (0..3)
        .map(|_| {
            let body = TO_LOG.replace("log", "hook");
            let (status, accepted) = ask("POST", NOTIFICATIONS, &body);
            assert_eq!(status, 202, "{accepted}");
            hook.heard.recv().unwrap();
            format!("{NOTIFICATIONS}/{}", accepted["id"].as_str().unwrap())
        })
        .collect();
    let ballast = take_all_but(mounted, 8 << 20);
    until("/readyz", &|status, answer| status == 503 && answer["reasons"].to_string().contains("free"));
    for (path, body) in
        [(NOTIFICATIONS, TO_LOG.to_owned()), ("/api/v1/notifications/batch", format!("[{TO_LOG},{TO_LOG}]"))]
    {
        let (status, refused) = ask("POST", path, &body);
        assert_eq!((status, refused["code"].as_str()), (507, Some("store.full")), "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains("free"), "{refused}");
    }
    assert_eq!(
        ask("GET", NOTIFICATIONS, "").1["items"].as_array().unwrap().len(),
        3,
        "nothing of it was kept"
    );
    drop(held);
    for path in &under_way {
        let ended = until(path, &|_, answer| answer["status"] == "done");
        assert_eq!(
            (&ended["deliveries"][0]["status"], &ended["deliveries"][0]["attempts"]),
            (&"delivered".into(), &1.into()),
            "{ended}"
        );
    }
    assert_eq!(ask("POST", NOTIFICATIONS, TO_LOG).0, 507, "settling gave no room");

    drop(ballast);
    std::fs::remove_file(mounted.join("ballast")).unwrap();
    until("/readyz", &|status, _| status == 200);
    let (status, accepted) = ask("POST", NOTIFICATIONS, TO_LOG);
    assert_eq!(status, 202, "{accepted}");
    let path = format!("{NOTIFICATIONS}/{}", accepted["id"].as_str().unwrap());
    until(&path, &|_, answer| answer["status"] == "done");

    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let gateway = Gateway::start(&config);
    for path in under_way.iter().chain([&path]) {
        assert_eq!(call(gateway.address, "GET", path, "").unwrap().1["status"], "done");
    }
}
