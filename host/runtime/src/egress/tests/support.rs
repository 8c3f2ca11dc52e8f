//! A local HTTP server that remembers what it saw, a resolver that follows a script, and short ways to ask.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::egress::*;
use crate::secrets::{AttemptSecrets, Secrets};

/// A server on loopback.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

/// Head and body of a request.
pub(crate) type Seen = (Parts, Vec<u8>);
type Answering = dyn Fn(&Parts, &[u8]) -> Answer + Send + Sync;
pub(crate) type Answer = http::Response<Full<Bytes>>;

pub(crate) fn answer(status: u16, body: &str) -> Answer {
    http::Response::builder().status(status).body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

impl Sink {
    pub(crate) async fn start(answer: impl Fn(&Parts, &[u8]) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(None, Arc::new(answer)).await
    }

    pub(crate) async fn start_tls(answer: impl Fn(&Parts, &[u8]) -> Answer + Send + Sync + 'static) -> Self {
        let mut config = server_config();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::serve(Some(TlsAcceptor::from(Arc::new(config))), Arc::new(answer)).await
    }

    async fn serve(tls: Option<TlsAcceptor>, answer: Arc<Answering>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sink = Self { address, seen: Arc::default(), connections: Arc::default() };
        let shared = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, answer, tls) = (shared.clone(), Arc::clone(&answer), tls.clone());
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let (shared, answer) = (shared.clone(), Arc::clone(&answer));
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes().to_vec();
                        let answer = answer(&parts, &body);
                        shared.seen.lock().unwrap().push((parts, body));
                        Ok::<_, hyper::Error>(answer)
                    }
                });
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    if let Some(tls) = tls {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    } else {
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
        sink
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A server that sends fixed bytes to whoever connects, and reads nothing.
pub(crate) async fn raw(bytes: &'static [u8]) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4_096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(bytes).await;
                // Stays open until the other side closes, so that only the bytes decide.
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    address
}

/// A certificate for `server.example` and `*.server.example`, by [`authority`].
pub(crate) fn server_config() -> rustls::ServerConfig {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../testdata/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../testdata/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

pub(crate) fn authority() -> Roots {
    Roots::Only(vec![CertificateDer::from_pem_slice(include_bytes!("../testdata/ca.pem")).unwrap()])
}

/// Answers in order; the last one stays.
#[derive(Default)]
pub(crate) struct Script {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    lookups: AtomicUsize,
}

impl Script {
    pub(crate) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self {
            answers: Mutex::new(answers.iter().map(parse).collect()),
            lookups: AtomicUsize::new(0),
        })
    }

    pub(crate) fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }
}

impl Resolve for Script {
    fn resolve(&self, _: String, _: u16) -> BoxFuture<Result<Vec<IpAddr>, ResolveError>> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(async move { next.ok_or_else(|| ResolveError("no such name".to_owned())) })
    }
}

pub(crate) fn door(script: &Arc<Script>) -> Door {
    let resolver: Arc<dyn Resolve> = Arc::clone(script) as _;
    Door::new(DoorOptions { resolver, roots: authority(), ..DoorOptions::default() })
}

pub(crate) fn plain_door() -> Door {
    door(&Script::new(&[]))
}

pub(crate) fn grants(http: &[&str], allow_private: bool) -> Grants {
    let http: Vec<String> = http.iter().map(|&text| text.to_owned()).collect();
    Grants::parse(&http, &[], allow_private).unwrap()
}

pub(crate) fn context(grants: Grants) -> CallContext {
    CallContext { grants: Arc::new(grants), secrets: Arc::default(), body_bytes_max: 1024 * 1024 }
}

/// A context with secrets, and the text that its guest sees for `setting`.
pub(crate) fn context_with(grants: Grants, secrets: &Secrets, setting: &str) -> (CallContext, String) {
    let settings = serde_json::json!({ "setting": setting });
    let (attempt, text) = AttemptSecrets::mark(settings.as_object().unwrap(), secrets).unwrap();
    let seen: serde_json::Value = serde_json::from_str(&text).unwrap();
    let context = CallContext { secrets: Arc::new(attempt), ..context(grants) };
    (context, seen["setting"].as_str().unwrap().to_owned())
}

pub(crate) fn get(url: impl Into<String>) -> Request {
    Request {
        method: "GET".to_owned(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: Duration::from_secs(30),
    }
}

pub(crate) fn post(url: impl Into<String>, headers: &[(&str, &str)], body: &str) -> Request {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.as_bytes().to_vec());
    Request {
        method: "POST".to_owned(),
        headers: headers.iter().map(own).collect(),
        body: body.as_bytes().to_vec(),
        ..get(url)
    }
}

/// The code and the text of a refusal.
pub(crate) async fn refused(door: &Door, context: &CallContext, request: Request) -> (&'static str, String) {
    let refusal = door.send(context, request).await.unwrap_err();
    (refusal.code(), refusal.to_string())
}
