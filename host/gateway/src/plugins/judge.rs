//! What the gateway does to a channel by itself: suspends it after traps in a row, probes it, promotes a candidate or rolls it
//! back.
//!
//! A store that can't be written does not keep a channel from being suspended; then the next start finds it open.

use std::sync::Arc;

use fanfare_model::name::ChannelName;
use fanfare_store::plugins::{AuditEntry, Slot};

use super::keeper::{Keeper, compare};
use super::kept::is_worse;
use crate::config::ChannelConfig;
use crate::registry::Seen;

/// Attempts of a candidate after which its score is written, beside once a look.
const SCORE_EVERY: u64 = 10;

/// Who decides about a candidate.
const CANARY: &str = "canary";

/// Who suspends and re-opens.
const WATCH: &str = "watch";

impl Keeper {
    /// A vigil rang.
    pub(super) async fn look_at(&mut self, name: &ChannelName) {
        let Some(section) = self.config.channels.get(name).cloned() else { return };
        let Some(kept) = self.channels.get_mut(name) else { return };
        let seen = kept.vigil.seen();
        kept.score();
        if kept.is_probing() {
            self.end_of_probe(name, &section, seen).await;
        } else if kept.usage.suspended.is_some() {
            // What was under way when it was suspended.
        } else if seen.traps >= section.suspend_after {
            self.suspend(name, &section, &seen).await;
        } else if kept.usage.canary.is_some() {
            self.judge(name, &section).await;
        }
    }

