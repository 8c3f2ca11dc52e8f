//! What `run` and `check` say of components made to misbehave.

use clap::Parser;
use fanfare_test_components as components;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: PluginCommand,
}

const URL: &str = r#"--settings={"url":"https://receiver.example/in","token":"${secret:token}"}"#;

async fn shown(command: &str, bytes: &[u8], arguments: &[&str]) -> Result<Shown, Failure> {
    let file = tempfile::Builder::new().suffix(".wasm").tempfile().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let line = ["plugin", command, file.path().to_str().unwrap()];
    match Line::parse_from(line.iter().chain(arguments)).command {
        PluginCommand::Run(arguments) => run::run(&arguments).await,
        PluginCommand::Check(arguments) => check::run(&arguments).await,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_run_tells_what_production_would_have_truncated() {
    let told = shown("run", components::GARBAGE, &[]).await.unwrap();
    assert!(told.text.contains("the fault's message: 60000 bytes given, 1024 kept"), "{}", told.text);
    assert!(told.good, "what a plugin answers by itself is an answer");
    let told = shown("run", components::FLOOD_LOG, &[]).await.unwrap();
    assert!(told.text.contains("lines more than are kept"), "{}", told.text);
    assert!(told.json["log_dropped"].as_u64().unwrap() > 0, "{:#}", told.json);
    assert!(!told.json["truncated"].as_array().unwrap().is_empty(), "{:#}", told.json);
    let told = shown("run", components::DELIVER, &[]).await.unwrap();
    assert!(told.text.contains("truncated    nothing"), "{}", told.text);
}

#[tokio::test]
async fn a_run_shows_requests_with_their_secrets_masked() {
    let secret = "--secret=token=s3cr3t-value";
    let told =
        shown("run", components::HTTP_POST, &[URL, secret, "--body", "echo s3cr3t-value"]).await.unwrap();
    assert!(
        told.text.contains("x-token: ***") && told.text.contains("POST https://receiver.example/in"),
        "{}",
        told.text
    );
    assert!(!format!("{}{}", told.text, told.json).contains("s3cr3t"), "{}", told.text);
}

#[tokio::test]
async fn replies_come_in_order_and_carry_the_given_headers() {
    let arguments = [URL, "--reply=503", "--header=Retry-After: 9", "--header=X-A: b", "--body=busy"];
    let told = shown("run", components::HTTP_POST, &arguments).await.unwrap();
    assert_eq!(told.json["retry_after_ms"], 9_000, "{:#}", told.json);
    assert!(told.text.contains("<- 503, Retry-After: 9, X-A: b, 4 bytes"), "{}", told.text);
    let told = shown("run", components::HTTP_POST, &[URL, "--reply=reset"]).await.unwrap();
    assert_eq!(told.json["fault"]["code"], "channel.http-protocol", "{:#}", told.json);
}

#[tokio::test]
async fn what_is_not_granted_is_refused_in_a_run_and_granted_by_the_argument() {
    let denied = shown("run", components::HTTP_UNGRANTED, &[]).await.unwrap();
    assert_eq!(denied.json["requests"].as_array().map(Vec::len), Some(0), "{:#}", denied.json);
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(elsewhere.path(), r#"{"address":"https://elsewhere.example/"}"#).unwrap();
    let input = format!("--input={}", elsewhere.path().display());
    let told = shown("run", components::HTTP_POST, &[URL, &input]).await.unwrap();
    assert_eq!(told.json["fault"]["code"], "channel.http-denied", "{:#}", told.json);
    let grant = "--grant=https://elsewhere.example";
    let told = shown("run", components::HTTP_POST, &[URL, &input, grant]).await.unwrap();
    assert_eq!(told.json["outcome"], "delivered", "{:#}", told.json);
}

#[tokio::test]
async fn a_run_whose_call_the_host_had_to_end_is_no_success() {
    for (bytes, code) in [
        (components::TRAP_SEND, "plugin.trap"),
        (components::SPIN, "plugin.cpu"),
        (components::ALLOCATE, "plugin.memory"),
    ] {
        let told = shown("run", bytes, &[]).await.unwrap();
        assert!(!told.good, "{code}");
        assert_eq!(told.json["fault"]["code"], code);
    }
}

#[tokio::test]
async fn a_check_tells_a_refusal_of_made_up_settings_from_one_of_given_ones_and_from_a_trap() {
    let good = shown("check", components::DELIVER, &[]).await.unwrap();
    assert!(good.good && good.text.contains("a gateway takes it"), "{}", good.text);
    let trapped = shown("check", components::TRAP_CHECK, &[]).await.unwrap();
    assert!(!trapped.good && trapped.text.contains("plugin.trap"), "{}", trapped.text);
    let refused = shown("check", components::CHECK_FAULT, &["--settings={}"]).await.unwrap();
    assert!(!refused.good && refused.text.contains("BAD   check()"), "{}", refused.text);
    let guessed = shown("check", components::CHECK_FAULT, &[]).await.unwrap();
    assert!(guessed.good && guessed.text.contains("note  check()"), "{}", guessed.text);
    let lying = shown("check", components::LYING, &[]).await.unwrap_err();
    assert!(lying.to_string().contains("its manifest says router"), "{lying}");
}

#[tokio::test]
async fn settings_that_do_not_fit_are_told_with_their_place() {
    let wrong = shown("run", components::HTTP_POST, &[r#"--settings={"url":7}"#]).await.unwrap_err();
    assert!(wrong.to_string().contains("settings/url") && wrong.code == "config.settings", "{wrong}");
    let no_json = shown("run", components::HTTP_POST, &["--settings=url"]).await.unwrap_err();
    assert_eq!(no_json.code, "input.settings");
    let no_secret = shown("run", components::HTTP_POST, &[URL, "--secret=token"]).await.unwrap_err();
    assert_eq!(no_secret.code, "input.secret");
}
