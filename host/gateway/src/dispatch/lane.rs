//! One lane: what is ready, resting and still on disk for one channel. Pure: time comes in as a parameter.
//!
//! A lane keeps at most [`WINDOW`] jobs in memory, whatever the backlog; the rest stays in the store's due
//! index and is read as the lane drains ([`Lane::wants_page`], [`Lane::stock`]). A job is in memory at most once: `known` holds
//! every delivery that is waiting here, resting for a retry, under way, or ended with its settle not yet durable.
//!
//! Within a lane, destinations take turns, and a destination that is in trouble holds a bounded part of the
//! window and of the slots, so that one dead host never holds back its neighbours.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use fanfare_model::id::DeliveryId;
use fanfare_model::priority::Priority;
use fanfare_model::time::Timestamp;
use fanfare_store::DueEntry;

use super::job::{Destination, Job};

/// Jobs that one lane keeps in memory.
pub(super) const WINDOW: usize = 2_048;

/// A lane reads on when it holds fewer than this.
const LOW_WATER: usize = WINDOW / 4;

/// What a destination in trouble may hold of the window.
const TROUBLED_MAX: usize = WINDOW / 8;

/// Transient faults in a row after which a destination counts as in trouble.
const TROUBLE_AFTER: u32 = 3;

/// Idle destinations beyond this many are forgotten, with what is known of their health.
const DESTINATIONS_MAX: usize = 1_024;

/// How often each priority is served in a round: critical first, and nobody starves.
const CREDITS: [u32; 4] = [16, 8, 4, 1];

/// All that is known about one channel's work.
#[derive(Debug, Default)]
pub(super) struct Lane {
    ready: [Turns; 4],
    credits: [u32; 4],
    resting: BinaryHeap<Reverse<Resting>>,
    shelves: [Shelf; 4],
    known: HashSet<DeliveryId>,
    destinations: HashMap<Destination, DestinationState>,
    waiting: usize,
    running: usize,
}

/// Destinations of one priority taking turns.
#[derive(Debug, Default)]
struct Turns {
    order: VecDeque<Destination>,
    jobs: HashMap<Destination, VecDeque<Job>>,
}

/// A retry that waits by the monotonic clock.
#[derive(Debug)]
struct Resting {
    until: Duration,
    job: Job,
}

impl PartialEq for Resting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Resting {}
impl PartialOrd for Resting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Resting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.until, self.job.entry.delivery).cmp(&(other.until, other.job.entry.delivery))
    }
}

/// What of one priority is still on disk.
#[derive(Debug)]
struct Shelf {
    /// There may be entries that are due and not in memory.
    unread: bool,
    /// A page is being read.
    reading: bool,
    /// Something was left on the shelf while a page was read.
    dirty: bool,
    /// Everything up to this entry was taken into memory; none means: read from the start.
    read_to: Option<DueEntry>,
    /// Nothing unread is due before this instant.
    wake_at: Option<Timestamp>,
}

impl Default for Shelf {
    /// Whatever the store holds is unread at first.
    fn default() -> Self {
        Self { unread: true, reading: false, dirty: false, read_to: None, wake_at: None }
    }
}

#[derive(Debug, Default)]
struct DestinationState {
    waiting: usize,
    running: usize,
    faults_in_a_row: u32,
    /// The receiver asked to be left alone until then, by the monotonic clock.
    rests_until: Option<Duration>,
    /// Per priority, the first entry that was left on disk because this destination is in trouble.
    left_behind: [Option<DueEntry>; 4],
}

impl DestinationState {
    fn is_idle(&self, now: Duration) -> bool {
        self.waiting == 0
            && self.running == 0
            && self.rests_until.is_none_or(|until| until <= now)
            && self.left_behind.iter().all(Option::is_none)
    }

    fn in_trouble(&self, now: Duration) -> bool {
        self.faults_in_a_row >= TROUBLE_AFTER || self.rests_until.is_some_and(|until| until > now)
    }

    fn rests(&self, now: Duration) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }
}

