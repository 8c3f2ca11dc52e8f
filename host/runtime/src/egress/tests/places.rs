//! Where a request may go.

use super::support::*;

#[tokio::test]
async fn a_granted_literal_address_is_reached_and_the_request_arrives_as_written() {
    let sink = Sink::start(|_, _| {
        let mut answer = answer(201, "made");
        answer.headers_mut().insert("x-answer", "yes".parse().unwrap());
        answer
    })
    .await;
    let context = context(grants(&[&sink.origin()], false));
    let request = post(sink.url("/a%20b/c?d=1#fragment"), &[("X-One", "1"), ("x-one", "2")], "body");
    let response = plain_door().send(&context, request).await.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (201, b"made".as_slice()));
    assert!(response.headers.contains(&("x-answer".to_owned(), b"yes".to_vec())));
    let (parts, body) = sink.seen().remove(0);
    assert_eq!(parts.method, "POST");
    assert_eq!(parts.uri, "/a%20b/c?d=1");
    assert_eq!(parts.headers["host"], sink.address.to_string());
    assert_eq!(parts.headers["content-length"], "4");
    assert_eq!(parts.headers["user-agent"], concat!("fanfare/", env!("CARGO_PKG_VERSION")));
    assert_eq!(parts.headers.get_all("x-one").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(body, b"body");
}

#[tokio::test]
async fn what_is_not_granted_is_denied_with_the_line_to_paste() {
    let context = context(grants(&["http://127.0.0.1:9000"], false));
    let refusal = refused(&plain_door(), &context, get("https://hooks.example.org/secret-path?x")).await;
    assert_eq!(
        refusal,
        (
            "egress.denied",
            "https://hooks.example.org is not granted to this channel; to allow it, put into the channel's section: \
             grants = { http = [\"http://127.0.0.1:9000\", \"https://hooks.example.org\"] }"
                .to_owned()
        )
    );
    let (_, text) = refused(&plain_door(), &context, get("http://[::1]:9000/")).await;
    assert_eq!(
        text,
        "http://[::1]:9000 (a loopback address) is not granted to this channel; to allow it, put into the channel's \
         section: grants = { http = [\"http://127.0.0.1:9000\", \"http://[::1]:9000\"] }"
    );
}

#[tokio::test]
async fn a_granted_name_that_resolves_to_a_private_address_is_denied_with_the_line_to_paste() {
    for (address, what) in [
        ("127.0.0.1", "127.0.0.1, a loopback address"),
        ("::ffff:127.0.0.1", "127.0.0.1, a loopback address"),
        ("10.0.0.7", "10.0.0.7, a private address"),
        ("fd00::7", "fd00::7, a private address"),
        ("100.64.0.7", "100.64.0.7, a carrier's shared address"),
        ("64:ff9b::10.0.0.7", "64:ff9b::a00:7, a private address"),
    ] {
        let context = context(grants(&["http://inside.example"], false));
        let refusal =
            refused(&door(&Script::new(&[&[address]])), &context, get("http://inside.example/")).await;
        let text = format!(
            "http://inside.example resolves to {what}, which a name may not reach; to allow it, put into the \
             channel's section: grants = {{ http = [\"http://inside.example\"], allow_private = true }}"
        );
        assert_eq!(refusal, ("egress.private-address", text));
    }
}

#[tokio::test]
async fn metadata_and_link_local_addresses_stay_closed_to_names_even_with_allow_private() {
    for (address, what) in [
        ("169.254.169.254", "169.254.169.254, a cloud metadata address"),
        ("169.254.1.1", "169.254.1.1, a link-local address"),
        ("0.0.0.0", "0.0.0.0, an unspecified address"),
        ("2002:a9fe:a9fe::1", "2002:a9fe:a9fe::1, a cloud metadata address"),
    ] {
        let context = context(grants(&["http://inside.example"], true));
        let refusal =
            refused(&door(&Script::new(&[&[address]])), &context, get("http://inside.example/")).await;
        assert_eq!(refusal.0, "egress.private-address");
        assert!(refusal.1.contains(what), "{}", refusal.1);
    }
}

#[tokio::test]
async fn any_https_denies_private_addresses_even_with_allow_private() {
    let context = context(grants(&["https://*"], true));
    let (code, text) =
        refused(&door(&Script::new(&[&["127.0.0.1"]])), &context, get("https://any.example/")).await;
    assert_eq!(code, "egress.private-address");
    assert!(
        text.ends_with(
            "grants = { http = [\"https://*\", \"https://127.0.0.1:443\"], allow_private = true }"
        ),
        "{text}"
    );
    let (code, _) = refused(&plain_door(), &context, get("https://127.0.0.1/")).await;
    assert_eq!(code, "egress.denied");
}

#[tokio::test]
async fn the_checked_address_is_the_connected_one_however_the_answer_changes() {
    let sink = Sink::start(|_, _| answer(200, "")).await;
    let url = format!("http://inside.example:{}/", sink.address.port());
    let origin = format!("http://inside.example:{}", sink.address.port());
    let script = Script::new(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let door = door(&script);
    let trusted = context(grants(&[&origin], true));
    door.send(&trusted, get(&url)).await.unwrap();
    assert_eq!(script.lookups(), 1, "one lookup, checked and used");
    // The pooled connection stays at the address that was checked.
    door.send(&trusted, get(&url)).await.unwrap();
    assert_eq!((script.lookups(), sink.connections()), (1, 1));
}

#[tokio::test]
async fn a_channel_does_not_ride_on_a_connection_that_it_could_not_have_opened() {
    let sink = Sink::start(|_, _| answer(200, "")).await;
    let url = format!("http://inside.example:{}/", sink.address.port());
    let origin = format!("http://inside.example:{}", sink.address.port());
    let door = door(&Script::new(&[&["127.0.0.1"]]));
    door.send(&context(grants(&[&origin], true)), get(&url)).await.unwrap();
    let (code, _) = refused(&door, &context(grants(&[&origin], false)), get(&url)).await;
    assert_eq!(code, "egress.private-address");
    assert_eq!(sink.seen().len(), 1);
}

#[tokio::test]
async fn of_several_addresses_only_the_permitted_are_tried() {
    let sink = Sink::start(|_, _| answer(200, "")).await;
    let origin = format!("http://inside.example:{}", sink.address.port());
    let door = door(&Script::new(&[&["169.254.169.254", "127.0.0.1"]]));
    let response = door.send(&context(grants(&[&origin], true)), get(&origin)).await.unwrap();
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn redirects_are_handed_back_and_not_followed() {
    let sink = Sink::start(|_, _| {
        let mut answer = answer(302, "");
        answer.headers_mut().insert("location", "/elsewhere".parse().unwrap());
        answer
    })
    .await;
    let context = context(grants(&[&sink.origin()], false));
    let response = plain_door().send(&context, get(sink.url("/"))).await.unwrap();
    assert_eq!(response.status, 302);
    assert_eq!(sink.seen().len(), 1);
}
