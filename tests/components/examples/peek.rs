//! Looks at environment, arguments, files and clock through the standard library, and reports what it saw.

use fanfare_sdk::serde_json::json;

fanfare_components::channel! {
    send | _
        | {
            let files = ["/", ".", "/etc", "/proc/self", "/tmp"];
            let folders: Vec<_> = files.iter().filter(|path| std::fs::read_dir(path).is_ok()).collect();
            let passwd = std::fs::read_to_string("/etc/passwd").ok();
            let written = std::fs::write("/tmp/fanfare-peek", "x").is_ok();
            let environment: Vec<_> = std::env::vars().collect();
            let arguments: Vec<_> = std::env::args().collect();
            let report = json!({
                "environment": environment, "arguments": arguments, "folders": folders, "passwd": passwd, "written": written,
            });
            Ok(fanfare_sdk::Receipt::new().detail(report.to_string()))
        }
}
