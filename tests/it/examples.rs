//! The examples, as their author would use them: built by the command line, named in a configuration, and put to work.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::child::{Gateway, call, call_with};

/// A chat server: takes every message, and tells its `authorization` and its JSON.
fn chat_server() -> (SocketAddr, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || converse(stream, &tell));
        }
    });
    (address, told)
}

fn converse(stream: TcpStream, tell: &mpsc::Sender<(String, Value)>) -> Option<()> {
    let mut write = stream.try_clone().ok()?;
    let mut read = BufReader::new(stream);
    loop {
        let (mut token, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if read.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("authorization", value)) => value.clone_into(&mut token),
                Some(("content-length", value)) => length = value.parse().ok()?,
                Some(_) => {}
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; length];
        read.read_exact(&mut body).ok()?;
        tell.send((token, serde_json::from_slice(&body).ok()?)).ok()?;
        write.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").ok()?;
    }
}

/// `fanfare plugin build examples`; answers nothing, for it leaves each component in its project.
fn build(examples: &Path) {
    let built = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(["plugin", "build"])
        .arg(examples)
        .env("CARGO_TARGET_DIR", examples.join("target"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
}

#[test]
fn the_examples_are_built_by_the_command_line_and_send_and_route_in_a_gateway() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").canonicalize().unwrap();
    build(&examples);
    let (address, told) = chat_server();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    std::fs::write(folder.path().join("token"), "s3cret").unwrap();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n[channels.log]\nplugin = \"console\"\n\
         [channels.chat]\nplugin = \"{0}/chat-channel/chat-channel.wasm\"\n\
         settings = {{ url = \"http://{address}/rooms\", token = \"${{secret:token}}\" }}\n\
         secrets = {{ token = \"file:{1}/token\" }}\ngrants = {{ http = [\"http://{address}\"] }}\n\
         [users.ann]\ncontacts = [{{ channel = \"chat\", address = \"ops\" }}, {{ channel = \"log\" }}]\n\
         [routers.default]\nplugin = \"{0}/duty-router/duty-router.wasm\"\nsettings = {{ fallback = \"log\" }}\n",
        examples.display(),
        folder.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let gateway = Gateway::start(&config);
    let send = |body: Value| {
        let waiting = "prefer: wait=60\r\n";
        let sent = call_with(gateway.address, "POST", "/api/v1/notifications", waiting, &body.to_string());
        let (_, _, sent) = sent.unwrap();
        let path = format!("/api/v1/notifications/{}", sent["id"].as_str().unwrap());
        let state = call(gateway.address, "GET", &path, "").unwrap().1;
        assert_eq!(state["status"], "done", "{state}");
        let deliveries = state["deliveries"].as_array().unwrap().iter();
        deliveries
            .map(|one| format!("{} {}", one["channel"].as_str().unwrap(), one["status"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    let ann = json!([{ "user": "ann" }]);
    assert_eq!(send(json!({ "type": "a.b", "title": "One way", "to": ann })), ["chat delivered"]);
    let (token, message) = told.recv().unwrap();
    assert_eq!((token.as_str(), message), ("Bearer s3cret", json!({ "room": "ops", "text": "One way" })));
    let every_way = send(json!({ "type": "a.b", "priority": "critical", "title": "Every way", "to": ann }));
    assert_eq!(every_way, ["chat delivered", "log delivered"]);
    assert_eq!(told.recv().unwrap().1["text"], "Every way");
    assert_eq!(send(json!({ "type": "a.b" })), ["log delivered"], "to nobody: the fallback");
}
