//! Dispatch: takes due deliveries from their lanes, has each attempted once, and settles what came of it.
//!
//! `lanes (memory) <- due index (store)`, then `attempt -> runtime`, and the outcome goes back to the store.
//! Bounded by the slots of all channels together and by `SETTLES_MAX` outstanding settles. It refuses to
//! decide when to try again: that is the model's retry policy.

mod alert;
mod attempt;
mod hall;
mod job;
mod lane;
mod routed;
mod waiters;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_model::clock::Clock;
use fanfare_model::delivery::{Delivery, Phase};
use fanfare_model::id::DeliveryId;
use fanfare_model::name::ChannelName;
use fanfare_model::notification::Notification;
use fanfare_store::{Cell, Store};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::hall::LaneDepth;
use self::hall::{Hall, Picked};
use self::job::{Hot, Job};
use self::lane::{Now, PAGE, PageWanted};
use self::waiters::Waiters;
use crate::registry::Setup;
use crate::telemetry::Metrics;

/// Settles that may wait for their commit; beyond that no further attempt begins.
const SETTLES_MAX: usize = 4_096;

/// Slots of the lane of notifications that wait for their router.
const ROUTER_SLOTS: usize = 16;

/// The loop looks at the clocks at least so often, and so notices a step of the wall clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A smaller difference between the clocks is drift, not a step.
const STEP_MIN: Duration = Duration::from_secs(1);

/// What dispatch needs.
#[derive(Debug)]
pub struct Options {
    /// Where due work is, and where outcomes go.
    pub store: Store,
    /// Channels and router.
    pub setup: watch::Receiver<Arc<Setup>>,
    /// Counts what happens.
    pub metrics: Arc<Metrics>,
    /// Attempts that may be under way at once, on all channels.
    pub slots_total: usize,
}

/// A handle on dispatch; cheap to clone.
#[derive(Clone, Debug)]
pub struct Dispatch {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    hall: Mutex<Hall>,
    /// Something may be ready to run or to be read.
    stirred: Notify,
    settles: Arc<Semaphore>,
    tasks: TaskTracker,
    waiters: Waiters,
    alerts: alert::Limiter,
    stopping: CancellationToken,
}

