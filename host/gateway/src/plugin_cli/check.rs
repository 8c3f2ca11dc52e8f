//! `fanfare plugin check`: what a gateway would look at before it lets a component serve, one line each.
//!
//! The bytes are looked at first, so that a component which can't be loaded is still told as much as can be told of it.

use std::fmt::Write as _;

use clap::Args;
use fanfare_model::digest::Digest;
use fanfare_model::text::plain;
use fanfare_runtime::egress::Grants;
use fanfare_runtime::{
    COMPONENT_BYTES_MAX, Examination, Kind, Limits, Manifest, StageError, contract_served, examine, review,
};
use serde_json::{Value, json};

use super::failure::Failure;
use super::rig::{Given, Rig};
use super::{Output, Shown, help, tell};

/// What is checked.
#[derive(Args, Debug)]
#[command(after_help = help!(
    "  fanfare plugin check pager.wasm\n  \
       fanfare plugin check pager.wasm --settings '{\"url\": \"https://chat.example.org/in\"}'\n  \
       fanfare plugin check pager.wasm --input attempt.json --json\n\n\
     Looked at: size, contract version, manifest, imports against permissions, and a dry instantiation with check(), with\n\
     settings made up from the schema unless there are others. Nothing can be reached meanwhile."
))]
pub(crate) struct Arguments {
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    pub(super) output: Output,
}

/// What one look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Good,
    /// It serves all the same.
    Odd,
    Bad,
}

impl Mark {
    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Odd => "note",
            Self::Bad => "BAD",
        }
    }
}

