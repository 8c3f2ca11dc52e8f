//! How channels are, read from what serves when metrics are asked for. Labels are the configured channels and five states.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;

use crate::registry::{Channel, Setup};

/// The states of channels as metrics.
#[derive(Debug)]
pub(super) struct ChannelStates {
    setup: watch::Receiver<Arc<Setup>>,
}

impl ChannelStates {
    pub(super) fn of(setup: watch::Receiver<Arc<Setup>>) -> Self {
        Self { setup }
    }
}

impl Collector for ChannelStates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let setup = self.setup.borrow().clone();
        let help = "1 for the state that the channel is in";
        let mut family = encoder.encode_descriptor("channel_state", help, None, MetricType::Gauge)?;
        for (name, channel) in &setup.channels {
            for state in Channel::WORDS {
                let labels = [("channel", name.as_str()), ("state", state)];
                let is = i64::from(channel.word() == state);
                ConstGauge::new(is).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "The number of the generation that serves the channel";
        let mut family = encoder.encode_descriptor("channel_generation", help, None, MetricType::Gauge)?;
        for (name, channel) in &setup.channels {
            let labels = [("channel", name.as_str())];
            let number = i64::try_from(channel.generation).unwrap_or(i64::MAX);
            ConstGauge::new(number).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
