//! What a run says: figures with their targets, as a table for people or a line of JSON each.
//!
//! A ratio is taken in each round and its median over the rounds shown; never a ratio of medians.

use std::io::Write as _;

use serde_json::json;

use crate::rounds::{EndToEnd, Round};

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
enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
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

/// The figures of `rounds`: those with targets first.
pub(crate) fn figures(rounds: &[Round]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |name: &str, unit, target, of: &dyn Fn(&Round) -> f64| {
        let values: Vec<f64> = rounds.iter().map(of).collect();
        let range = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
        figures.push(Figure { name: name.to_owned(), value: median(values), range, unit, target });
    };
    let (at_least, at_most) = (|limit| Some(Target::AtLeast(limit)), |limit| Some(Target::AtMost(limit)));
    add("durable submits against (b)", "x", at_least(0.5), &|r| r.submits_per_s / r.durable_per_s);
    add("end to end against (d)", "x", at_least(0.3), &|r| {
        r.gateway.deliveries_per_s / r.relay.deliveries_per_s
    });
    add("submit to sink p99 at 1,000/s against (d)", "x", at_most(4.0), &|r| {
        r.gateway.at_1000.sink_p99 as f64 / r.relay.at_1000.sink_p99 as f64
    });
    add("CPU for each notification against (d)", "x", at_most(6.0), &|r| r.gateway.cpu_us / r.relay.cpu_us);
    add("RSS with 100,000 queued", "MiB", at_most(150.0), &|r| r.queued_mib);
    add("RSS idle", "MiB", at_most(60.0), &|r| r.idle_mib);
    add("first request served after start", "s", at_most(0.5), &|r| r.first_served_s);
    add("durable submits", "/s", None, &|r| r.submits_per_s);
    add("end to end", "/s", None, &|r| r.gateway.deliveries_per_s);
    add("limit (a): answers 202", "/s", None, &|r| r.accept_per_s);
    add("limit (b): durable, answers 202", "/s", None, &|r| r.durable_per_s);
    add("limit (c): posts to the sink", "/s", None, &|r| r.post_per_s);
    add("limit (d): durable, and posts", "/s", None, &|r| r.relay.deliveries_per_s);
    add("durable submits against (a)", "x", None, &|r| r.submits_per_s / r.accept_per_s);
    add("end to end against (c)", "x", None, &|r| r.gateway.deliveries_per_s / r.post_per_s);
    for (who, of) in [("gateway", gateway as fn(&Round) -> &EndToEnd), ("limit (d)", relay)] {
        add(&format!("{who}: CPU for each notification"), "us", None, &|r| of(r).cpu_us);
        add(&format!("{who}: peak RSS"), "MiB", None, &|r| of(r).peak_mib);
        for (load, pick) in LOADS {
            let mut latency = |name: &str, of: &dyn Fn(&Round) -> u64| {
                add(&format!("{who}, {load}: {name}"), "ms", None, &|r| of(r) as f64 / 1_000.0);
            };
            latency("submit p50", &|r| pick(of(r)).submit_p50);
            latency("submit p99", &|r| pick(of(r)).submit_p99);
            latency("submit to sink p50", &|r| pick(of(r)).sink_p50);
            latency("submit to sink p99", &|r| pick(of(r)).sink_p99);
        }
    }
    figures
}

type Pick = fn(&EndToEnd) -> crate::rounds::Latencies;
const LOADS: [(&str, Pick); 3] =
    [("full load", |e| e.full), ("100/s", |e| e.at_100), ("1,000/s", |e| e.at_1000)];

fn gateway(round: &Round) -> &EndToEnd {
    &round.gateway
}

fn relay(round: &Round) -> &EndToEnd {
    &round.relay
}

/// The one in the middle, or the mean of the two that are.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(f64::NAN);
    let below = middle.checked_sub(1).filter(|_| values.len().is_multiple_of(2));
    below.and_then(|at| values.get(at)).map_or(upper, |lower| f64::midpoint(*lower, upper))
}

pub(crate) fn print_json(figures: &[Figure]) -> anyhow::Result<()> {
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

pub(crate) fn print_table(figures: &[Figure]) -> anyhow::Result<()> {
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
