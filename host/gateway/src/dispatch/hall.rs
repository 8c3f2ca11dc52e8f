//! All lanes, and the rule by which they share the gateway's slots. Pure: time comes in as a parameter.
//!
//! While others wait, a channel holds at most half of all slots.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fanfare_model::id::DeliveryId;
use fanfare_model::name::ChannelName;
use fanfare_store::DueEntry;

use super::job::Job;
use super::lane::{Health, Lane, Now, PageWanted};

/// Jobs kept with their notification in memory, over all lanes: about 25 MB of 1 KiB notifications.
const HOT_MAX: usize = 8_192;

/// All lanes.
#[derive(Debug)]
pub(super) struct Hall {
    lanes: HashMap<ChannelName, Lane>,
    /// Slots of each channel that is served; a lane without an entry is parked.
    slots: HashMap<ChannelName, usize>,
    /// Lanes take turns in this order.
    order: Vec<ChannelName>,
    turn: usize,
    slots_total: usize,
    running: HashSet<DeliveryId>,
}

/// A job and the lane it was taken from.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) lane: ChannelName,
    pub(super) job: Job,
}

/// What is in memory and under way on one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneDepth {
    /// The lane's channel.
    pub lane: ChannelName,
    /// Jobs in memory that wait for a slot.
    pub waiting: usize,
    /// Attempts under way.
    pub running: usize,
    /// Whether the channel is stopped or not there.
    pub parked: bool,
}

impl Hall {
    pub(super) fn new(slots_total: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            slots: HashMap::new(),
            order: Vec::new(),
            turn: 0,
            slots_total: slots_total.max(2),
            running: HashSet::new(),
        }
    }

    /// Says which channels are served, each with its slots. Lanes of other channels are parked; the lane of a channel that
    /// is back reads everything again, also where it was forgotten meanwhile because all its work was on disk.
    pub(super) fn serve(&mut self, slots: HashMap<ChannelName, usize>) {
        for channel in slots.keys() {
            if !self.slots.contains_key(channel) {
                self.lane(channel).reread();
            }
        }
        self.slots = slots;
    }

    /// Parks a lane until channels are served anew.
    pub(super) fn hold(&mut self, lane: &ChannelName) {
        self.slots.remove(lane);
    }

    /// Whether the lane's channel is stopped or not there.
    pub(super) fn is_parked(&self, lane: &ChannelName) -> bool {
        !self.slots.contains_key(lane)
    }

    pub(super) fn lane(&mut self, name: &ChannelName) -> &mut Lane {
        if !self.lanes.contains_key(name) {
            self.order.push(name.clone());
        }
        self.lanes.entry(name.clone()).or_default()
    }

    /// Takes in a job that was just accepted or set free.
    pub(super) fn offer(&mut self, job: Job, now: Now) {
        let hot_full = job.hot.is_some() && self.waiting() >= HOT_MAX;
        let job = if hot_full { job.cold() } else { job };
        let lane = job.entry.lane.clone();
        self.lane(&lane).offer(job, now);
    }

    fn waiting(&self) -> usize {
        self.lanes.values().map(Lane::waiting).sum()
    }

    /// Lets time pass.
    pub(super) fn advance(&mut self, now: Now) {
        for lane in self.lanes.values_mut() {
            lane.advance(now);
        }
    }

    /// The wall clock jumped: everything on disk is looked at again.
    pub(super) fn reread(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.reread();
        }
    }

    /// Takes the next job to run, from the lane whose turn it is.
    pub(super) fn pick(&mut self, now: Now) -> Option<Picked> {
        if self.running.len() >= self.slots_total {
            return None;
        }
        for _ in 0..self.order.len() {
            self.turn = (self.turn + 1) % self.order.len().max(1);
            let name = self.order.get(self.turn)?.clone();
            let Some(slots) = self.slots_of(&name, now) else { continue };
            if let Some(job) = self.lanes.get_mut(&name).and_then(|lane| lane.pick(slots, now)) {
                self.running.insert(job.entry.delivery);
                return Some(Picked { lane: name, job });
            }
        }
        None
    }

    fn slots_of(&self, name: &ChannelName, now: Now) -> Option<usize> {
        let own = *self.slots.get(name)?;
        let half = (self.slots_total / 2).max(1);
        let running = self.lanes.get(name)?.running();
        // Asked only when it matters: whether others wait costs a look at every lane.
        if own > half && running >= half && self.others_wait(name, now) { Some(half) } else { Some(own) }
    }

    fn others_wait(&self, but: &ChannelName, now: Now) -> bool {
        self.lanes.iter().any(|(name, lane)| {
            name != but && self.slots.get(name).is_some_and(|slots| lane.has_runnable(*slots, now))
        })
    }

    /// Gives a slot back.
    pub(super) fn finish(&mut self, picked: &Picked, health: Health, now: Now) {
        self.running.remove(&picked.job.entry.delivery);
        self.lane(&picked.lane).finish(picked.job.destination, health, now);
    }

    /// Whether an attempt for the delivery is under way.
    pub(super) fn is_running(&self, delivery: DeliveryId) -> bool {
        self.running.contains(&delivery)
    }

    /// Leaves a job on disk, and looks for it again after `pause`.
    pub(super) fn put_off(&mut self, picked: &Picked, pause: Duration, now: Now) {
        self.lane(&picked.lane).put_off(&picked.job.entry, now.wall.plus(pause));
    }

    /// A retry whose settle is durable.
    pub(super) fn rest(&mut self, lane: &ChannelName, job: Job, delay: Duration, now: Now) {
        self.lane(lane).rest(job, delay, now);
    }

    /// An end whose settle is durable.
    pub(super) fn forget(&mut self, lane: &ChannelName, delivery: DeliveryId) {
        self.lane(lane).forget(delivery);
    }

    /// Every page that a served lane wants read now.
    pub(super) fn pages_wanted(&mut self, now: Now) -> Vec<(ChannelName, PageWanted)> {
        let mut wanted = Vec::new();
        for (name, lane) in &mut self.lanes {
            if self.slots.contains_key(name) {
                while let Some(page) = lane.wants_page(now) {
                    wanted.push((name.clone(), page));
                }
            }
        }
        wanted
    }

    pub(super) fn stock(&mut self, lane: &ChannelName, wanted: &PageWanted, page: Vec<DueEntry>, now: Now) {
        self.lane(lane).stock(wanted, page, now);
    }

    pub(super) fn page_failed(&mut self, lane: &ChannelName, wanted: &PageWanted) {
        self.lane(lane).page_failed(wanted);
    }

    /// How long until something changes by itself.
    pub(super) fn next_change_in(&self, now: Now) -> Option<Duration> {
        let served = self.lanes.iter().filter(|(name, _)| self.slots.contains_key(*name));
        served.filter_map(|(_, lane)| lane.next_change_in(now)).min()
    }

    /// Forgets lanes that are empty and whose channel is gone.
    pub(super) fn tidy(&mut self) {
        let slots = &self.slots;
        self.lanes.retain(|name, lane| slots.contains_key(name) || !lane.is_empty());
        let lanes = &self.lanes;
        self.order.retain(|name| lanes.contains_key(name));
    }

    /// Attempts under way on all lanes.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// What is in memory, by lane.
    pub(super) fn depths(&self) -> Vec<LaneDepth> {
        let depth = |(name, lane): (&ChannelName, &Lane)| LaneDepth {
            lane: name.clone(),
            waiting: lane.waiting(),
            running: lane.running(),
            parked: self.is_parked(name),
        };
        self.lanes.iter().map(depth).collect()
    }
}