    /// Time has passed: probes begin, and scores are written.
    pub(super) async fn look_at_clock(&mut self) {
        let now = self.now().0;
        let due = |kept: &super::kept::Kept| {
            kept.usage.paused.is_none() && kept.probe_at.is_some_and(|(at, _)| at <= now)
        };
        let due: Vec<ChannelName> =
            self.channels.iter().filter(|(_, kept)| due(kept)).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.probe(&name).await;
        }
        self.write_scores(1).await;
    }

    async fn suspend(&mut self, name: &ChannelName, section: &ChannelConfig, seen: &Seen) {
        let (now, signals) = (self.now(), Arc::clone(&self.signals));
        let (code, last) = match &seen.last {
            Some(fault) => (fault.code.to_string(), fault.message.clone()),
            None => ("plugin.trap".to_owned(), String::new()),
        };
        let message =
            format!("{} attempts in a row ended in a trap or at a limit, the last one: {last}", seen.traps);
        let Some(kept) = self.channels.get_mut(name) else { return };
        kept.suspend(section, now, &code, message.clone());
        kept.watch(name, section, &signals);
        tracing::error!(
            channel = %name, code, message, probe_in_ms = millis(section.probe_after),
            "channel suspended: its deliveries are parked"
        );
        self.publish();
        let mut entry =
            self.entry(&Slot::Channel(name.clone()), WATCH, "suspend", format!("{message} ({code})"));
        self.about_what_serves(name, &mut entry);
        self.note(name, entry).await;
    }

    async fn probe(&mut self, name: &ChannelName) {
        let Some(section) = self.config.channels.get(name).cloned() else { return };
        let (now, signals) = (self.now(), Arc::clone(&self.signals));
        let Some(kept) = self.channels.get_mut(name) else { return };
        kept.probe_at = None;
        if kept.serving.is_ok() {
            kept.probe(name, &section, &signals);
            tracing::info!(channel = %name, "probing: one delivery is tried");
            self.publish();
            return;
        }
        let record = kept.record.clone();
        let staged = self.restaged(&self.config, name, &section, &record).await;
        let Some(kept) = self.channels.get_mut(name) else { return };
        match staged {
            Ok(serving) => {
                kept.serving = Ok(serving);
                kept.usage.suspended = None;
                tracing::info!(channel = %name, "channel re-opened: it can be staged again");
                self.publish();
                let entry = self.entry(
                    &Slot::Channel(name.clone()),
                    WATCH,
                    "resume",
                    "it can be staged again".to_owned(),
                );
                self.note(name, entry).await;
            }
            Err(refused) => {
                kept.suspend(&section, now, refused.code, refused.message.clone());
                tracing::warn!(channel = %name, code = refused.code, "the channel still can't be staged");
                self.publish();
                self.save(name).await;
            }
        }
    }

    async fn end_of_probe(&mut self, name: &ChannelName, section: &ChannelConfig, seen: Seen) {
        let Some(probed) = seen.probed else {
            // What came while the probe was under way was left on disk; published again, the lane reads it.
            self.publish();
            return;
        };
        let (now, signals) = (self.now(), Arc::clone(&self.signals));
        let Some(kept) = self.channels.get_mut(name) else { return };
        match probed {
            Ok(()) => {
                kept.usage.suspended = None;
                kept.watch(name, section, &signals);
                tracing::info!(channel = %name, "channel re-opened: the probe ended by itself");
                self.publish();
                let mut entry = self.entry(
                    &Slot::Channel(name.clone()),
                    WATCH,
                    "resume",
                    "the probe ended by itself".to_owned(),
                );
                self.about_what_serves(name, &mut entry);
                self.note(name, entry).await;
            }
            Err(fault) => {
                let message = format!("the probe failed: {}", fault.message);
                kept.suspend(section, now, fault.code.as_str(), message);
                kept.watch(name, section, &signals);
                let probes = kept.usage.suspended.as_ref().map_or(0, |suspended| suspended.probes);
                tracing::warn!(channel = %name, code = %fault.code, probes, "the probe failed: the channel stays suspended");
                self.publish();
                self.save(name).await;
            }
        }
    }

    /// Promotes a candidate that was tried often enough, or rolls it back.
    async fn judge(&mut self, name: &ChannelName, section: &ChannelConfig) {
        let Some(kept) = self.channels.get(name) else { return };
        let Some(canary) = kept.usage.canary else { return };
        if canary.new.attempts < u64::from(canary.attempts_min) {
            if canary.new.attempts >= kept.written + SCORE_EVERY {
                self.save(name).await;
            }
            return;
        }
        let (new, old) = (canary.new, canary.old);
        let figures = format!(
            "{} of {} attempts of generation {} did not deliver, and {} of {} of generation {}",
            new.faults, new.attempts, canary.candidate, old.faults, old.attempts, kept.usage.current
        );
        let Some(candidate) = kept.trial.as_ref().map(|trial| trial.record.clone()) else { return };
        let worse = is_worse(new, old, canary.ratio_percent);
        let act = if worse { "rollback" } else { "promote" };
        let mut entry = self.entry(&Slot::Channel(name.clone()), CANARY, act, figures.clone());
        let mut usage = kept.usage.clone();
        usage.canary = None;
        if worse {
            compare(&mut entry, &kept.record, Some(&candidate));
        } else {
            compare(&mut entry, &candidate, Some(&kept.record));
            usage.current = canary.candidate;
        }
        // Written first: what was decided is decided also when the gateway is killed now.
        if let Err(error) = self.write(name, &usage, None, Some(entry)).await {
            tracing::error!(channel = %name, error = %error, "a decision about a candidate could not be stored; it stays on trial");
            return;
        }
        let signals = Arc::clone(&self.signals);
        let Some(kept) = self.channels.get_mut(name) else { return };
        kept.usage = usage;
        let trial = kept.trial.take();
        if worse {
            tracing::warn!(channel = %name, generation = canary.candidate, figures, "the candidate is rolled back");
        } else if let Some(trial) = trial {
            (kept.record, kept.serving) = (trial.record, Ok(trial.generation));
            tracing::info!(channel = %name, generation = canary.candidate, figures, "the candidate serves");
        }
        kept.watch(name, section, &signals);
        self.publish();
    }

    /// Writes the scores that have grown by so many attempts.
    pub(super) async fn write_scores(&mut self, by: u64) {
        let mut grown = Vec::new();
        for (name, kept) in &mut self.channels {
            kept.score();
            let attempts = kept.usage.canary.map_or(0, |canary| canary.new.attempts);
            if kept.usage.canary.is_some() && attempts >= kept.written + by.max(1) {
                grown.push(name.clone());
            }
        }
        for name in grown {
            self.save(&name).await;
        }
    }

    async fn save(&mut self, name: &ChannelName) {
        let Some(kept) = self.channels.get(name) else { return };
        let usage = kept.usage.clone();
        let attempts = usage.canary.map_or(0, |canary| canary.new.attempts);
        match self.write(name, &usage, None, None).await {
            Ok(()) => {
                if let Some(kept) = self.channels.get_mut(name) {
                    kept.written = attempts;
                }
            }
            Err(error) => tracing::error!(channel = %name, error = %error, "its state could not be stored"),
        }
    }

    async fn note(&self, name: &ChannelName, entry: AuditEntry) {
        let Some(kept) = self.channels.get(name) else { return };
        if let Err(error) = self.write(name, &kept.usage, None, Some(entry)).await {
            tracing::error!(channel = %name, error = %error, "its state could not be stored");
        }
    }

    fn about_what_serves(&self, name: &ChannelName, entry: &mut AuditEntry) {
        if let Some(kept) = self.channels.get(name) {
            entry.digest = Some(kept.record.plugin);
            entry.generation = Some(kept.record.number);
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
