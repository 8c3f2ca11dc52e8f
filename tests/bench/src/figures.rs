//! What a run end to end says: the figures with targets first.

use crate::figure::{Figure, Target};
use crate::rounds::{EndToEnd, Round};

/// The figures of `rounds`: those with targets first.
pub(crate) fn figures(rounds: &[Round]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |name: &str, unit, target, of: &dyn Fn(&Round) -> f64| {
        figures.push(Figure::new(name, unit, target, rounds.iter().map(of).collect()));
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
