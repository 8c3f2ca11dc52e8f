//! A gateway with a configuration and a folder of its own.

use std::path::PathBuf;

use serde_json::Value;

use crate::child::{Gateway, call, call_with};

pub(crate) const NOTIFICATIONS: &str = "/api/v1/notifications";

/// A channel that writes to the log.
pub(crate) const LOG: &str = "[channels.log]\nplugin = \"console\"\n";

/// A notification to it.
pub(crate) const TO_LOG: &str = r#"{"type":"a.b","to":[{"channel":"log"}]}"#;

pub(crate) struct House {
    pub(crate) gateway: Gateway,
    pub(crate) config: PathBuf,
    _folder: tempfile::TempDir,
}

impl House {
    /// A gateway with these lines in `[server]`, and these sections.
    pub(crate) fn start(server: &str, sections: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), server, sections)
    }

    /// The same in a folder that holds files already.
    pub(crate) fn start_in(folder: tempfile::TempDir, server: &str, sections: &str) -> Self {
        let config = folder.path().join("fanfare.toml");
        std::fs::write(&config, text(server, sections)).unwrap();
        Self { gateway: Gateway::start(&config), config, _folder: folder }
    }

    /// Puts another configuration in the place of the present one, for a reload.
    pub(crate) fn rewrite(&self, server: &str, sections: &str) {
        std::fs::write(&self.config, text(server, sections)).unwrap();
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        call(self.gateway.address, method, path, body).unwrap()
    }

    /// With further header lines, each ended by CR LF; answers the head in lower case, too.
    pub(crate) fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> (u16, String, Value) {
        call_with(self.gateway.address, method, path, headers, body).unwrap()
    }

    /// Submits, and answers what there is to see once all has ended.
    pub(crate) fn submit_and_wait(&self, body: &str) -> Value {
        let (status, head, accepted) = self.call_with("POST", NOTIFICATIONS, "prefer: wait=600\r\n", body);
        assert_eq!(status, 202, "{accepted}");
        assert!(head.contains("preference-applied: wait=600"), "{head}");
        let path = format!("{NOTIFICATIONS}/{}", accepted["id"].as_str().unwrap());
        self.call("GET", &path, "").1
    }
}

fn text(server: &str, sections: &str) -> String {
    let wait = if server.contains("wait_max") { "" } else { "wait_max = \"10m\"" };
    format!("[server]\nlisten = \"127.0.0.1:0\"\n{wait}\n{server}\n[log]\nformat = \"json\"\n{sections}")
}