/// A page of the due index that a lane wants.
#[derive(Clone, Debug)]
pub(super) struct PageWanted {
    pub(super) priority: Priority,
    pub(super) after: Option<DueEntry>,
    /// Only this destination's entries are wanted; the others of the page are in memory or done.
    pub(super) only: Option<Destination>,
}

/// How many entries a page holds.
pub(super) const PAGE: usize = WINDOW;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) wall: Timestamp,
    pub(super) elapsed: Duration,
}

/// How an attempt left its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It answered; with success or with a fault of this delivery alone.
    Answered,
    /// It was busy, slow or gone; the duration is what it asked for.
    Troubled(Option<Duration>),
    /// The attempt says nothing about it.
    Unknown,
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
            self.leave_for_later(&job.entry);
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

    fn leave_on_shelf(&mut self, entry: &DueEntry) {
        if let Some(shelf) = self.shelves.get_mut(rank(entry.priority)) {
            shelf.unread = true;
            shelf.dirty = true;
            shelf.rewind_before(entry);
        }
    }

    fn leave_for_later(&mut self, entry: &DueEntry) {
        if let Some(shelf) = self.shelves.get_mut(rank(entry.priority)) {
            shelf.wake_at = Some(shelf.wake_at.map_or(entry.due_at, |at| at.min(entry.due_at)));
            shelf.rewind_before(entry);
        }
    }

    /// Lets a delivery whose settle is durable wait for its retry: here if there is room, else on disk.
    pub(super) fn rest(&mut self, job: Job, delay: Duration, now: Now) {
        if self.resting.len() < WINDOW {
            self.resting.push(Reverse(Resting { until: now.elapsed + delay, job: job.cold() }));
        } else {
            self.known.remove(&job.entry.delivery);
            self.leave_for_later(&job.entry);
        }
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
            shelf.unread = true;
            shelf.read_to = None;
            shelf.wake_at = None;
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
        match health {
            Health::Answered => state.faults_in_a_row = 0,
            Health::Troubled(asked) => {
                state.faults_in_a_row = state.faults_in_a_row.saturating_add(1);
                if let Some(asked) = asked {
                    let until = now.elapsed + asked;
                    state.rests_until = Some(state.rests_until.map_or(until, |at| at.max(until)));
                }
            }
            Health::Unknown => {}
        }
    }

    /// The next page to read, if the lane has room; the caller reads it and calls [`Self::stock`] or [`Self::page_failed`].
    pub(super) fn wants_page(&mut self, now: Now) -> Option<PageWanted> {
        if self.waiting < LOW_WATER {
            for priority in Priority::ALL {
                let shelf = self.shelves.get_mut(rank(priority))?;
                if shelf.unread && !shelf.reading {
                    shelf.reading = true;
                    shelf.dirty = false;
                    return Some(PageWanted { priority, after: shelf.read_to.clone(), only: None });
                }
            }
        }
        self.wants_left_behind(now)
    }

    fn wants_left_behind(&mut self, now: Now) -> Option<PageWanted> {
        for (destination, state) in &mut self.destinations {
            if state.waiting >= TROUBLED_MAX / 2 || state.rests(now.elapsed) {
                continue;
            }
            for priority in Priority::ALL {
                let shelf = self.shelves.get_mut(rank(priority))?;
                if shelf.reading {
                    continue;
                }
                if let Some(first) = state.left_behind.get_mut(rank(priority)).and_then(Option::take) {
                    shelf.reading = true;
                    let after = just_before(first);
                    return Some(PageWanted { priority, after: Some(after), only: Some(*destination) });
                }
            }
        }
        None
    }

    /// Takes in a page that was read. `complete` says that the store had no further entry.
    pub(super) fn stock(&mut self, wanted: &PageWanted, page: Vec<DueEntry>, now: Now) {
        let complete = page.len() < PAGE;
        let place = rank(wanted.priority);
        let mut read_to = None;
        let mut stopped = false;
        for entry in page {
            let rests_at_most = entry.delay.is_some_and(|delay| now.wall.plus(delay) < entry.due_at);
            if entry.due_at > now.wall && !rests_at_most {
                self.leave_for_later(&entry);
                stopped = true;
                break;
            }
            let destination = Destination::of_entry(&entry);
            if self.known.contains(&entry.delivery) || wanted.only.is_some_and(|only| only != destination) {
                read_to = Some(entry);
                continue;
            }
            if self.waiting >= WINDOW {
                if let Some(destination) = wanted.only {
                    self.leave_behind(destination, place, entry);
                }
                stopped = true;
                break;
            }
            if rests_at_most {
                // The wall clock went back after the retry was set: it waits its delay and no longer.
                let delay = entry.delay.unwrap_or_default();
                self.known.insert(entry.delivery);
                read_to = Some(entry.clone());
                self.rest(Job::cold_from(entry), delay, now);
            } else if self.has_room(destination, now) {
                read_to = Some(entry.clone());
                self.admit(Job::cold_from(entry));
            } else {
                read_to = Some(entry.clone());
                self.leave_behind(destination, place, entry);
            }
        }
        self.close_page(wanted, place, read_to, stopped, complete);
    }

    fn leave_behind(&mut self, destination: Destination, place: usize, entry: DueEntry) {
        let state = self.destinations.entry(destination).or_default();
        if let Some(first) = state.left_behind.get_mut(place)
            && first.as_ref().is_none_or(|first| entry.order() < first.order())
        {
            *first = Some(entry);
        }
    }

    fn close_page(
        &mut self,
        wanted: &PageWanted,
        place: usize,
        read_to: Option<DueEntry>,
        stopped: bool,
        complete: bool,
    ) {
        let Some(shelf) = self.shelves.get_mut(place) else { return };
        shelf.reading = false;
        match wanted.only {
            // A rewind while the page was read wins over the page's end.
            None if shelf.read_to == wanted.after => {
                shelf.read_to = read_to.or_else(|| wanted.after.clone());
                shelf.unread = shelf.dirty || self.waiting >= WINDOW || (!stopped && !complete);
            }
            None => shelf.unread = true,
            Some(destination) => {
                let state = self.destinations.entry(destination).or_default();
                if let (false, false, Some(last)) = (stopped, complete, read_to)
                    && let Some(first) = state.left_behind.get_mut(place)
                {
                    first.get_or_insert(last);
                }
            }
        }
    }

    /// The page could not be read; it is wanted again.
    pub(super) fn page_failed(&mut self, wanted: &PageWanted) {
        if let Some(shelf) = self.shelves.get_mut(rank(wanted.priority)) {
            shelf.reading = false;
            shelf.unread = true;
            if wanted.only.is_some() {
                shelf.read_to = None;
            }
        }
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

/// Whether another destination has a job that it may run within its share. If all have used theirs up, the slots
/// that are left are nobody's, and whoever waits may have them.
fn others_wait(
    destinations: &HashMap<Destination, DestinationState>,
    but: Destination,
    share: usize,
    now: Duration,
) -> bool {
    destinations
        .iter()
        .any(|(name, state)| *name != but && state.waiting > 0 && state.running < share && !state.rests(now))
}

/// A place in the due index before `entry` and after everything due a millisecond earlier.
fn just_before(entry: DueEntry) -> DueEntry {
    DueEntry { due_at: entry.due_at.minus(Duration::from_millis(1)), ..entry }
}

impl Shelf {
    fn rewind_before(&mut self, entry: &DueEntry) {
        if self.read_to.as_ref().is_some_and(|read_to| entry.order() <= read_to.order()) {
            self.read_to = None;
        }
    }
}

impl Turns {
    fn push(&mut self, job: Job) {
        let destination = job.destination;
        let queue = self.jobs.entry(destination).or_default();
        if queue.is_empty() {
            self.order.push_back(destination);
        }
        queue.push_back(job);
    }

    /// The next job of the destination whose turn it is; the destination goes to the end of the row.
    fn pop_front(&mut self) -> Option<Job> {
        let destination = self.order.pop_front()?;
        let queue = self.jobs.get_mut(&destination)?;
        let job = queue.pop_front();
        if queue.is_empty() {
            self.jobs.remove(&destination);
        } else {
            self.order.push_back(destination);
        }
        job
    }
}

#[cfg(test)]
mod tests;
