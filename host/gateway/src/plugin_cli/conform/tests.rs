use super::*;
use crate::embedded;
use fanfare_test_components as components;

async fn test(bytes: &[u8], settings: Option<&str>) -> Shown {
    let file = tempfile::Builder::new().suffix(".wasm").tempfile().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let given = Given {
        component: file.path().to_owned(),
        input: None,
        settings: settings.map(str::to_owned),
        secrets: Vec::new(),
        grants: Vec::new(),
    };
    let output = Output { json: false };
    run(&Arguments { given, only: String::new(), verbose: false, output }).await.unwrap()
}

#[tokio::test]
async fn every_first_party_plugin_passes() {
    let mut failed = Vec::new();
    for (name, bytes) in embedded::all() {
        let shown = test(bytes, None).await;
        let passed = shown.json["passed"].as_u64().unwrap();
        // Only the console has nothing to send.
        let told = shown.json["notes"].as_array().unwrap().is_empty() != (name == "console");
        if !shown.good || passed < 60 || !told {
            failed.push(format!("{name}:\n{}", shown.text));
        }
    }
    assert!(failed.is_empty(), "{}", failed.concat());
}

#[tokio::test]
async fn a_run_is_the_same_each_time() {
    let bytes = embedded::find("slack").unwrap();
    let (one, two) = (test(bytes, None).await, test(bytes, None).await);
    assert_eq!(one.json, two.json);
}

#[tokio::test]
async fn what_no_operator_could_rely_on_fails_with_the_reason() {
    let settings = Some(r#"{"url":"https://receiver.example/in"}"#);
    for (bytes, settings, says) in [
        // Delivers whatever the answer is.
        (components::HTTP_REDIRECT, settings, "so it is not delivered"),
        (components::TRAP_SEND, None, "the host had to end 3 calls"),
        (components::GARBAGE, None, "production would cut"),
        (components::ROUTER_FAULT, None, "until its routing dies"),
        (components::ROUTER_GARBAGE, None, "whom the notification does not name"),
    ] {
        let shown = test(bytes, settings).await;
        assert!(!shown.good && shown.text.contains(says), "{says}: {}", shown.text);
    }
}
