//! What the demo shows: live progress, tables, a trace. All of it fits into 80 columns, or is broken between words.

#![allow(clippy::indexing_slicing, reason = "a JSON value that lacks a member gives null, and never panics")]

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

/// As wide as the longest of what is submitted.
const WHAT_COLUMNS: usize = 35;

/// A trace's lines begin with the time and what happened; from here on the details stand below each other.
const DETAIL_COLUMN: usize = 31;

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
        let text = format!("{what:<WHAT_COLUMNS$} {status}");
        if !terminal {
            println!("  {text}");
        } else if ended {
            line.finish_with_message(text);
        } else {
            line.set_message(text);
        }
    }

    /// The end of it: what is printed next begins on a line of its own.
    pub(super) fn end(self) {
        if self.terminal {
            eprintln!();
        }
    }
}

/// A table with columns as wide as their widest cell.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
        let head = heads.get(column).map_or(0, |head| head.width());
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
    let columns = Term::stdout().size_checked().map_or(usize::MAX, |(_, columns)| usize::from(columns));
    for event in trace["items"].as_array().into_iter().flatten() {
        let at = event["at"].as_str().and_then(|at| at.get(11..23)).unwrap_or_default();
        let kind = event["kind"].as_str().unwrap_or_default();
        let detail = event["detail"].as_str().unwrap_or_default();
        let mut lines = wrapped(detail, columns.saturating_sub(DETAIL_COLUMN)).into_iter();
        println!("  {at}  {kind:<15} {}", lines.next().unwrap_or_default());
        for line in lines {
            println!("{:DETAIL_COLUMN$} {line}", "");
        }
    }
}

/// Broken between words, each line as long as fits.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() < columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_long_words_are_left_whole() {
        assert_eq!(wrapped("attempt 1 failed: 한국어 오류", 14), ["attempt 1", "failed:", "한국어 오류"]);
        assert_eq!(wrapped("one channel.http-503 two", 8), ["one", "channel.http-503", "two"]);
        assert_eq!(wrapped("as long as it likes", usize::MAX), ["as long as it likes"]);
        assert!(wrapped("", 8).is_empty());
    }
}
