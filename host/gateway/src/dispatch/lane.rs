//! One lane: what is ready, resting and still on disk for one channel. Pure: time comes in as a parameter.
//!
//! A lane keeps at most [`WINDOW`] jobs in memory, whatever the backlog; the rest stays in the store's due
//! index and is read as the lane drains ([`Lane::wants_page`], [`Lane::stock`]). A job is in memory at most once: `known` holds
//! every delivery that is waiting here, resting for a retry, under way, or ended with its settle not yet durable.
//!
//! Within a lane, destinations take turns, and a destination that is in trouble holds a bounded part of the
//! window and of the slots, so that one dead host never holds back its neighbours.

mod destination;
mod queues;
mod shelf;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fanfare_model::id::DeliveryId;
use fanfare_model::priority::Priority;
use fanfare_model::time::Timestamp;
use fanfare_store::DueEntry;

pub(super) use self::destination::Health;
use self::destination::{DestinationState, others_wait};
use self::queues::{Resting, Rests, Turns};
use self::shelf::Shelf;
pub(super) use self::shelf::{PAGE, PageWanted};
use super::job::{Destination, Job};

/// Jobs that one lane keeps in memory.
pub(super) const WINDOW: usize = 2_048;

/// A lane reads on when it holds fewer than this.
const LOW_WATER: usize = WINDOW / 4;

/// What a destination in trouble may hold of the window.
const TROUBLED_MAX: usize = WINDOW / 8;

/// Idle destinations beyond this many are forgotten, with what is known of their health.
const DESTINATIONS_MAX: usize = 1_024;

/// How often each priority is served in a round: critical first, and nobody starves.
const CREDITS: [u32; 4] = [16, 8, 4, 1];

/// All that is known about one channel's work.
#[derive(Debug, Default)]
pub(super) struct Lane {
    ready: [Turns; 4],
    credits: [u32; 4],
    resting: Rests,
    shelves: [Shelf; 4],
    known: HashSet<DeliveryId>,
    destinations: HashMap<Destination, DestinationState>,
    waiting: usize,
    running: usize,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) wall: Timestamp,
    pub(super) elapsed: Duration,
}

fn rank(priority: Priority) -> usize {
    usize::from(priority.rank())
}

impl Lane {
    /// Takes a job that was just accepted or set free, if it is due and there is room; else remembers that the
    /// store has it.
    pub(super) fn offer(&mut self, job: Job, now: Now) {
        if self.known.contains(&job.entry.delivery) {
            return;
        }
        // Nothing jumps the queue of older work that is still on disk.
        let backlog = self.shelves.get(rank(job.entry.priority)).is_some_and(|s| s.unread || s.reading);
        if job.entry.due_at > now.wall {
            self.leave_for_later(&job.entry, job.entry.due_at);
        } else if !backlog && self.has_room(job.destination, now) {
            self.admit(job);
        } else {
            self.leave_on_shelf(&job.entry);
        }
    }

    fn has_room(&self, destination: Destination, now: Now) -> bool {
        let state = self.destinations.get(&destination);
        let troubled =
            state.is_some_and(|state| state.in_trouble(now.elapsed) && state.waiting >= TROUBLED_MAX);
        self.waiting < WINDOW && !troubled
    }

    fn admit(&mut self, job: Job) {
        let Some(turns) = self.ready.get_mut(rank(job.entry.priority)) else { return };
        self.known.insert(job.entry.delivery);
        self.waiting += 1;
        self.destinations.entry(job.destination).or_default().waiting += 1;
        turns.push(job);
    }

    /// Lets a delivery whose settle is durable wait for its retry: here if there is room, else on disk.
    pub(super) fn rest(&mut self, job: Job, delay: Duration, now: Now) {
        if self.resting.len() < WINDOW {
            self.resting.push(Reverse(Resting { until: now.elapsed + delay, job: job.cold() }));
        } else {
            self.put_off(&job.entry, job.entry.due_at);
        }
    }

    /// Leaves a delivery on disk, and looks for it there from `until` on.
    pub(super) fn put_off(&mut self, entry: &DueEntry, until: Timestamp) {
        self.known.remove(&entry.delivery);
        self.leave_for_later(entry, until);
    }

