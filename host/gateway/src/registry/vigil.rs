//! The vigil over one channel's attempts: traps in a row, the score of a candidate, the end of a probe.
//!
//! It counts and rings; who acts on it is [`crate::plugins`]. One short lock an attempt, nothing that grows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_model::fault::Fault;
use fanfare_model::name::ChannelName;
use fanfare_runtime::{AttemptReport, CallEnd};
use fanfare_store::plugins::Score;
use tokio::sync::Notify;

/// What was seen since the vigil began.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Traps of the generation that serves since its last attempt that ended by itself.
    pub traps: u32,
    /// The latest of them.
    pub last: Option<Fault>,
    /// How the probe ended.
    pub probed: Option<Result<(), Fault>>,
    /// The candidate's.
    pub new: Score,
    /// Of the generation that serves, since the candidate came.
    pub old: Score,
    probe_taken: bool,
}

/// Watches one channel.
#[derive(Debug)]
pub struct Vigil {
    channel: ChannelName,
    suspend_after: u32,
    probe: bool,
    scored: bool,
    seen: Mutex<Seen>,
    signals: Arc<Signals>,
}

/// Channels that somebody has to look at; each once, so it never grows beyond them.
#[derive(Debug, Default)]
pub struct Signals {
    channels: Mutex<BTreeSet<ChannelName>>,
    bell: Notify,
}

impl Signals {
    fn ring(&self, channel: &ChannelName) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.insert(channel.clone());
        drop(channels);
        self.bell.notify_one();
    }

    /// Waits until there is something to look at, and takes it.
    pub async fn taken(&self) -> BTreeSet<ChannelName> {
        loop {
            let taken = std::mem::take(&mut *self.channels.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken;
            }
            self.bell.notified().await;
        }
    }
}

impl Vigil {
    /// Over a channel that serves. `scores` are those of a candidate, where there is one.
    #[must_use]
    pub fn new(
        channel: ChannelName,
        suspend_after: u32,
        scores: Option<(Score, Score)>,
        signals: Arc<Signals>,
    ) -> Self {
        let (new, old) = scores.unwrap_or_default();
        let seen = Mutex::new(Seen { new, old, ..Seen::default() });
        Self { channel, suspend_after, probe: false, scored: scores.is_some(), seen, signals }
    }

    /// The same over a channel of which one attempt is to show whether it works again.
    #[must_use]
    pub fn probing(self) -> Self {
        Self { probe: true, ..self }
    }

    /// Whether one attempt is to show whether the channel works again.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// Whether an attempt may begin: always, but while a probe is under way.
    #[must_use]
    pub fn admits(&self) -> bool {
        !self.probe || !std::mem::replace(&mut self.lock().probe_taken, true)
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// An attempt of the generation that serves has ended.
    pub fn serving_ended(&self, report: &AttemptReport) {
        let mut seen = self.lock();
        count(&mut seen.old, report);
        let fault = report.outcome.fault().cloned();
        let mut ring = false;
        match (report.end, fault) {
            (CallEnd::Trapped, fault) => {
                seen.traps = seen.traps.saturating_add(1);
                seen.last.clone_from(&fault);
                if self.probe {
                    seen.probed = Some(fault.map_or(Ok(()), Err));
                }
                ring = self.probe || seen.traps >= self.suspend_after;
            }
            (CallEnd::Answered, _) => {
                seen.traps = 0;
                if self.probe {
                    seen.probed = Some(Ok(()));
                    ring = true;
                }
            }
            // Time that ran out, or a host that stops, says nothing of the guest: another attempt has to show it.
            (CallEnd::TimedOut | CallEnd::GivenUp, _) => {
                seen.probe_taken = false;
                ring = self.probe;
            }
        }
        drop(seen);
        if ring {
            self.signals.ring(&self.channel);
        }
    }

    /// An attempt of the candidate has ended.
    pub fn candidate_ended(&self, report: &AttemptReport) {
        count(&mut self.lock().new, report);
        if self.scored {
            self.signals.ring(&self.channel);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(score: &mut Score, report: &AttemptReport) {
    score.attempts = score.attempts.saturating_add(1);
    if report.outcome.fault().is_some() {
        score.faults = score.faults.saturating_add(1);
    }
}
