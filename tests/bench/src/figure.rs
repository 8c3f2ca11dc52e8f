//! A figure: a median over rounds with its target, as a row of a table for people or a line of JSON.
//!
//! A ratio is taken in each round and its median over the rounds shown; never a ratio of medians.

use std::io::Write as _;

use serde_json::json;

/// One line of the result.
#[derive(Debug)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    /// The lowest and the highest of the rounds.
    range: (f64, f64),
    unit: &'static str,
    target: Option<Target>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    /// The median of `values`, one for each round.
    pub(crate) fn new(name: &str, unit: &'static str, target: Option<Target>, values: Vec<f64>) -> Self {
        let range = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
        Self { name: name.to_owned(), value: median(values), range, unit, target }
    }

    fn holds(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtLeast(limit) => self.value >= limit,
            Target::AtMost(limit) => self.value <= limit,
        })
    }
}

impl Target {
    fn text(self) -> String {
        match self {
            Self::AtLeast(limit) => format!(">= {limit}"),
            Self::AtMost(limit) => format!("<= {limit}"),
        }
    }
}

/// The one in the middle, or the mean of the two that are.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(f64::NAN);
    let below = middle.checked_sub(1).filter(|_| values.len().is_multiple_of(2));
    below.and_then(|at| values.get(at)).map_or(upper, |lower| f64::midpoint(*lower, upper))
}

/// As a table, or as lines of JSON.
pub(crate) fn print(figures: &[Figure], as_json: bool) -> anyhow::Result<()> {
    if as_json { print_json(figures) } else { print_table(figures) }
}

fn print_json(figures: &[Figure]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for figure in figures {
        let name = format!("{} ({})", figure.name, figure.unit);
        let target = figure.target.map(Target::text);
        let line = json!({
            "figure": name, "value": figure.value, "target": target, "holds": figure.holds(),
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn print_table(figures: &[Figure]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "| figure | median | rounds | target | holds |\n| --- | ---: | --- | --- | --- |")?;
    for figure in figures {
        let target = figure.target.map(Target::text).unwrap_or_default();
        let holds = figure.holds().map_or("", |holds| if holds { "yes" } else { "no" });
        let (name, value, unit) = (&figure.name, figure.value, figure.unit);
        let decimals = if value.abs() < 100.0 { 2 } else { 0 };
        let (low, high) = figure.range;
        writeln!(
            out,
            "| {name} | {value:.decimals$} {unit} | {low:.decimals$} to {high:.decimals$} | {target} | {holds} |"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_target_holds_at_its_limit() {
        let at = |value, target| {
            let (name, range) = (String::new(), (value, value));
            Figure { name, value, range, unit: "x", target: Some(target) }.holds()
        };
        assert_eq!(at(0.5, Target::AtLeast(0.5)), Some(true));
        assert_eq!(at(0.49, Target::AtLeast(0.5)), Some(false));
        assert_eq!(at(6.1, Target::AtMost(6.0)), Some(false));
    }
}