impl Dispatch {
    /// Makes a dispatch that waits for [`Self::run`].
    #[must_use]
    pub fn new(options: Options) -> Self {
        let hall = Mutex::new(Hall::new(options.slots_total));
        let shared = Shared {
            options,
            hall,
            stirred: Notify::new(),
            settles: Arc::new(Semaphore::new(SETTLES_MAX)),
            tasks: TaskTracker::new(),
            waiters: Waiters::default(),
            alerts: alert::Limiter::default(),
            stopping: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Finds the lanes that hold work from before.
    ///
    /// # Errors
    /// The store's.
    pub async fn recover(&self) -> Result<(), fanfare_store::engine::ReadError> {
        let lanes = self.shared.options.store.lanes().await?;
        self.serve_setup();
        let mut hall = self.shared.hall();
        for lane in lanes {
            if hall.is_parked(&lane) {
                tracing::warn!(channel = %lane, "deliveries are parked: their channel is stopped or not configured");
            }
            hall.lane(&lane);
        }
        Ok(())
    }

    /// Runs attempts until [`Self::stop`].
    pub async fn run(&self) {
        let mut setup = self.shared.options.setup.clone();
        let mut clocks = Clocks::at(self.shared.now());
        self.serve_setup();
        loop {
            let pause = self.turn(&mut clocks).await;
            tokio::select! {
                () = self.shared.stopping.cancelled() => break,
                () = self.shared.stirred.notified() => {}
                () = tokio::time::sleep(pause) => {}
                changed = setup.changed() => match changed {
                    Ok(()) => self.serve_setup(),
                    Err(_) => break,
                },
            }
        }
    }

    /// Begins no further attempt, and waits until those under way are settled or `deadline` is over. Answers
    /// how many were still under way.
    pub async fn stop(&self, deadline: Duration) -> usize {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        let _ = tokio::time::timeout(deadline, self.shared.tasks.wait()).await;
        self.shared.hall().running()
    }

    /// Hands over a notification that has deliveries waiting: just accepted, routed, or sent again.
    pub fn offer(&self, cell: &Cell, notification: Option<&Arc<Notification>>) {
        let hot = notification
            .map(|notification| Hot { cell: cell.clone(), notification: Arc::clone(notification) });
        let entries = cell.due_entries();
        if entries.is_empty() {
            self.shared.waiters.poke(cell.id());
            return;
        }
        let now = self.shared.now();
        let mut hall = self.shared.hall();
        for entry in entries {
            hall.offer(Job::hot_from(entry, hot.clone()), now);
        }
        drop(hall);
        self.shared.stirred.notify_one();
    }

    /// Whether an attempt for the delivery is under way.
    #[must_use]
    pub fn is_sending(&self, delivery: DeliveryId) -> bool {
        self.shared.hall().is_running(delivery)
    }

    /// Whether the delivery waits for a channel that is stopped or not there.
    #[must_use]
    pub fn is_parked(&self, channel: &ChannelName) -> bool {
        self.shared.hall().is_parked(channel)
    }

    /// Waits until nothing of the notification is left to do, or `at_most` is over.
    pub async fn wait_until_terminal(&self, cell: &Cell, at_most: Duration) {
        let clock = self.shared.clock();
        let done = || cell.read(|state| state.status(clock.now()).is_terminal());
        let _ = tokio::time::timeout(at_most, self.shared.waiters.wait(cell.id(), done)).await;
    }

    /// Tells those who wait for the notification that something of it ended.
    pub(crate) fn poke(&self, id: fanfare_model::id::NotificationId) {
        self.shared.waiters.poke(id);
    }

    /// What serves now.
    pub(crate) fn setup(&self) -> Arc<Setup> {
        self.shared.options.setup.borrow().clone()
    }

    /// What is in memory, by lane.
    #[must_use]
    pub fn depths(&self) -> Vec<LaneDepth> {
        self.shared.hall().depths()
    }

    fn serve_setup(&self) {
        // Read with the hall locked: of two who serve at once, the later one never serves what is older.
        let mut hall = self.shared.hall();
        hall.serve(slots(&self.shared.options.setup.borrow()));
    }

    /// Leaves a job that was picked on disk: as far as `seen` says, its channel makes no attempt now. The lane is parked, and
    /// reads everything again when its channel is served anew.
    fn leave(&self, picked: &Picked, seen: &Arc<Setup>) {
        let now = self.shared.now();
        let mut hall = self.shared.hall();
        hall.finish(picked, lane::Health::Unknown, now);
        hall.forget(&picked.lane, picked.job.entry.delivery);
        hall.hold(&picked.lane);
        let setup = self.shared.options.setup.borrow();
        if !Arc::ptr_eq(seen, &setup) {
            // It may be back already, and nobody would say so again.
            hall.serve(slots(&setup));
        }
        drop((hall, setup));
        self.shared.stirred.notify_one();
    }

    /// Begins what can begin, reads what is wanted, and says how long nothing will happen by itself.
    async fn turn(&self, clocks: &mut Clocks) -> Duration {
        let now = self.shared.now();
        let stepped = clocks.stepped(now);
        if stepped {
            tracing::warn!("the wall clock was stepped; schedules are read again");
        }
        let wanted = {
            let mut hall = self.shared.hall();
            if stepped {
                hall.reread();
            }
            hall.advance(now);
            hall.tidy();
            hall.pages_wanted(now)
        };
        for (lane, page) in wanted {
            let dispatch = self.clone();
            self.shared.tasks.spawn(async move { dispatch.read_page(lane, page).await });
        }
        // While outcomes can't be stored, what would be sent now might be sent again after a crash.
        while !self.shared.stopping.is_cancelled() && self.shared.options.store.stagnation().is_none() {
            // Waiting here for a settle is what bounds them: whoever ends one lets the loop go on.
            let Ok(permit) = Arc::clone(&self.shared.settles).acquire_owned().await else { break };
            let Some(picked) = self.shared.hall().pick(self.shared.now()) else { break };
            let shared = Arc::clone(&self.shared);
            self.shared.tasks.spawn(async move { attempt::run(&Self { shared }, picked, permit).await });
        }
        let next = self.shared.hall().next_change_in(self.shared.now());
        next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)
    }

    async fn read_page(&self, lane: ChannelName, wanted: PageWanted) {
        let read = self.shared.options.store.due(&lane, wanted.priority, wanted.after.as_ref(), PAGE).await;
        let now = self.shared.now();
        match read {
            Ok(page) => self.shared.hall().stock(&lane, &wanted, page, now),
            Err(error) => {
                tracing::error!(channel = %lane, error = %error, "the due index could not be read");
                // The disk is not asked again at once; meanwhile the page counts as being read.
                tokio::time::sleep(LOOK_EVERY).await;
                self.shared.hall().page_failed(&lane, &wanted);
            }
        }
        self.shared.stirred.notify_one();
    }
}

impl Shared {
    fn hall(&self) -> MutexGuard<'_, Hall> {
        self.hall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        self.options.store.clock()
    }

    fn now(&self) -> Now {
        let clock = self.clock();
        Now { wall: clock.now(), elapsed: clock.elapsed() }
    }

    fn give_back(&self, picked: &Picked, health: lane::Health) {
        let now = self.now();
        self.hall().finish(picked, health, now);
        self.stirred.notify_one();
    }

    fn forget(&self, lane: &ChannelName, delivery: DeliveryId) {
        self.hall().forget(lane, delivery);
    }
}

/// The attempts that each lane may make at once; none of a lane that is not named.
fn slots(setup: &Setup) -> HashMap<ChannelName, usize> {
    let channels =
        setup.channels.iter().filter_map(|(name, channel)| Some((name.clone(), channel.open_slots()?)));
    channels.chain([(ChannelName::router(), ROUTER_SLOTS)]).collect()
}

/// Both clocks as they were when they were last compared.
#[derive(Debug)]
struct Clocks {
    last: Now,
}

impl Clocks {
    fn at(now: Now) -> Self {
        Self { last: now }
    }

    /// Whether the wall clock moved otherwise than the monotonic one.
    fn stepped(&mut self, now: Now) -> bool {
        let elapsed = now.elapsed.saturating_sub(self.last.elapsed);
        let expected = self.last.wall.plus(elapsed);
        self.last = now;
        now.wall.since(expected).max(expected.since(now.wall)) >= STEP_MIN
    }
}

/// Whether the delivery still waits at the place in the due index that the job was made from.
fn is_current(delivery: &Delivery, job: &Job) -> bool {
    matches!(delivery.phase, Phase::Waiting { due_at, .. } if due_at == job.entry.due_at)
}

#[cfg(test)]
mod tests;
