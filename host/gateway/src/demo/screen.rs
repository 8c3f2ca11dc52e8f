//! What the demo shows: live progress, tables, a trace.

#![allow(clippy::indexing_slicing, reason = "a JSON value that lacks a member gives null, and never panics")]

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

/// One line for each delivery, changing while it is under way; plain lines where there is no terminal.
pub(super) struct Progress {
    all: MultiProgress,
    lines: HashMap<String, (ProgressBar, String)>,
    terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { all: MultiProgress::new(), lines: HashMap::new(), terminal }
    }

    /// Shows a delivery's status; says nothing when it did not change.
    pub(super) fn show(&mut self, id: &str, what: &str, status: &str, ended: bool) {
        let (all, terminal) = (&self.all, self.terminal);
        let (line, last) = self.lines.entry(id.to_owned()).or_insert_with(|| {
            let line = all.add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("  {spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            line.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏●"));
            line.enable_steady_tick(Duration::from_millis(90));
            (line, String::new())
        });
        if last == status {
            return;
        }
        status.clone_into(last);
        let text = format!("{what:<34} {status}");
        if !terminal {
            println!("  {text}");
        } else if ended {
            line.finish_with_message(text);
        } else {
            line.set_message(text);
        }
    }
}

/// A table with columns as wide as their widest cell.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        let head = heads.get(column).map_or(0, |head| head.chars().count());
        cells.chain([head]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("  {}", padded.join("  ").trim_end());
    };
    line(&mut heads.iter().copied());
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(&mut rules.iter().map(String::as_str));
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}

/// A trace as `GET .../trace` gives it, a line a decision.
pub(super) fn trace(trace: &Value) {
    for event in trace["items"].as_array().into_iter().flatten() {
        let at = event["at"].as_str().and_then(|at| at.get(11..23)).unwrap_or_default();
        let kind = event["kind"].as_str().unwrap_or_default();
        let detail = event["detail"].as_str().unwrap_or_default();
        println!("  {at}  {kind:<16} {detail}");
    }
}
