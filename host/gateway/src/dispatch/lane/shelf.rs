//! What of a lane is still on disk: which page of the due index it wants next, and what it takes of one.

use std::time::Duration;

use fanfare_model::priority::Priority;
use fanfare_model::time::Timestamp;
use fanfare_store::DueEntry;

use super::super::job::{Destination, Job};
use super::{LOW_WATER, Lane, Now, TROUBLED_MAX, WINDOW, rank};

/// How many entries a page holds.
pub(in super::super) const PAGE: usize = WINDOW;

/// What of one priority is still on disk.
#[derive(Debug)]
pub(super) struct Shelf {
    /// There may be entries that are due, not in memory, and not in the page that is being read.
    pub(super) unread: bool,
    /// A page is being read.
    pub(super) reading: bool,
    /// The first of what was left on the shelf while a page was read: it may not be in that page, and may stand before its end.
    pub(super) left: Option<DueEntry>,
    /// Everything is to be looked at again, also what the page that is being read holds.
    pub(super) stale: bool,
    /// Everything up to this entry was taken into memory; none means: read from the start.
    pub(super) read_to: Option<DueEntry>,
    /// Nothing unread is due before this instant.
    pub(super) wake_at: Option<Timestamp>,
}

impl Default for Shelf {
    /// Whatever the store holds is unread at first.
    fn default() -> Self {
        Self { unread: true, reading: false, left: None, stale: false, read_to: None, wake_at: None }
    }
}

impl Shelf {
    /// Looks at everything again.
    pub(super) fn reread(&mut self) {
        self.unread = true;
        self.stale = self.reading;
        self.read_to = None;
        self.wake_at = None;
    }

    /// Makes sure that an entry which stays on disk is not passed by.
    fn leave(&mut self, entry: &DueEntry) {
        if self.reading && self.left.as_ref().is_none_or(|left| entry.order() < left.order()) {
            self.left = Some(entry.clone());
        }
        self.rewind_before(entry);
    }

    /// Answers what was left meanwhile, and whether everything is to be looked at again.
    fn end_page(&mut self) -> (Option<DueEntry>, bool) {
        self.reading = false;
        (self.left.take(), std::mem::take(&mut self.stale))
    }

    /// No further back than needed: under load every other page would be read again from the start.
    fn rewind_before(&mut self, entry: &DueEntry) {
        if self.read_to.as_ref().is_some_and(|read_to| entry.order() <= read_to.order()) {
            self.read_to = Some(just_before(entry.clone()));
        }
    }
}

/// A page of the due index that a lane wants.
#[derive(Clone, Debug)]
pub(in super::super) struct PageWanted {
    pub(in super::super) priority: Priority,
    pub(in super::super) after: Option<DueEntry>,
    /// Only this destination's entries are wanted; the others of the page are in memory or done.
    pub(in super::super) only: Option<Destination>,
}

impl Lane {
    pub(super) fn leave_on_shelf(&mut self, entry: &DueEntry) {
        if let Some(shelf) = self.shelves.get_mut(rank(entry.priority)) {
            shelf.unread = true;
            shelf.leave(entry);
        }
    }

    pub(super) fn leave_for_later(&mut self, entry: &DueEntry, until: Timestamp) {
        if let Some(shelf) = self.shelves.get_mut(rank(entry.priority)) {
            shelf.wake_at = Some(shelf.wake_at.map_or(until, |at| at.min(until)));
            shelf.leave(entry);
        }
    }

    /// The next page to read, if the lane has room; the caller reads it and calls [`Self::stock`] or [`Self::page_failed`].
    pub(in super::super) fn wants_page(&mut self, now: Now) -> Option<PageWanted> {
        if self.waiting < LOW_WATER {
            for priority in Priority::ALL {
                let shelf = self.shelves.get_mut(rank(priority))?;
                if shelf.unread && !shelf.reading {
                    shelf.reading = true;
                    shelf.unread = false;
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
    pub(in super::super) fn stock(&mut self, wanted: &PageWanted, page: Vec<DueEntry>, now: Now) {
        let complete = page.len() < PAGE;
        let place = rank(wanted.priority);
        let mut read_to = None;
        let mut stopped = false;
        for entry in page {
            let rests_at_most = entry.delay.is_some_and(|delay| now.wall.plus(delay) < entry.due_at);
            if entry.due_at > now.wall && !rests_at_most {
                self.leave_for_later(&entry, entry.due_at);
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
        let (left, stale) = shelf.end_page();
        match wanted.only {
            // A rewind while the page was read wins over the page's end.
            None if !stale && shelf.read_to == wanted.after => {
                shelf.read_to = read_to.or_else(|| wanted.after.clone());
                shelf.unread |= self.waiting >= WINDOW || (!stopped && !complete);
                if let Some(left) = left {
                    shelf.rewind_before(&left);
                }
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
    pub(in super::super) fn page_failed(&mut self, wanted: &PageWanted) {
        if let Some(shelf) = self.shelves.get_mut(rank(wanted.priority)) {
            shelf.end_page();
            shelf.unread = true;
            if wanted.only.is_some() {
                shelf.read_to = None;
            }
        }
    }
}

/// A place in the due index before `entry` and after everything due a millisecond earlier.
fn just_before(entry: DueEntry) -> DueEntry {
    DueEntry { due_at: entry.due_at.minus(Duration::from_millis(1)), ..entry }
}
