//! What operators see of plugins, and change under them while the gateway runs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;

use crate::child::{Gateway, call};

/// A receiver that tells the `x-token` of each request.
fn receiver() -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut buffer = [0; 4_096];
            // The body is small and follows the head at once; what counts here is the head.
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(read @ 1..) => head.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let token = head.lines().find_map(|line| line.strip_prefix("x-token: "));
            let _ = tell.send(token.unwrap_or_default().to_owned());
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.write_all(answer);
            // Until the other side is done, so that a late part of the body meets no reset.
            while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
        }
    });
    (address, told)
}

fn configuration(receiver: SocketAddr, secret: &Path) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n[channels.hook]\nplugin = \"webhook\"\n\
         [channels.hook.settings]\nurl = \"http://{receiver}/\"\nheaders = {{ x-token = \"${{secret:token}}\" }}\n\
         [channels.hook.secrets]\ntoken = \"file:{}\"\n\
         [channels.hook.grants]\nhttp = [\"http://{receiver}\"]\nallow_private = true\n",
        secret.display()
    )
}

fn metrics(gateway: &Gateway) -> String {
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The value of the series that begins so.
fn series(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn a_rotated_secret_is_used_after_a_reload_by_the_same_generation_and_its_calls_are_in_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, config) = (folder.path().join("token"), folder.path().join("fanfare.toml"));
    let (receiver, told) = receiver();
    std::fs::write(&secret, "first").unwrap();
    std::fs::write(&config, configuration(receiver, &secret)).unwrap();
    let gateway = Gateway::start(&config);
    let send = || {
        let body = r#"{"type":"a.b","body":"text","to":[{"channel":"hook"}]}"#;
        assert_eq!(call(gateway.address, "POST", "/api/v1/notifications", body).unwrap().0, 202);
        told.recv().unwrap()
    };
    assert_eq!(send(), "first");
    std::fs::write(&secret, "second").unwrap();
    gateway.signal("HUP");
    // A reload tells nobody when it is done; each delivery carries the one value or the other.
    while send() != "second" {}
    let text = loop {
        let text = metrics(&gateway);
        let calls = series(&text, r#"fanfare_plugin_calls_total{channel="hook",generation="1"}"#);
        // The last call ends after its receiver answered.
        if calls.is_some_and(|calls| calls >= 2.0) {
            break text;
        }
    };
    for name in [
        "fanfare_plugin_cpu_seconds_total",
        "fanfare_plugin_memory_peak_bytes",
        "fanfare_plugin_host_calls_total",
        "fanfare_plugin_requests_total",
        "fanfare_plugin_sent_bytes_total",
    ] {
        let series = series(&text, &format!(r#"{name}{{channel="hook",generation="1"}}"#));
        assert!(series.is_some_and(|value| value > 0.0), "{name}: {text}");
    }
    assert!(!text.contains(r#"generation="2""#), "{text}");
}
