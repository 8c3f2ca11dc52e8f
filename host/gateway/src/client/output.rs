//! What a command prints: tables, lines and JSON.
//!
//! Text that came from elsewhere (titles, faults of receivers) passes [`clean`], so that nobody who can submit or answer can
//! write escape sequences into an operator's terminal.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{ClientError, Finding};

/// Exit code of bad news.
const EXIT_BAD: u8 = 5;

/// A cell is cut here: a table is for looking, `--json` has the whole.
const CELL_COLUMNS_MAX: usize = 72;

/// Standard output in one of two forms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    json: bool,
}

impl Screen {
    /// JSON, or text for people.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether scripts read it.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Shows an answer: as it is in JSON, or as `text` makes it for people.
    pub(crate) fn show(self, answer: &Value, text: impl FnOnce() -> String) {
        if self.json {
            // Pretty, because people read it, too; it is one document either way.
            self.write(&format!("{answer:#}\n"));
        } else {
            self.write(&text());
        }
    }

    /// Says how a command ended.
    pub(crate) fn end(self, ended: Result<Finding, ClientError>) -> ExitCode {
        match ended {
            Ok(Finding::Good) => ExitCode::SUCCESS,
            Ok(Finding::Bad) => ExitCode::from(EXIT_BAD),
            Err(error) => {
                if self.json {
                    eprintln!("{}", error.to_json());
                } else {
                    eprintln!("{error}");
                }
                error.exit_code()
            }
        }
    }

    /// A reader that went away, such as `head`, is no fault; `println!` would panic.
    #[allow(clippy::unused_self, reason = "everything is written through the screen")]
    fn write(self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// Text that can do nothing to the terminal.
pub(crate) fn clean(text: &str) -> String {
    fanfare_model::text::plain(text)
}

/// The text of a member, cleaned; empty when it is absent or null. Other values as JSON.
pub(crate) fn text(of: &Value, pointer: &str) -> String {
    match of.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => clean(text),
        Some(other) => clean(&other.to_string()),
    }
}

/// The members of a list; none when it is absent.
pub(crate) fn list<'a>(of: &'a Value, pointer: &str) -> &'a [Value] {
    of.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A table with columns as wide as their widest cell, in terminal columns; columns of numbers stand right.
#[derive(Debug)]
pub(crate) struct Table {
    cell_columns_max: usize,
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table under these heads.
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        Self { cell_columns_max: CELL_COLUMNS_MAX, heads: heads.to_vec(), rows: Vec::new() }
    }

    /// The same, with cells that are never cut: for what a person looks at one at a time.
    pub(crate) fn wide(heads: &[&'static str]) -> Self {
        Self { cell_columns_max: usize::MAX, heads: heads.to_vec(), rows: Vec::new() }
    }

    /// One more row; control characters are taken out and long cells are cut.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        let max = self.cell_columns_max;
        self.rows.push(cells.into_iter().map(|cell| short(&clean(&cell), max)).collect());
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let column = |at: usize| self.rows.iter().filter_map(move |row| row.get(at));
        let width = |at: usize| {
            let head = self.heads.get(at).map_or(0, |head| head.width());
            column(at).map(|cell| cell.width()).chain([head]).max().unwrap_or(0)
        };
        let is_number =
            |cell: &String| cell.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
        let columns: Vec<(usize, bool)> = (0..self.heads.len())
            .map(|at| (width(at), !self.rows.is_empty() && column(at).all(is_number)))
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (cell, (width, right)) in cells.zip(&columns) {
                let gap = " ".repeat(width.saturating_sub(cell.width()));
                let (before, after) = if *right { (gap.as_str(), "") } else { ("", gap.as_str()) };
                // Writing to a string does not fail.
                let _ = write!(line, "{before}{cell}{after}  ");
            }
            line.trim_end().to_owned()
        };
        writeln!(f, "{}", line(&mut self.heads.iter().copied()))?;
        for row in &self.rows {
            writeln!(f, "{}", line(&mut row.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

fn short(cell: &str, columns_max: usize) -> String {
    if cell.width() <= columns_max {
        return cell.to_owned();
    }
    let (mut out, mut columns) = (String::new(), 1);
    for c in cell.chars() {
        columns += c.width().unwrap_or(0);
        if columns > columns_max {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_also_in_korean_and_numbers_stand_right() {
        let mut table = Table::new(&["channel", "waiting", "fault"]);
        table.row(["알림".to_owned(), "7".to_owned(), "a".to_owned()]);
        table.row(["hook".to_owned(), "120".to_owned(), String::new()]);
        let expected = "channel  waiting  fault\n알림           7  a\nhook         120\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn nobody_writes_escape_sequences_into_a_terminal() {
        let mut table = Table::new(&["title"]);
        table.row(["\u{1b}[2Jgone\nnext\u{9b}31m".to_owned()]);
        assert!(!table.to_string().trim_end().contains(|c: char| c.is_control() && c != '\n'));
        assert_eq!(table.to_string().lines().count(), 2);
    }

    #[test]
    fn a_long_cell_is_cut() {
        let mut table = Table::new(&["title"]);
        table.row(["한".repeat(400)]);
        let row = table.to_string().lines().last().unwrap().to_owned();
        assert!(row.width() <= CELL_COLUMNS_MAX && row.ends_with('…'), "{row}");
    }
}
