//! What a lane knows of one destination: what it holds, and how it fares.

use std::collections::HashMap;
use std::time::Duration;

use fanfare_store::DueEntry;

use super::super::job::Destination;

/// Transient faults in a row after which a destination counts as in trouble.
pub(super) const TROUBLE_AFTER: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct DestinationState {
    pub(super) waiting: usize,
    pub(super) running: usize,
    pub(super) faults_in_a_row: u32,
    /// The receiver asked to be left alone until then, by the monotonic clock.
    pub(super) rests_until: Option<Duration>,
    /// Per priority, the first entry that was left on disk because this destination is in trouble.
    pub(super) left_behind: [Option<DueEntry>; 4],
}

impl DestinationState {
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        self.waiting == 0
            && self.running == 0
            && self.rests_until.is_none_or(|until| until <= now)
            && self.left_behind.iter().all(Option::is_none)
    }

    pub(super) fn in_trouble(&self, now: Duration) -> bool {
        self.faults_in_a_row >= TROUBLE_AFTER || self.rests_until.is_some_and(|until| until > now)
    }

    pub(super) fn rests(&self, now: Duration) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }
    /// What an attempt told of it.
    pub(super) fn note(&mut self, health: Health, now: Duration) {
        match health {
            Health::Answered => self.faults_in_a_row = 0,
            Health::Troubled(asked) => {
                self.faults_in_a_row = self.faults_in_a_row.saturating_add(1);
                if let Some(asked) = asked {
                    let until = now + asked;
                    self.rests_until = Some(self.rests_until.map_or(until, |at| at.max(until)));
                }
            }
            Health::Unknown => {}
        }
    }
}

/// How an attempt left its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Health {
    /// It answered; with success or with a fault of this delivery alone.
    Answered,
    /// It was busy, slow or gone; the duration is what it asked for.
    Troubled(Option<Duration>),
    /// The attempt says nothing about it.
    Unknown,
}

/// Whether another destination has a job that it may run within its share. If all have used theirs up, the slots
/// that are left are nobody's, and whoever waits may have them.
pub(super) fn others_wait(
    destinations: &HashMap<Destination, DestinationState>,
    but: Destination,
    share: usize,
    now: Duration,
) -> bool {
    destinations
        .iter()
        .any(|(name, state)| *name != but && state.waiting > 0 && state.running < share && !state.rests(now))
}
