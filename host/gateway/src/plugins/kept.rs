//! One channel as its keeper knows it: what the store says it uses, and what was staged of that.

use std::sync::Arc;
use std::time::Duration;

use fanfare_model::name::ChannelName;
use fanfare_model::time::Timestamp;
use fanfare_runtime::ChannelGeneration;
use fanfare_store::plugins::{Generation, Score, Suspension, Use};

use super::error::Refused;
use crate::config::ChannelConfig;
use crate::registry::{Channel, Halt, Lineup, Signals, State, Trial, Vigil};

/// However often a probe failed, the next one comes within this time, if not the first one already takes longer.
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

/// A generation on trial.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) record: Generation,
    pub(super) generation: Arc<ChannelGeneration>,
}

/// A configured channel.
#[derive(Debug)]
pub(super) struct Kept {
    /// As it stands in the store.
    pub(super) usage: Use,
    /// The generation that serves.
    pub(super) record: Generation,
    /// The same, ready to make attempts.
    pub(super) serving: Result<Arc<ChannelGeneration>, Refused>,
    /// The candidate.
    pub(super) trial: Option<Candidate>,
    /// Watches its attempts.
    pub(super) vigil: Arc<Vigil>,
    /// The next probe of a suspended channel, by both clocks.
    pub(super) probe_at: Option<(Duration, Timestamp)>,
    /// Attempts of the candidate when its score was last written.
    pub(super) written: u64,
}

impl Kept {
    /// A vigil over it as it is now; a candidate's score goes on.
    pub(super) fn watch(&mut self, name: &ChannelName, section: &ChannelConfig, signals: &Arc<Signals>) {
        let scores = self.usage.canary.as_ref().map(|canary| (canary.new, canary.old));
        self.written = scores.map_or(0, |(new, _)| new.attempts);
        let vigil = Vigil::new(name.clone(), section.suspend_after, scores, Arc::clone(signals));
        self.vigil = Arc::new(vigil);
    }

    /// From now on one attempt shows whether it works again.
    pub(super) fn probe(&mut self, name: &ChannelName, section: &ChannelConfig, signals: &Arc<Signals>) {
        let scores = self.usage.canary.as_ref().map(|canary| (canary.new, canary.old));
        let vigil = Vigil::new(name.clone(), section.suspend_after, scores, Arc::clone(signals));
        self.vigil = Arc::new(vigil.probing());
    }

    /// Takes the scores over from the vigil.
    pub(super) fn score(&mut self) {
        let seen = self.vigil.seen();
        if let Some(canary) = &mut self.usage.canary {
            (canary.new, canary.old) = (seen.new, seen.old);
        }
    }

    /// Whether a probe is under way.
    pub(super) fn is_probing(&self) -> bool {
        self.usage.suspended.is_some() && self.vigil.is_probe()
    }

    /// When the probe after so many failed ones comes.
    pub(super) fn rest(&mut self, section: &ChannelConfig, now: (Duration, Timestamp)) {
        let probes = self.usage.suspended.as_ref().map_or(0, |suspended| suspended.probes);
        let first = section.probe_after;
        let pause = first.saturating_mul(2_u32.saturating_pow(probes)).min(PROBE_PAUSE_MAX.max(first));
        self.probe_at = Some((now.0 + pause, now.1.plus(pause)));
    }

    /// Stops it with a reason; the first probe comes later.
    pub(super) fn suspend(
        &mut self,
        section: &ChannelConfig,
        now: (Duration, Timestamp),
        code: &str,
        message: String,
    ) {
        let probes = self.usage.suspended.as_ref().map_or(0, |before| before.probes.saturating_add(1));
        self.usage.suspended = Some(Suspension { at: now.1, code: code.to_owned(), message, probes });
        self.rest(section, now);
    }

    /// The channel as others see it.
    pub(super) fn channel(&self, section: &ChannelConfig) -> Channel {
        Channel {
            state: self.state(),
            generation: self.usage.current,
            plugin: format!("{} {}", self.record.plugin_name, self.record.plugin_version),
            file: section.plugin.file().map(ToOwned::to_owned),
            ready: self.serving.as_ref().ok().cloned(),
            retry: section.retry.clone(),
            slots: section.concurrency,
            alert_channel: section.alert_channel.clone(),
            vigil: Arc::clone(&self.vigil),
        }
    }

    fn state(&self) -> State {
        if let Some(paused) = &self.usage.paused {
            return State::Halted(Halt::Paused { at: paused.at, by: paused.by.clone() });
        }
        let suspended = self.usage.suspended.as_ref().filter(|_| !self.is_probing());
        if let Some(Suspension { at, code, message, probes }) = suspended {
            return State::Halted(Halt::Suspended {
                at: *at,
                code: code.clone(),
                message: message.clone(),
                probes: *probes,
                probe_at: self.probe_at.map_or(*at, |(_, at)| at),
            });
        }
        match &self.serving {
            Ok(serving) => {
                // A probe asks whether the generation that serves works.
                let trial =
                    self.usage.canary.as_ref().zip(self.trial.as_ref()).filter(|_| !self.is_probing());
                let trial = trial.map(|(canary, trial)| Trial {
                    generation: Arc::clone(&trial.generation),
                    share: canary.share,
                });
                State::Open(Lineup { serving: Arc::clone(serving), trial })
            }
            // A failure to stage suspends it, so this is never seen; it makes no attempts in any case.
            Err(refused) => State::Halted(Halt::Suspended {
                at: self.record.made_at,
                code: refused.code.to_owned(),
                message: refused.message.clone(),
                probes: 0,
                probe_at: self.probe_at.map_or(self.record.made_at, |(_, at)| at),
            }),
        }
    }
}

/// How much of a candidate's attempts did not deliver, against the other's: whether it is to go.
pub(super) fn is_worse(new: Score, old: Score, ratio_percent: u32) -> bool {
    if new.faults == 0 {
        return false;
    }
    // new.faults / new.attempts > ratio * old.faults / old.attempts, without a division; where the other made no
    // attempt it counts as flawless.
    let left = u128::from(new.faults) * u128::from(old.attempts.max(1)) * 100;
    let right = u128::from(old.faults) * u128::from(new.attempts) * u128::from(ratio_percent);
    left > right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(faults: u64, attempts: u64) -> Score {
        Score { attempts, faults }
    }

    #[test]
    fn a_candidate_is_worse_when_its_rate_of_faults_is_over_the_ratio() {
        assert!(!is_worse(score(0, 20), score(0, 100), 200));
        assert!(!is_worse(score(4, 20), score(10, 100), 200), "twice as many is not over twice");
        assert!(is_worse(score(5, 20), score(10, 100), 200));
        assert!(!is_worse(score(5, 20), score(10, 100), 250));
        assert!(is_worse(score(1, 20), score(0, 100), 200), "the other is flawless");
        assert!(is_worse(score(1, 20), score(0, 0), 200), "the other made no attempt");
        assert!(!is_worse(score(20, 20), score(100, 100), 200), "when all fail, the candidate is no worse");
    }
}
