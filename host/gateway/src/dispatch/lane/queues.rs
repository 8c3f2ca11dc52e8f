//! How jobs wait in memory: destinations taking turns, and retries resting until their time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use super::super::job::{Destination, Job};

/// Retries, the next one first.
pub(super) type Rests = BinaryHeap<Reverse<Resting>>;

/// Destinations of one priority taking turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    pub(super) order: VecDeque<Destination>,
    jobs: HashMap<Destination, VecDeque<Job>>,
}

impl Turns {
    pub(super) fn push(&mut self, job: Job) {
        let destination = job.destination;
        let queue = self.jobs.entry(destination).or_default();
        if queue.is_empty() {
            self.order.push_back(destination);
        }
        queue.push_back(job);
    }

    /// The next job of the destination whose turn it is; the destination goes to the end of the row.
    pub(super) fn pop_front(&mut self) -> Option<Job> {
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

/// A retry that waits by the monotonic clock.
#[derive(Debug)]
pub(super) struct Resting {
    pub(super) until: Duration,
    pub(super) job: Job,
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