#[derive(Debug, Default)]
struct Looks(Vec<(&'static str, Mark, String)>);

impl Looks {
    fn add(&mut self, what: &'static str, mark: Mark, says: impl Into<String>) {
        self.0.push((what, mark, says.into()));
    }
}

pub(super) async fn run(arguments: &Arguments) -> Result<Shown, Failure> {
    let (path, bytes) = arguments.given.bytes()?;
    let label = path.display().to_string();
    let manifest = fanfare_runtime::inspect(&label, &bytes)?;
    let found =
        examine(&bytes).map_err(|why| Failure::new("plugin.invalid", format!("{label}: {why}"), ""))?;
    let mut looks = Looks::default();
    let size = format!("{} bytes of {COMPONENT_BYTES_MAX} allowed", bytes.len());
    looks.add("size", Mark::Good, size);
    let version = found.contract.as_ref().map_or("", |(_, version)| version.as_str());
    let contract =
        format!("a {} of contract {version}; this host serves {}", manifest.kind.as_str(), contract_served());
    looks.add("contract", Mark::Good, contract);
    looks.add("manifest", Mark::Good, about(&manifest));
    imports(&mut looks, &manifest, &found);
    let rig = arguments.given.load(Limits::default()).await?;
    permissions(&mut looks, &rig);
    instantiate(&mut looks, &rig).await;
    Ok(shown(&rig, &bytes, &looks))
}

fn about(manifest: &Manifest) -> String {
    let settings = manifest.settings_schema.as_ref().and_then(|schema| schema.get("properties")?.as_object());
    let settings: Vec<&str> =
        settings.map(|all| all.keys().map(String::as_str).collect()).unwrap_or_default();
    let settings = if settings.is_empty() { "no settings".to_owned() } else { settings.join(", ") };
    format!(
        "{} {}: {} (settings: {settings})",
        plain(&manifest.name),
        plain(&manifest.version),
        plain(&manifest.description)
    )
}

/// An import without its permission is refused at each call; a permission without its import asks for too much.
fn imports(looks: &mut Looks, manifest: &Manifest, found: &Examination) {
    let has = |interface: &str| found.imports.iter().any(|import| import.starts_with(interface));
    let outgoing = has("fanfare:host/http@") || has("wasi:http/outgoing-handler@");
    let permissions = &manifest.permissions;
    let before = looks.0.len();
    if outgoing && permissions.http.is_empty() {
        looks.add(
            "imports",
            Mark::Odd,
            "it imports http and asks for no origin: every request will be refused; add permissions.http",
        );
    }
    if !outgoing && !permissions.http.is_empty() {
        looks.add("imports", Mark::Odd, "it asks for origins and imports no http: drop permissions.http");
    }
    if has("fanfare:host/smtp@") && permissions.smtp.is_empty() {
        looks.add(
            "imports",
            Mark::Odd,
            "it imports smtp and asks for no server: every mail will be refused; add permissions.smtp",
        );
    }
    if !has("fanfare:host/smtp@") && !permissions.smtp.is_empty() {
        looks.add(
            "imports",
            Mark::Odd,
            "it asks for mail servers and imports no smtp: drop permissions.smtp",
        );
    }
    if has("fanfare:host/crypto@") && permissions.secrets.is_empty() {
        looks.add("imports", Mark::Odd, "it imports crypto and asks for no secret: every signature will be refused; add permissions.secrets");
    }
    if !has("fanfare:host/crypto@") && !has("fanfare:host/smtp@") && !permissions.secrets.is_empty() {
        looks.add(
            "imports",
            Mark::Odd,
            "it asks for secrets and imports nothing that uses them: drop permissions.secrets",
        );
    }
    if manifest.kind == Kind::Router && (outgoing || has("fanfare:host/smtp@") || has("fanfare:host/crypto@"))
    {
        looks.add("imports", Mark::Bad, "a router gets log and settings alone");
    }
    if looks.0.len() == before {
        let host: Vec<&str> =
            found.imports.iter().filter_map(|import| import.strip_prefix("fanfare:host/")).collect();
        let host = if host.is_empty() { "nothing of the host's".to_owned() } else { host.join(", ") };
        looks.add("imports", Mark::Good, format!("{host}; they match the permissions"));
    }
}

fn permissions(looks: &mut Looks, rig: &Rig) {
    let requests = review(&rig.plugin, &rig.settings, &Grants::default(), &[]);
    let mut says: Vec<String> =
        requests.iter().map(|request| format!("{} {}", request.kind, request.what)).collect();
    if rig.manifest().permissions.secrets_in_body {
        says.push("secrets in bodies".to_owned());
    }
    let says = if says.is_empty() { "it asks for nothing".to_owned() } else { says.join(", ") };
    looks.add("permissions", Mark::Good, plain(&says));
}

async fn instantiate(looks: &mut Looks, rig: &Rig) {
    let error = match rig.stage_with(&rig.settings).await {
        Ok(Ok(_)) => {
            let with = if rig.guessed { "settings made up from its schema" } else { "the given settings" };
            return looks.add("check()", Mark::Good, format!("good with {with}"));
        }
        Ok(Err(failure)) => return looks.add("check()", Mark::Bad, plain(&failure.to_string())),
        Err(error) => error,
    };
    // What was made up may be refused with good reason; what traps is broken whatever it was given.
    let traps = matches!(&error, StageError::Check { fault, .. } if !fault.starts_with("channel."));
    let says = plain(&error.to_string());
    if rig.guessed && !traps {
        let says = format!("it refuses the made-up settings: {says}; give it others with --settings");
        return looks.add("check()", Mark::Odd, says);
    }
    looks.add("check()", Mark::Bad, format!("{says} ({})", error.code()));
}

fn shown(rig: &Rig, bytes: &[u8], looks: &Looks) -> Shown {
    let mut text = String::new();
    for (what, mark, says) in &looks.0 {
        let _ = writeln!(text, "{:<4}  {what:<11}  {says}", mark.as_str());
    }
    let good = looks.0.iter().all(|(_, mark, _)| *mark != Mark::Bad);
    let verdict = if good { "a gateway takes it" } else { "a gateway refuses it" };
    let _ = writeln!(text, "{verdict}: sha256 {}", Digest::of(bytes));
    let checks: Vec<Value> = looks
        .0
        .iter()
        .map(|(what, mark, says)| json!({ "check": what, "result": mark.as_str().to_lowercase(), "says": says }))
        .collect();
    let json = json!({ "good": good, "plugin": tell::plugin_json(rig), "bytes": rig.bytes, "contract_served": contract_served(), "checks": checks });
    Shown { json, text, good }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &str, permissions: &str, imported: &[&str]) -> Vec<(Mark, String)> {
        let manifest =
            format!(r#"{{"name":"a","version":"1.0.0","kind":"{kind}","permissions":{permissions}}}"#);
        let manifest: Manifest = serde_json::from_str(&manifest).unwrap();
        let imports = imported.iter().map(|&import| import.to_owned()).collect();
        let mut looks = Looks::default();
        super::imports(&mut looks, &manifest, &Examination { imports, ..Examination::default() });
        looks.0.into_iter().map(|(_, mark, says)| (mark, says)).collect()
    }

    #[test]
    fn imports_and_permissions_have_to_match() {
        let http = "fanfare:host/http@1.0.0";
        for (permissions, imports, says) in [
            ("{}", &[http][..], "every request will be refused"),
            ("{}", &["wasi:http/outgoing-handler@0.2.0"], "every request will be refused"),
            (r#"{"http":["https://a.example"]}"#, &[], "drop permissions.http"),
            ("{}", &["fanfare:host/smtp@1.0.0"], "every mail will be refused"),
            (r#"{"smtp":["a.example:25"]}"#, &[], "drop permissions.smtp"),
            ("{}", &["fanfare:host/crypto@1.0.0"], "every signature will be refused"),
            (r#"{"secrets":["a"]}"#, &[http], "drop permissions.secrets"),
        ] {
            let told = told("channel", permissions, imports);
            let found = told.iter().any(|(mark, text)| *mark == Mark::Odd && text.contains(says));
            assert!(found, "{says}: {told:?}");
        }
        let matching = told("channel", r#"{"http":["https://a.example"]}"#, &[http, "wasi:io/poll@0.2.0"]);
        assert!(
            matches!(matching.as_slice(), [(Mark::Good, says)] if says.contains("http@1.0.0")),
            "{matching:?}"
        );
        let router = told("router", r#"{"http":["https://a.example"]}"#, &[http]);
        assert!(matches!(router.as_slice(), [(Mark::Bad, _)]), "{router:?}");
    }
}
