//! A local SMTP server that follows a script and remembers what it was told, and short ways to write a mail.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::egress::{Grants, Resolve};
use crate::smtp::*;

/// How the server behaves.
#[derive(Clone, Default)]
pub(crate) struct Manners {
    pub(crate) tls: Option<Encryption>,
    /// Replies that differ: to commands that begin so, this.
    pub(crate) replies: Vec<(&'static str, &'static str)>,
}

#[derive(Clone)]
pub(crate) struct SmtpServer {
    pub(crate) address: SocketAddr,
    commands: Arc<Mutex<Vec<String>>>,
    mails: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl SmtpServer {
    pub(crate) async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            Self { address, commands: Arc::default(), mails: Arc::default(), connections: Arc::default() };
        let shared = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, manners) = (shared.clone(), manners.clone());
                tokio::spawn(async move {
                    let _ = shared.converse(stream, &manners).await;
                });
            }
        });
        server
    }

    async fn converse(&self, stream: tokio::net::TcpStream, manners: &Manners) -> std::io::Result<()> {
        let acceptor = TlsAcceptor::from(Arc::new(crate::egress::tests::support::server_config()));
        if manners.tls == Some(Encryption::Tls) {
            let stream = acceptor.accept(stream).await?;
            return self.session(BufReader::new(stream), manners, Greeting::Full).await.map(drop);
        }
        let stream = BufReader::new(stream);
        if let Some(stream) = self.session(stream, manners, Greeting::Full).await? {
            let stream = acceptor.accept(stream.into_inner()).await?;
            self.session(BufReader::new(stream), manners, Greeting::None).await?;
        }
        Ok(())
    }

    /// Gives the stream back when TLS is to begin on it.
    async fn session<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: BufReader<S>,
        manners: &Manners,
        greeting: Greeting,
    ) -> std::io::Result<Option<BufReader<S>>> {
        if matches!(greeting, Greeting::Full) {
            stream.write_all(b"220 test ready\r\n").await?;
        }
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            let command = line.trim_end().to_owned();
            self.commands.lock().unwrap().push(command.clone());
            let special = manners.replies.iter().find(|(prefix, _)| command.starts_with(prefix));
            let usual = match command.split(' ').next().unwrap_or_default() {
                "EHLO" if manners.tls == Some(Encryption::Starttls) && matches!(greeting, Greeting::Full) => {
                    "250-test\r\n250 STARTTLS"
                }
                "EHLO" => "250-test\r\n250-SMTPUTF8\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN",
                "AUTH" => "235 welcome",
                "DATA" => "354 go on",
                "STARTTLS" => "220 go on",
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            let reply = special.map_or(usual, |(_, reply)| reply);
            if reply == "silence" {
                continue;
            }
            stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
            if command == "STARTTLS" {
                return Ok(Some(stream));
            }
            if command == "DATA" && reply.starts_with('3') {
                self.mail(&mut stream).await?;
                let end = manners.replies.iter().find(|(prefix, _)| *prefix == ".");
                let reply = end.map_or("250 queued as 1", |(_, reply)| reply);
                if reply != "silence" {
                    stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
                }
            }
        }
    }

    async fn mail<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
    ) -> std::io::Result<()> {
        let mut mail = String::new();
        while !mail.ends_with("\r\n.\r\n") && stream.read_line(&mut mail).await? > 0 {}
        self.mails.lock().unwrap().push(mail);
        Ok(())
    }

    pub(crate) fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap().clone()
    }

    pub(crate) fn commands(&self) -> Vec<String> {
        self.commands.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Copy)]
enum Greeting {
    Full,
    None,
}

pub(crate) fn mailer(resolver: Arc<dyn Resolve>) -> Mailer {
    let roots = crate::egress::tests::support::authority();
    Mailer::new(MailerOptions { resolver, roots, ..MailerOptions::default() })
}

pub(crate) fn plain_mailer() -> Mailer {
    mailer(crate::egress::tests::support::Script::new(&[]))
}

pub(crate) fn context(smtp: &[&str], allow_private: bool) -> SmtpContext {
    let smtp: Vec<String> = smtp.iter().map(|&text| text.to_owned()).collect();
    let grants = Arc::new(Grants::parse(&[], &smtp, allow_private).unwrap());
    SmtpContext { grants, secrets: Arc::default(), timeout: Duration::from_secs(30) }
}

pub(crate) fn mail(host: &str, port: u16) -> Message {
    Message {
        server: Server {
            host: host.to_owned(),
            port,
            encryption: Encryption::None,
            username: None,
            password: None,
        },
        sender: Mailbox { name: Some("Fanfare".to_owned()), address: "fanfare@example.org".to_owned() },
        to: vec![Mailbox { name: None, address: "alice@example.org".to_owned() }],
        reply_to: None,
        subject: "Subject".to_owned(),
        message_id: "id-1@fanfare.example".to_owned(),
        text: Some("Hello".to_owned()),
        html: None,
        headers: Vec::new(),
        attachments: Vec::new(),
    }
}

pub(crate) fn mail_to(server: &SmtpServer) -> Message {
    mail("127.0.0.1", server.address.port())
}

/// A context that grants this server.
pub(crate) fn granted(server: &SmtpServer) -> SmtpContext {
    context(&[&server.address.to_string()], false)
}
