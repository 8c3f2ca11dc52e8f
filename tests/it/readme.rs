//! What the README shows is so.

use std::process::Command;

const README: &str = include_str!("../../README.md");

/// The blocks of a language, in order.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("\n```{language}\n");
    let parts = README.split(fence.as_str()).skip(1);
    parts.map(|part| part.split("\n```").next().unwrap()).collect()
}

#[test]
fn the_configuration_in_the_readme_is_good_once_its_secrets_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("mail");
    std::fs::write(&password, "pass word\n").unwrap();
    let shown = blocks("toml").into_iter().find(|block| block.contains("[server]")).unwrap();
    let config = folder.path().join("fanfare.toml");
    assert!(shown.contains("/run/secrets/mail"));
    std::fs::write(&config, shown.replace("/run/secrets/mail", password.to_str().unwrap())).unwrap();
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
        command.args(["config", "check", "--config"]).arg(&config);
        command
    };
    let ended = check()
        .env("OPS_HOOK_SECRET", "whsec_dGVzdA==")
        .env("SLACK_HOOK", "T000/B000/token")
        .env("COOLSMS_SECRET", "secret")
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let ended = check().env_remove("SLACK_HOOK").output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("set SLACK_HOOK"), "{ended:?}");
}

#[test]
fn the_channel_in_the_readme_is_the_example_and_has_less_than_25_lines_of_code() {
    let shown = blocks("rust").into_iter().next().unwrap();
    let example = include_str!("../../examples/chat-channel/src/lib.rs");
    assert_eq!(shown.trim(), example.trim());
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let code = shown.split("#[cfg(test)]").next().unwrap().lines().filter(is_code).count();
    assert!(code < 25, "{code} lines");
}
