//! A receiver that tells the test what arrives, and answers what the test says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::Value;

/// A webhook as it arrived.
pub(crate) struct Heard {
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// While it is there, the receiver that it came with answers nobody.
pub(crate) struct Held(#[expect(dead_code, reason = "it is there to be dropped")] mpsc::Sender<()>);

pub(crate) struct Hook {
    pub(crate) address: SocketAddr,
    pub(crate) heard: mpsc::Receiver<Heard>,
}

impl Hook {
    /// A receiver that answers with the status that `answer` gives; it may take its time.
    pub(crate) fn start(answer: impl Fn() -> u16 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::channel();
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tell, answer) = (tell.clone(), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &tell, &*answer));
            }
        });
        Self { address, heard }
    }

    /// A receiver that hears, and answers nobody until what comes with it is dropped; then 204.
    pub(crate) fn held() -> (Self, Held) {
        let (held, end) = mpsc::channel::<()>();
        let end = Mutex::new(end);
        let hook = Self::start(move || {
            // Nothing is ever sent: this is the end of the other side.
            let _ = end.lock().unwrap().recv();
            204
        });
        (hook, Held(held))
    }

    /// The section of a webhook channel that leads here.
    pub(crate) fn channel(&self, name: &str) -> String {
        format!("[channels.{name}]\nplugin = \"webhook\"\n{}", self.reach())
    }

    /// The lines of a channel's section that lead here, whatever its plugin.
    pub(crate) fn reach(&self) -> String {
        format!(
            "settings = {{ url = \"http://{0}/\" }}\ngrants = {{ http = [\"http://{0}\"] }}\n",
            self.address
        )
    }
}

fn serve(stream: TcpStream, tell: &mpsc::Sender<Heard>, answer: &dyn Fn() -> u16) -> Option<()> {
    let mut write = stream.try_clone().ok()?;
    let mut read = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if read.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            }
            head.push_str(&line);
            head.push('\n');
        }
        let mut body = vec![0; length];
        read.read_exact(&mut body).ok()?;
        // The test may have seen enough.
        let _ = tell.send(Heard { head, body: serde_json::from_slice(&body).unwrap_or_default() });
        let status = answer();
        write.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").as_bytes()).ok()?;
    }
}
