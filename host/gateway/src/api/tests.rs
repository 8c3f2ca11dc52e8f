//! A handler that panics, behind all that every request passes.

use axum::body::Body;
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::*;
use crate::testing::Bench;

async fn ask(surface: &Surface, method: Method, path: &str, body: Vec<u8>) -> (StatusCode, String, String) {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    let answered = surface.answer(request.body(Body::from(body)).unwrap()).await;
    let media = answered.headers().get(header::CONTENT_TYPE).map(|media| media.to_str().unwrap().to_owned());
    let status = answered.status();
    let body = answered.into_body().collect().await.unwrap().to_bytes();
    (status, media.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_panic_is_answered_500_counted_and_logged_as_such_and_the_next_request_goes_on() {
    let bench = Bench::start("[channels.log]\nplugin = \"console\"\n").await;
    let parse = async |State(api): State<Api>, body: bytes::Bytes| {
        api.parse(&body, |_, _| -> Result<&'static str, Problem> { panic!("by a bug in a thread") }).await
    };
    let mut bugs = paths();
    bugs.push(("/bug", get(async || -> &'static str { panic!("by a bug") })));
    bugs.push(("/bug/in-a-thread", post(parse)));
    let surface = Surface::new(bugs, bench.surface());
    let large = vec![b' '; 1 << 20];
    for (method, path, body) in [
        (Method::GET, "/bug", vec![]),
        (Method::POST, "/bug/in-a-thread", large),
        (Method::GET, "/bug", vec![]),
    ] {
        let (status, media, text) = ask(&surface, method, path, body).await;
        assert_eq!((status, media.as_str()), (StatusCode::INTERNAL_SERVER_ERROR, problem::MEDIA_TYPE));
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&body["code"], &body["status"]), (&"server.panic".into(), &500.into()));
        assert!(!text.contains("by a bug"), "what panics say is for the log: {text}");
        let submitted = br#"{"type":"a.b","to":[{"channel":"log"}]}"#.to_vec();
        let (status, _, text) = ask(&surface, Method::POST, "/api/v1/notifications", submitted).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{text}");
    }
    let (_, _, metrics) = ask(&surface, Method::GET, "/metrics", vec![]).await;
    assert!(metrics.contains("fanfare_panics_total 3\n"), "{metrics}");
    let answered = metrics.lines().find(|line| line.contains("route=\"/bug\"")).unwrap_or_default();
    assert!(answered.contains("500") && answered.ends_with(" 2"), "{answered:?} of {metrics}");
    bench.stop().await;
}
