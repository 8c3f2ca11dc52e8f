//! What `fanfare store` prints for people.

use std::fmt::Write as _;

use fanfare_store::embedded::tools::{CheckReport, IndexState, Problem, RebuildReport, RepairReport};
use serde_json::Value;

pub(super) fn check(report: &CheckReport) -> String {
    let mut text = problems(&report.problems);
    if let Some(more) =
        report.problems_total.checked_sub(report.problems.len() as u64).filter(|more| *more > 0)
    {
        let _ = writeln!(text, "... and {more} more");
    }
    let CheckReport { segments, frames, records, bytes, torn_bytes, .. } = report;
    let _ = writeln!(text, "{segments} segments, {} read: {frames} frames, {records} records", size(*bytes));
    if *torn_bytes > 0 {
        let _ =
            writeln!(text, "{torn_bytes} bytes at the end were never acknowledged; the next start cuts them");
    }
    let index = match &report.index {
        IndexState::Agrees { keys, frames_behind: 0 } => format!("agrees with the journal in {keys} keys"),
        IndexState::Agrees { keys, frames_behind } => {
            format!("agrees with the journal in {keys} keys; the next start replays {frames_behind} frames")
        }
        IndexState::Absent => "absent; the next start builds it".to_owned(),
        IndexState::Unusable { reason } => format!("can't be used ({reason}); the next start builds it anew"),
        IndexState::Differs => "differs from the journal; run `fanfare store rebuild`".to_owned(),
        IndexState::NotCompared => "not compared, because the journal is damaged".to_owned(),
    };
    let _ = writeln!(text, "index: {index}");
    for (kind, count) in &report.kinds {
        let _ = writeln!(text, "  {kind:<12} {:>12} records {:>12}", count.records, size(count.bytes));
    }
    let path = report.path.display();
    let _ = if report.whole {
        writeln!(text, "{path} is whole")
    } else {
        writeln!(text, "{path} is damaged: {} problems; run `fanfare store repair`", report.problems_total)
    };
    text
}

fn problems(problems: &[Problem]) -> String {
    let mut text = String::new();
    for Problem { code, segment, from, to, text: what } in problems {
        let place = match (segment, from, to) {
            (Some(segment), Some(from), Some(to)) => format!("{segment} at offset {from} to {to}: "),
            _ => String::new(),
        };
        let _ = writeln!(text, "{code}: {place}{what}");
    }
    text
}

pub(super) fn rebuild(report: &RebuildReport) -> String {
    format!("the index of {} was built from {} frames\n", report.path.display(), report.frames)
}

pub(super) fn repair(report: &RepairReport) -> String {
    let path = report.path.display();
    if !report.repaired {
        return format!("{path} is whole: nothing to repair; its index was built anew\n");
    }
    let mut text = problems(&report.damage);
    let RepairReport { salvaged, deleted, mended, lost, .. } = report;
    let _ = writeln!(
        text,
        "{salvaged} records and {deleted} deletions were put back, {mended} due entries mended"
    );
    if let Some(kept) = &report.kept_in {
        let _ = writeln!(text, "the damaged files are kept in {}", kept.display());
    }
    for lost in lost {
        let commit = lost.commit.map(|commit| format!(" (commit {commit})")).unwrap_or_default();
        let _ = writeln!(text, "lost: {}{commit}", lost.text);
    }
    if !report.index_helped && !report.damage.is_empty() {
        let _ =
            writeln!(text, "the index could not be used, so only the commits above say what the bytes held");
    }
    let end = if report.nothing_was_lost() { "nothing was lost" } else { "what is listed above is lost" };
    let _ = writeln!(text, "{path} is repaired: {end}");
    text
}

pub(super) fn stats(report: &Value) -> String {
    let number = |of: &Value, pointer: &str| of.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let mut text = format!("{:<24} {:>12} {:>12} {:>6}\n", "segment", "bytes", "live", "share");
    for segment in report.pointer("/segments").and_then(Value::as_array).into_iter().flatten() {
        let name = segment.pointer("/name").and_then(Value::as_str).unwrap_or_default();
        let (bytes, live) = (size(number(segment, "/bytes")), size(number(segment, "/live_bytes")));
        let _ = writeln!(text, "{name:<24} {bytes:>12} {live:>12} {:>4} %", number(segment, "/live_percent"));
    }
    let (bytes, live) = (size(number(report, "/bytes")), size(number(report, "/live_bytes")));
    let _ = writeln!(text, "{:<24} {bytes:>12} {live:>12} {:>4} %", "all", number(report, "/live_percent"));
    for (kind, count) in report.pointer("/kinds").and_then(Value::as_object).into_iter().flatten() {
        let (records, bytes) = (number(count, "/records"), size(number(count, "/bytes")));
        let _ = writeln!(text, "  {kind:<12} {records:>12} records {bytes:>12}");
    }
    text
}

pub(super) fn backup(report: &Value) -> String {
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    let path = report.get("path").and_then(Value::as_str).unwrap_or_default();
    format!(
        "{path} holds the store up to commit {}: {} segments, {} ({} of them links to the store's own)\n",
        number("commit"),
        number("segments"),
        size(number("bytes")),
        number("linked"),
    )
}

/// Bytes, for people.
fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
