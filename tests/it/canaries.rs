//! Canaries: each first-party channel has secrets that can be told from all else, and a receiver that sends everything back
//! that it is sent. Then they are looked for in the guests' linear memories, in the log, in the trace and in the errors.
//!
//! The channels are warm, so that their memories are there to be read once their attempts have ended.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::house::House;

/// Forms of the secrets that must be nowhere; base64 of the mail's is what a login sends.
const CANARIES: [&str; 7] = [
    "canary-webhook-token-91c7",
    "Y2FuYXJ5LXdlYmhvb2stc2lnbmluZy0wNGQyLXN1cmVseQ",
    "canary-webhook-signing-04d2-surely",
    "canary-slack-path-5be0",
    "canary-sms-secret-d3f8",
    "canary-mail-password-77aa",
    "canary-console-prefix-20b4",
];

/// What the receivers saw, to be sure that the secrets went out at all.
type Seen = Arc<Mutex<String>>;

/// Sends back what it is sent, in body and header, as a refusal.
fn mirror(seen: &Seen) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::clone(seen));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || reflect(stream, &seen));
        }
    });
    address
}

fn reflect(mut stream: TcpStream, seen: &Seen) -> Option<()> {
    let mut read = BufReader::new(stream.try_clone().ok()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if read.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
        head.push_str(line);
        head.push(' ');
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body).ok()?;
    seen.lock().unwrap().push_str(&head);
    let token = head.split("x-token: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("none");
    let back = serde_json::json!({ "errorCode": "Mirrored", "errorMessage": head }).to_string();
    let answer = format!(
        "HTTP/1.1 400 X\r\nconnection: close\r\nx-back: {token}\r\ncontent-length: {}\r\n\r\n{back}",
        back.len()
    );
    stream.write_all(answer.as_bytes()).ok()
}

/// A mail server that refuses every login, in the words of the login.
fn mail_mirror(seen: &Seen) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::clone(seen));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let read = BufReader::new(stream.try_clone().unwrap());
            let _ = stream.write_all(b"220 mirror\r\n");
            for line in read.lines().map_while(Result::ok) {
                seen.lock().unwrap().push_str(&line);
                let answer = match line.split(' ').next().unwrap_or_default() {
                    "EHLO" => "250-mirror\r\n250 AUTH PLAIN\r\n".to_owned(),
                    "AUTH" => format!("535 5.7.8 not {line} canary-mail-password-77aa\r\n"),
                    "QUIT" => break,
                    _ => "550 no\r\n".to_owned(),
                };
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    address
}

fn sections(folder: &Path, mirror: SocketAddr, mail: SocketAddr) -> String {
    let secret = |name: &str, value: &str| {
        let path = folder.join(name);
        std::fs::write(&path, value).unwrap();
        format!("file:{}", path.display())
    };
    let [token, signing, _, slack, sms, password, prefix] = CANARIES;
    let open =
        format!("grants = {{ http = [\"http://{mirror}\"], smtp = [\"{mail}\"], allow_private = true }}");
    let warm = "isolation = \"warm\"\nretry = { max_retries = 0 }";
    format!(
        "[channels.console]\nplugin = \"console\"\n{warm}\nsecrets = {{ p = \"{}\" }}\nsettings = {{ prefix = \"${{secret:p}}\" }}\n\
         [channels.webhook]\nplugin = \"webhook\"\n{warm}\n{open}\nsecrets = {{ signing = \"{}\", token = \"{}\" }}\n\
         settings = {{ url = \"http://{mirror}/hook\", headers = {{ x-token = \"${{secret:token}}\" }} }}\n\
         [channels.slack]\nplugin = \"slack\"\n{warm}\n{open}\nsecrets = {{ path = \"{}\" }}\n\
         settings = {{ url = \"http://{mirror}/${{secret:path}}\" }}\n\
         [channels.coolsms]\nplugin = \"coolsms\"\n{warm}\n{open}\nsecrets = {{ api-secret = \"{}\" }}\n\
         settings = {{ api_key = \"KEY\", from = \"0212345678\", to = \"01012345678\", base_url = \"http://{mirror}\" }}\n\
         [channels.email]\nplugin = \"email\"\n{warm}\n{open}\nsecrets = {{ password = \"{}\" }}\n\
         settings = {{ host = \"{}\", port = {}, encryption = \"none\", username = \"me\", from = \"a@example.org\", to = \"b@example.org\" }}\n",
        secret("prefix", prefix),
        secret("signing", &format!("whsec_{signing}==")),
        secret("token", token),
        secret("slack", slack),
        secret("sms", sms),
        secret("password", password),
        mail.ip(),
        mail.port(),
    )
}

/// The linear memories of all guests that live in a process, by the images that the engine maps them from: from such a
/// mapping both ways, as far as pages that can be written to follow without a gap.
fn linear_memories(pid: u32) -> Vec<Vec<u8>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut runs: Vec<(u64, u64, bool)> = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, flags) = (words.next().unwrap(), words.next().unwrap());
        if !flags.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let is_image = line.contains("memfd:wasm-memory-image");
        match runs.last_mut() {
            Some((_, end, image)) if *end == from => {
                *end = to;
                *image |= is_image;
            }
            _ => runs.push((from, to, is_image)),
        }
    }
    let mut memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let guests = runs.into_iter().filter(|(_, _, image)| *image);
    guests
        .map(|(from, to, _)| {
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            memory.seek(SeekFrom::Start(from)).unwrap();
            memory.read_exact(&mut bytes).unwrap();
            bytes
        })
        .collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[cfg(target_os = "linux")]
#[test]
fn no_secret_of_a_first_party_channel_is_in_its_memory_the_log_the_trace_or_an_error() {
    let seen = Seen::default();
    let (mirror, mail) = (mirror(&seen), mail_mirror(&seen));
    let folder = tempfile::tempdir().unwrap();
    let sections = sections(folder.path(), mirror, mail);
    let house = House::start_in(folder, "", &sections);
    let channels = ["console", "webhook", "slack", "coolsms", "email"];
    let mut told = String::new();
    for channel in channels {
        let body =
            format!(r#"{{"type":"a.b","body":"tracer-of-{channel}-3c","to":[{{"channel":"{channel}"}}]}}"#);
        let ended = house.submit_and_wait(&body);
        let status = ended["deliveries"][0]["status"].as_str().unwrap();
        assert_eq!(status, if channel == "console" { "delivered" } else { "dead" }, "{ended}");
        let trace =
            house.call("GET", &format!("/api/v1/notifications/{}/trace", ended["id"].as_str().unwrap()), "");
        told.push_str(&format!("{ended}\n{}\n", trace.1));
    }
    told.push_str(&house.call("GET", "/api/v1/admin/dlq", "").1.to_string());
    told.push_str(&house.gateway.log());
    let out = seen.lock().unwrap().clone();
    for sent in ["canary-webhook-token-91c7", "canary-slack-path-5be0", "webhook-signature", "signature="] {
        assert!(out.to_ascii_lowercase().contains(sent), "{sent} did not go out: {out}");
    }
    let memories = linear_memories(house.gateway.id());
    for channel in channels {
        let tracer = format!("tracer-of-{channel}-3c");
        let found = memories.iter().filter(|memory| contains(memory, &tracer)).count();
        assert!(found >= 1, "the memory of {channel} is not among the {} that were read", memories.len());
    }
    for canary in CANARIES {
        assert!(!told.contains(canary), "{canary}: {told}");
        assert!(!memories.iter().any(|memory| contains(memory, canary)), "{canary} is in a guest's memory");
    }
}
