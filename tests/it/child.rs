//! The gateway as a child process, a receiver, and a client small enough to be sure of.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::Value;

/// A running gateway.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    /// Starts `fanfare serve` and waits until it says where it serves.
    pub(crate) fn start(config: &Path) -> Self {
        Self::start_with(config, &[])
    }

    /// The same with further variables in its environment.
    pub(crate) fn start_with(config: &Path, environment: &[(&str, &Path)]) -> Self {
        Self::start_as(config, environment, &[])
    }

    /// The same with further arguments.
    pub(crate) fn start_watching(config: &Path, arguments: &[&Path]) -> Self {
        Self::start_as(config, &[], arguments)
    }

    fn start_as(config: &Path, environment: &[(&str, &Path)], arguments: &[&Path]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .arg("serve")
            .arg("--config")
            .arg(config)
            .args(arguments)
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said: Vec<String> = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else { panic!("the gateway did not start: {said:#?}") };
            if let Ok(line) = serde_json::from_str::<Value>(&line)
                && line["message"] == "serving"
            {
                break line["address"].as_str().unwrap().parse().unwrap();
            }
            said.push(line);
        };
        let log = Arc::new(Mutex::new(said));
        let kept = Arc::clone(&log);
        // The log is read on, so that the gateway never waits for us.
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        Self { child, address, log }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own; `None` when the gateway went away.
pub(crate) fn call(to: SocketAddr, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    call_with(to, method, path, "", body).map(|(status, _, answer)| (status, answer))
}

/// The same with further header lines, each ended by CR LF; answers the head too.
pub(crate) fn call_with(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Option<(u16, String, Value)> {
    let mut stream = TcpStream::connect(to).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_ascii_lowercase(), serde_json::from_str(body).ok()?))
}

/// Writes `bytes` as they are, and reads until the gateway closes.
pub(crate) fn exchange(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Answers every webhook with one status, 204 at first, and notes in which round it saw which delivery.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) status: Arc<AtomicU16>,
    pub(crate) round: Arc<AtomicU32>,
    pub(crate) seen: Arc<Mutex<HashMap<String, Vec<u32>>>>,
    /// Connections that are served.
    open: Arc<(Mutex<usize>, Condvar)>,
}

impl Receiver {
    /// Waits until all is read that a gateway which is dead has sent. Connections are accepted in their order, so once one of
    /// its own is answered there are no others to come, and each ends with the process that made it.
    pub(crate) fn drain(&self) {
        let mut own = TcpStream::connect(self.address).unwrap();
        own.write_all(b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n").unwrap();
        own.read_exact(&mut [0; 8]).unwrap();
        drop(own);
        let (open, ended) = &*self.open;
        let mut open = open.lock().unwrap();
        while *open > 0 {
            open = ended.wait(open).unwrap();
        }
        self.seen.lock().unwrap().remove("");
    }

    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            status: Arc::new(AtomicU16::new(204)),
            round: Arc::default(),
            seen: Arc::default(),
            open: Arc::default(),
        };
        let open = Arc::clone(&receiver.open);
        let (status, round, seen) =
            (Arc::clone(&receiver.status), Arc::clone(&receiver.round), Arc::clone(&receiver.seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (status, round, seen) = (Arc::clone(&status), Arc::clone(&round), Arc::clone(&seen));
                let open = Arc::clone(&open);
                *open.0.lock().unwrap() += 1;
                std::thread::spawn(move || {
                    serve(stream, &status, &round, &seen);
                    *open.0.lock().unwrap() -= 1;
                    open.1.notify_all();
                });
            }
        });
        receiver
    }
}

fn serve(
    stream: TcpStream,
    status: &AtomicU16,
    round: &AtomicU32,
    seen: &Mutex<HashMap<String, Vec<u32>>>,
) -> Option<()> {
    let mut write = stream.try_clone().ok()?;
    let mut read = BufReader::new(stream);
    loop {
        let (mut id, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if read.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            match name.to_ascii_lowercase().as_str() {
                "webhook-id" => value.clone_into(&mut id),
                "content-length" => length = value.parse().ok()?,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        read.read_exact(&mut body).ok()?;
        seen.lock().unwrap().entry(id).or_default().push(round.load(Ordering::SeqCst));
        let status = status.load(Ordering::SeqCst);
        let length = if status == 204 { "" } else { "content-length: 0\r\n" };
        write.write_all(format!("HTTP/1.1 {status} answer\r\n{length}\r\n").as_bytes()).ok()?;
    }
}
