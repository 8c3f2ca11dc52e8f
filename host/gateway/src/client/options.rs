//! Where the gateway is and who asks: what every client command takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::http::Client;
use super::output::Screen;
use super::{ClientError, Finding};
use crate::config::{Config, Environment as _, ProcessEnvironment};

/// Holds the API key. Not an argument: every user of a machine can read the arguments of its processes.
const KEY_VARIABLE: &str = "FANFARE_KEY";

/// What every client command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where the gateway is, such as http://127.0.0.1:8080.
    #[arg(long, global = true, env = "FANFARE_URL", value_name = "URL", help_heading = "Gateway")]
    url: Option<String>,
    /// Print the answer as JSON, for scripts; errors too, on standard error.
    #[arg(long, global = true, help_heading = "Gateway")]
    json: bool,
}

impl Options {
    /// Carries out a command with a client of the gateway, and says how it ended.
    pub(crate) async fn run(
        &self,
        config: Option<&Path>,
        command: impl AsyncFnOnce(Client, Screen) -> Result<Finding, ClientError>,
    ) -> ExitCode {
        let screen = Screen::new(self.json);
        let ended = match self.client(config) {
            Ok(client) => command(client, screen).await,
            Err(error) => Err(error),
        };
        screen.end(ended)
    }

    /// A client of the gateway that these options, or the file of `--config`, name.
    ///
    /// # Errors
    /// [`ClientError::Usage`] when the address or the key can't be used.
    fn client(&self, config: Option<&Path>) -> Result<Client, ClientError> {
        let given = self.url.as_deref().map(str::trim).filter(|url| !url.is_empty());
        let url = match (given, config) {
            (Some(url), _) => parse(url)?,
            (None, Some(config)) => of_config(config)?,
            (None, None) => of_address(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))?,
        };
        Client::new(url, key(ProcessEnvironment.get(KEY_VARIABLE))?)
    }
}

fn parse(text: &str) -> Result<Url, ClientError> {
    let wrong = |why: &str| {
        ClientError::Usage(format!(
            "{text:?} is no address of a gateway: {why}\n  write --url or FANFARE_URL such as http://127.0.0.1:8080"
        ))
    };
    let url: Url = text.parse().map_err(|error| wrong(&format!("{error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins neither with http:// nor with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it carries a name or password; the key goes into FANFARE_KEY"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it carries a query or a fragment"));
    }
    Ok(url)
}

/// The gateway that `config` makes, as it is reached from this machine.
fn of_config(config: &Path) -> Result<Url, ClientError> {
    let config = Config::load(Some(config), &ProcessEnvironment).map_err(|errors| {
        ClientError::Usage(format!(
            "{errors}\n  only the address was wanted of this file: FANFARE_URL or --url give it, too"
        ))
    })?;
    let mut address = config.server.listen;
    if address.port() == 0 {
        let why = "server.listen is port 0, so the system chose the port; give it with FANFARE_URL or --url";
        return Err(ClientError::Usage(why.to_owned()));
    }
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    of_address(address)
}

fn of_address(address: SocketAddr) -> Result<Url, ClientError> {
    parse(&format!("http://{address}"))
}

fn key(text: Option<std::ffi::OsString>) -> Result<Option<HeaderValue>, ClientError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let header = text.to_str().map(|text| format!("Bearer {}", text.trim()));
    let header = header.and_then(|text| HeaderValue::try_from(text).ok());
    let mut header = header
        .ok_or_else(|| ClientError::Usage(format!("{KEY_VARIABLE} holds characters that no API key has")))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_refused_with_what_to_write() {
        for (text, why) in [
            ("localhost:8080", "neither with http"),
            ("ftp://a.example", "neither with http"),
            ("http://", "empty host"),
            ("http://me:pw@a.example", "FANFARE_KEY"),
            ("http://a.example/?x=1", "query"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("http://127.0.0.1:8080"), "{text}: {error}");
        }
        assert_eq!(parse("https://a.example/fanfare/").unwrap().as_str(), "https://a.example/fanfare/");
    }

    #[test]
    fn the_file_of_a_gateway_says_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fanfare.toml");
        for (listen, url) in
            [("127.0.0.1:9000", "http://127.0.0.1:9000/"), ("[::1]:9000", "http://[::1]:9000/")]
        {
            std::fs::write(&file, format!("[server]\nlisten = \"{listen}\"\n")).unwrap();
            assert_eq!(of_config(&file).unwrap().as_str(), url);
        }
        let open = "[server]\nlisten = \"0.0.0.0:9000\"\n[[keys]]\nname = \"a\"\nscopes = [\"read\"]\nsha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n";
        std::fs::write(&file, open).unwrap();
        assert_eq!(of_config(&file).unwrap().as_str(), "http://127.0.0.1:9000/");
        std::fs::write(&file, "[server]\nlisten = \"127.0.0.1:0\"\n").unwrap();
        assert!(of_config(&file).unwrap_err().to_string().contains("port 0"));
        assert!(of_config(&folder.path().join("none.toml")).unwrap_err().to_string().contains("none.toml"));
    }

    #[test]
    fn a_key_is_sent_trimmed_and_never_shown() {
        let sent = key(Some("  secret\n".into())).unwrap().unwrap();
        assert_eq!(sent.to_str().unwrap(), "Bearer secret");
        assert!(!format!("{sent:?}").contains("secret"));
        assert_eq!(key(Some("".into())).unwrap(), None);
        let error = key(Some("a\nb".into())).unwrap_err().to_string();
        assert!(error.contains(KEY_VARIABLE) && !error.contains('b'), "{error}");
    }
}
