//! A mail server of a distribution, exim, one for each test: a real one, so that nothing of ours plays both sides.
//!
//! It runs as whoever runs the test, in a folder of its own, a process for each connection with the socket as its input and
//! output, and it keeps what it takes in its spool and delivers nothing. These mailboxes do not take everything:
//! `gone@` is refused for good, and `busy@` puts the first mail off once it has read the whole of it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mailparse::{MailHeaderMap as _, ParsedMail};

/// Where distributions put it; ordinary users often have no `sbin` in their path.
const PROGRAMS: [&str; 4] =
    ["/usr/sbin/exim4", "/usr/sbin/exim", "/usr/local/sbin/exim", "/opt/homebrew/bin/exim"];

/// Its certificate is for `localhost`, and is its own authority.
pub(crate) const CERTIFICATE: &str = include_str!("data/localhost.pem");
const KEY: &str = include_str!("data/localhost.key");

const CONFIG: &str = r"
spool_directory = FOLDER/spool
log_file_path = FOLDER/log-%s
pid_file_path = FOLDER/pid
exim_user = USER
exim_group = GROUP
primary_hostname = mx.example.org
keep_environment =
host_lookup =
rfc1413_query_timeout = 0s
queue_only
smtputf8_advertise_hosts = *
tls_advertise_hosts = *
tls_certificate = FOLDER/localhost.pem
tls_privatekey = FOLDER/localhost.key
# The login is offered under TLS alone.
auth_advertise_hosts = ${if eq{$tls_in_cipher}{}{}{*}}
acl_smtp_rcpt = recipient
acl_smtp_data = content

begin acl
recipient:
  deny    local_parts = gone
          message = 550 5.1.1 there is no such mailbox
  accept

content:
  # A folder can be made once. `fakedefer` answers 4xx and keeps the mail, so that both attempts can be compared.
  accept  condition = ${if match{$recipients}{busy@}}
          condition = ${run{/bin/mkdir FOLDER/put-off}{yes}{no}}
          control = fakedefer/4.3.2 not now
  accept

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{fanfare}}{eq{$auth3}{pass word}}}}
  server_set_id = $auth2
";

/// A running mail server.
pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
}

/// What it took.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Its own notes: sender, protocol, login, recipients.
    pub(crate) envelope: String,
    /// Header and body, as they came.
    pub(crate) bytes: Vec<u8>,
}

impl MailServer {
    /// Starts one; `None`, and a word about it, where none is installed and nobody promised one.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = PROGRAMS.iter().map(Path::new).find(|program| program.exists()) else {
            missing();
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        let config = CONFIG.replace("FOLDER", place).replace("USER", &id("-un")).replace("GROUP", &id("-gn"));
        for (name, text) in
            [("exim.conf", config.as_str()), ("localhost.pem", CERTIFICATE), ("localhost.key", KEY)]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), folder };
        let config = server.folder.path().join("exim.conf");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let again = stream.try_clone().unwrap();
                let mut process = Command::new(program);
                process.arg("-C").arg(&config).arg("-bs").stderr(Stdio::null());
                process.stdin(OwnedFd::from(stream)).stdout(OwnedFd::from(again));
                let mut process = process.spawn().unwrap();
                std::thread::spawn(move || process.wait());
            }
        });
        Some(server)
    }

    /// What it has taken, in the order in which it came. A mail is in the spool before its answer is sent.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        let input = self.folder.path().join("spool/input");
        let Ok(entries) = std::fs::read_dir(input) else { return Vec::new() };
        let mut heads: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_str().unwrap().ends_with("-H"))
            .collect();
        // Names begin with the time, in digits, large and small letters.
        heads.sort();
        heads.iter().map(|head| taken(head)).collect()
    }
}

/// In the spool a mail is two files: notes and header fields, each field behind its length and a flag; and the body behind a name.
fn taken(head: &Path) -> Taken {
    let text = std::fs::read_to_string(head).unwrap();
    let body = head.to_str().unwrap().strip_suffix("-H").unwrap().to_owned() + "-D";
    let body = std::fs::read(body).unwrap();
    let (envelope, mut rest) = text.split_once("\n\n").unwrap();
    let mut bytes = Vec::new();
    while let Some(digits) = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits > 0) {
        let length: usize = rest[..digits].parse().unwrap();
        // One flag and one space.
        let field = &rest[digits + 2..digits + 2 + length];
        // `*` marks a field that exim replaced.
        if !rest[digits..].starts_with('*') {
            bytes.extend(field.bytes());
        }
        rest = &rest[digits + 2 + length..];
    }
    bytes.push(b'\n');
    let first_line = body.iter().position(|byte| *byte == b'\n').unwrap();
    bytes.extend(&body[first_line + 1..]);
    Taken { envelope: envelope.to_owned(), bytes }
}

impl Taken {
    /// Decoded by a library that has no part in encoding it.
    pub(crate) fn parsed(&self) -> ParsedMail<'_> {
        mailparse::parse_mail(&self.bytes).unwrap()
    }

    /// A header field, decoded.
    pub(crate) fn field(&self, name: &str) -> String {
        self.parsed().headers.get_first_value(name).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }
}

fn id(argument: &str) -> String {
    let output = Command::new("id").arg(argument).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// In CI a test that can't run has failed. Elsewhere it says so past the capture of test output.
#[allow(clippy::disallowed_methods, reason = "the test's own environment, not the gateway's")]
fn missing() {
    use std::io::Write as _;
    let what = "the mail tests need exim: `apt-get install --no-install-recommends exim4-daemon-light`";
    assert!(std::env::var("CI").is_err(), "{what}");
    let _ = writeln!(std::io::stderr(), "\n*** NOT TESTED: {what} ***\n");
}