    /// Forgets a delivery that ended, once that is durable.
    pub(super) fn forget(&mut self, delivery: DeliveryId) {
        self.known.remove(&delivery);
    }

    /// Moves what is due now from resting to ready, and opens the shelves whose time has come.
    pub(super) fn advance(&mut self, now: Now) {
        while self.resting.peek().is_some_and(|Reverse(next)| next.until <= now.elapsed) {
            if let Some(Reverse(Resting { job, .. })) = self.resting.pop() {
                self.known.remove(&job.entry.delivery);
                self.admit(job);
            }
        }
        for shelf in &mut self.shelves {
            if shelf.wake_at.is_some_and(|at| at <= now.wall) {
                shelf.wake_at = None;
                shelf.unread = true;
            }
        }
        if self.destinations.len() > DESTINATIONS_MAX {
            self.destinations.retain(|_, state| !state.is_idle(now.elapsed));
        }
    }

    /// The wall clock jumped, or the lane's channel came back: look at everything on disk again.
    pub(super) fn reread(&mut self) {
        for shelf in &mut self.shelves {
            shelf.reread();
        }
    }

    /// Takes the next job to run, if a slot of the lane may be used for it.
    pub(super) fn pick(&mut self, slots: usize, now: Now) -> Option<Job> {
        if self.waiting == 0 || self.running >= slots {
            return None;
        }
        for round in 0..2 {
            for place in 0..CREDITS.len() {
                if self.credits.get(place).is_some_and(|left| *left > 0)
                    && let Some(job) = self.take_turn(place, slots, now)
                {
                    if let Some(left) = self.credits.get_mut(place) {
                        *left -= 1;
                    }
                    return Some(job);
                }
            }
            if round == 0 {
                self.credits = CREDITS;
            }
        }
        None
    }

    fn take_turn(&mut self, place: usize, slots: usize, now: Now) -> Option<Job> {
        let share = (slots / 4).max(1);
        let turns = self.ready.get_mut(place)?;
        for _ in 0..turns.order.len() {
            let destination = *turns.order.front()?;
            let state = self.destinations.get(&destination);
            let full = state.is_some_and(|state| {
                state.rests(now.elapsed)
                    || (state.running >= share
                        && others_wait(&self.destinations, destination, share, now.elapsed))
            });
            if full {
                turns.order.rotate_left(1);
                continue;
            }
            let job = turns.pop_front()?;
            self.waiting -= 1;
            self.running += 1;
            let state = self.destinations.entry(destination).or_default();
            state.waiting = state.waiting.saturating_sub(1);
            state.running += 1;
            return Some(job);
        }
        None
    }

    /// Gives a slot back. The delivery stays known until [`Self::forget`] or [`Self::rest`].
    pub(super) fn finish(&mut self, destination: Destination, health: Health, now: Now) {
        self.running = self.running.saturating_sub(1);
        let state = self.destinations.entry(destination).or_default();
        state.running = state.running.saturating_sub(1);
        state.note(health, now.elapsed);
    }

    /// When something changes by itself: a rest ends or a shelf opens.
    pub(super) fn next_change_in(&self, now: Now) -> Option<Duration> {
        let retry = self.resting.peek().map(|Reverse(next)| next.until.saturating_sub(now.elapsed));
        let shelf = self.shelves.iter().filter_map(|shelf| shelf.wake_at).min().map(|at| at.since(now.wall));
        let rest = self
            .destinations
            .values()
            .filter_map(|state| state.rests_until)
            .filter(|until| *until > now.elapsed)
            .min()
            .map(|until| until - now.elapsed);
        [retry, shelf, rest].into_iter().flatten().min()
    }

    /// Jobs in memory that wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Attempts under way.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Whether a job waits that could run if it had a slot.
    pub(super) fn has_runnable(&self, slots: usize, now: Now) -> bool {
        self.running < slots
            && self.destinations.values().any(|state| state.waiting > 0 && !state.rests(now.elapsed))
    }

    /// Nothing in memory, nothing under way, nothing known to be on disk.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.shelves.iter().all(|s| !s.unread && !s.reading && s.wake_at.is_none())
    }
}

#[cfg(test)]
mod tests;
