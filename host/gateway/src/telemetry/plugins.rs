//! What plugins use, read from the runtime's accounts when metrics are asked for. Labels are the generations that live: those
//! that serve, and those with calls under way. A series ends with its generation.

use std::fmt;

use fanfare_runtime::{GenerationUsage, Runtime};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// The runtime's accounts as metrics.
#[derive(Debug)]
pub(super) struct PluginUsage {
    runtime: Runtime,
}

impl PluginUsage {
    pub(super) fn of(runtime: Runtime) -> Self {
        Self { runtime }
    }
}

type Read<T> = fn(&GenerationUsage) -> T;

const COUNTERS: &[(&str, &str, Read<u64>)] = &[
    ("plugin_calls", "Calls that ended", |of| of.totals.calls),
    ("plugin_traps", "Calls ended by a trap or a limit", |of| of.totals.traps),
    ("plugin_timeouts", "Calls that took too long", |of| of.totals.timeouts),
    ("plugin_host_calls", "Calls that guests made of the host", |of| of.totals.host_calls),
    ("plugin_requests", "HTTP requests and mails of guests", |of| of.totals.requests),
    ("plugin_log_lines_dropped", "Log lines over a limit", |of| of.totals.log_lines_dropped),
];

const BYTE_COUNTERS: &[(&str, &str, Read<u64>)] = &[
    ("plugin_sent", "Bodies of requests and mails", |of| of.totals.bytes_out),
    ("plugin_received", "Bodies of responses", |of| of.totals.bytes_in),
];

impl Collector for PluginUsage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let usages = self.runtime.usage();
        for (name, help, read) in COUNTERS {
            counters(&mut encoder, (name, help, None), &usages, *read)?;
        }
        for (name, help, read) in BYTE_COUNTERS {
            counters(&mut encoder, (name, help, Some(&Unit::Bytes)), &usages, *read)?;
        }
        let cpu = ("plugin_cpu", "Time that guests ran", Some(&Unit::Seconds));
        counters(&mut encoder, cpu, &usages, |of: &GenerationUsage| of.totals.cpu.as_secs_f64())?;
        let peak = ("plugin_memory_peak", "The largest instance of any call", Some(&Unit::Bytes));
        gauges(&mut encoder, peak, &usages, |of| of.totals.memory_bytes_peak)?;
        let row = ("plugin_traps_in_a_row", "Traps since a call ended by itself", None);
        gauges(&mut encoder, row, &usages, |of| of.traps_in_a_row.into())
    }
}

type Descriptor<'a> = (&'a str, &'a str, Option<&'a Unit>);

fn labels(usage: &GenerationUsage) -> [(&'static str, String); 2] {
    [("channel", usage.channel.clone()), ("generation", usage.generation.to_string())]
}

fn counters<T: prometheus_client::encoding::EncodeCounterValue>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): Descriptor<'_>,
    usages: &[GenerationUsage],
    read: impl Fn(&GenerationUsage) -> T,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for usage in usages {
        ConstCounter::new(read(usage)).encode(family.encode_family(&labels(usage))?)?;
    }
    Ok(())
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): Descriptor<'_>,
    usages: &[GenerationUsage],
    read: impl Fn(&GenerationUsage) -> u64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for usage in usages {
        let value = i64::try_from(read(usage)).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(family.encode_family(&labels(usage))?)?;
    }
    Ok(())
}
