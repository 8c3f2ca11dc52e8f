//! Accounts: what the calls of each generation used together, and of each channel over all its generations.
//!
//! Counting is a handful of relaxed additions at the end of a call. A generation's account lives as long as the generation;
//! when it goes, its sums go over to its channel's. A channel's account goes with its last generation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::report::{CallEnd, Usage};

/// Under this name the router's generations are counted, as its deliveries are.
const ROUTER: &str = "(router)";

/// Sums over calls; memory is the largest of any call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that ended, however they did.
    pub calls: u64,
    /// Of those, the ones that a trap or a limit other than time ended.
    pub traps: u64,
    /// Of those, the ones that took longer than they may.
    pub timeouts: u64,
    /// As in [`Usage::cpu`].
    pub cpu: Duration,
    /// Around the calls.
    pub wall: Duration,
    /// The largest instance of any call, in bytes.
    pub memory_bytes_peak: u64,
    /// Calls of the host.
    pub host_calls: u64,
    /// HTTP requests and mails.
    pub requests: u64,
    /// Bodies of requests and mails, in bytes.
    pub bytes_out: u64,
    /// Bodies of responses, in bytes.
    pub bytes_in: u64,
    /// Log lines over the limit.
    pub log_lines_dropped: u64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.traps += other.traps;
        self.timeouts += other.timeouts;
        self.cpu += other.cpu;
        self.wall += other.wall;
        self.memory_bytes_peak = self.memory_bytes_peak.max(other.memory_bytes_peak);
        self.host_calls += other.host_calls;
        self.requests += other.requests;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.log_lines_dropped += other.log_lines_dropped;
    }
}

/// What one generation used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationUsage {
    /// The channel's name; `(router)` for routers.
    pub channel: String,
    /// The generation's number.
    pub generation: u64,
    /// The plugin's name.
    pub plugin: String,
    /// Since it was staged.
    pub totals: Totals,
    /// Calls ended by a trap since the last one that ended by itself.
    pub traps_in_a_row: u32,
}

/// One generation's counters.
#[derive(Debug)]
pub(crate) struct Account {
    channel: String,
    generation: u64,
    plugin: String,
    ledger: Arc<Ledger>,
    calls: AtomicU64,
    traps: AtomicU64,
    timeouts: AtomicU64,
    cpu_ns: AtomicU64,
    wall_ns: AtomicU64,
    memory_bytes_peak: AtomicU64,
    host_calls: AtomicU64,
    requests: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
    log_lines_dropped: AtomicU64,
    traps_in_a_row: AtomicU32,
}

/// What a channel's past generations used.
#[derive(Debug, Default)]
struct Ledger {
    past: Mutex<Totals>,
}

impl Account {
    /// Counts one call, and answers how many in a row a trap has ended by now. A call that ran out of time, or that the
    /// host gave up, leaves that number as it is: it says nothing of the guest.
    pub(crate) fn count(&self, usage: &Usage, end: CallEnd, log_dropped: u32) -> u32 {
        let add = |counter: &AtomicU64, by: u64| {
            if by > 0 {
                counter.fetch_add(by, Ordering::Relaxed);
            }
        };
        add(&self.calls, 1);
        add(&self.traps, u64::from(end == CallEnd::Trapped));
        add(&self.timeouts, u64::from(end == CallEnd::TimedOut));
        add(&self.cpu_ns, nanos(usage.cpu));
        add(&self.wall_ns, nanos(usage.wall));
        self.memory_bytes_peak.fetch_max(usage.memory_bytes_peak, Ordering::Relaxed);
        add(&self.host_calls, usage.host_calls.into());
        add(&self.requests, usage.requests.into());
        add(&self.bytes_out, usage.bytes_out);
        add(&self.bytes_in, usage.bytes_in);
        add(&self.log_lines_dropped, log_dropped.into());
        match end {
            CallEnd::Answered => self.traps_in_a_row.store(0, Ordering::Relaxed),
            CallEnd::Trapped => {
                return self.traps_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            }
            CallEnd::TimedOut | CallEnd::GivenUp => {}
        }
        self.traps_in_a_row()
    }

    pub(crate) fn traps_in_a_row(&self) -> u32 {
        self.traps_in_a_row.load(Ordering::Relaxed)
    }

    pub(crate) fn forgive(&self) {
        self.traps_in_a_row.store(0, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            calls: read(&self.calls),
            traps: read(&self.traps),
            timeouts: read(&self.timeouts),
            cpu: Duration::from_nanos(read(&self.cpu_ns)),
            wall: Duration::from_nanos(read(&self.wall_ns)),
            memory_bytes_peak: read(&self.memory_bytes_peak),
            host_calls: read(&self.host_calls),
            requests: read(&self.requests),
            bytes_out: read(&self.bytes_out),
            bytes_in: read(&self.bytes_in),
            log_lines_dropped: read(&self.log_lines_dropped),
        }
    }

    fn usage(&self) -> GenerationUsage {
        GenerationUsage {
            channel: self.channel.clone(),
            generation: self.generation,
            plugin: self.plugin.clone(),
            totals: self.totals(),
            traps_in_a_row: self.traps_in_a_row(),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let totals = self.totals();
        lock(&self.ledger.past).add(&totals);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every account of a runtime.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    live: Vec<Weak<Account>>,
    ledgers: BTreeMap<String, Weak<Ledger>>,
}

impl Accounts {
    /// Opens a generation's account; `channel` is none for a router.
    pub(crate) fn open(&self, channel: Option<&str>, generation: u64, plugin: &str) -> Arc<Account> {
        let channel = channel.unwrap_or(ROUTER).to_owned();
        let mut inner = lock(&self.inner);
        inner.live.retain(|account| account.strong_count() > 0);
        inner.ledgers.retain(|_, ledger| ledger.strong_count() > 0);
        let known = inner.ledgers.get(&channel).and_then(Weak::upgrade);
        let ledger = known.unwrap_or_else(|| {
            let ledger = Arc::new(Ledger::default());
            inner.ledgers.insert(channel.clone(), Arc::downgrade(&ledger));
            ledger
        });
        let account = Arc::new(Account {
            channel,
            generation,
            plugin: plugin.to_owned(),
            ledger,
            calls: AtomicU64::default(),
            traps: AtomicU64::default(),
            timeouts: AtomicU64::default(),
            cpu_ns: AtomicU64::default(),
            wall_ns: AtomicU64::default(),
            memory_bytes_peak: AtomicU64::default(),
            host_calls: AtomicU64::default(),
            requests: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            bytes_in: AtomicU64::default(),
            log_lines_dropped: AtomicU64::default(),
            traps_in_a_row: AtomicU32::default(),
        });
        inner.live.push(Arc::downgrade(&account));
        account
    }

    /// Each generation that lives, by channel and number.
    pub(crate) fn generations(&self) -> Vec<GenerationUsage> {
        let live: Vec<Arc<Account>> = lock(&self.inner).live.iter().filter_map(Weak::upgrade).collect();
        let mut usages: Vec<GenerationUsage> = live.iter().map(|account| account.usage()).collect();
        usages.sort_by(|a, b| (&a.channel, a.generation).cmp(&(&b.channel, b.generation)));
        usages
    }

    /// A channel's calls in this process, past generations included.
    pub(crate) fn channel(&self, channel: &str) -> Option<Totals> {
        let inner = lock(&self.inner);
        let ledger = inner.ledgers.get(channel).and_then(Weak::upgrade)?;
        let live: Vec<Arc<Account>> = inner.live.iter().filter_map(Weak::upgrade).collect();
        // The last holder of an account must not drop it, and take the ledger's lock, while this one is held.
        drop(inner);
        let mut totals = *lock(&ledger.past);
        for account in live.iter().filter(|account| account.channel == channel) {
            totals.add(&account.totals());
        }
        Some(totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(memory: u64) -> Usage {
        Usage {
            cpu: Duration::from_micros(5),
            wall: Duration::from_micros(9),
            memory_bytes_peak: memory,
            host_calls: 2,
            requests: 1,
            bytes_out: 10,
            bytes_in: 20,
        }
    }

    #[test]
    fn calls_are_summed_for_each_generation_and_memory_is_the_largest() {
        let accounts = Accounts::default();
        let one = accounts.open(Some("hook"), 1, "webhook");
        let _other = accounts.open(None, 1, "rules");
        one.count(&usage(700), CallEnd::Answered, 3);
        one.count(&usage(300), CallEnd::TimedOut, 0);
        let usages = accounts.generations();
        let names: Vec<_> = usages.iter().map(|usage| usage.channel.as_str()).collect();
        assert_eq!(names, ["(router)", "hook"]);
        let totals = usages[1].totals;
        assert_eq!((totals.calls, totals.timeouts, totals.memory_bytes_peak), (2, 1, 700));
        assert_eq!((totals.host_calls, totals.requests, totals.bytes_out, totals.bytes_in), (4, 2, 20, 40));
        assert_eq!((totals.cpu, totals.log_lines_dropped), (Duration::from_micros(10), 3));
    }

    #[test]
    fn a_channels_sum_keeps_what_its_past_generations_used() {
        let accounts = Accounts::default();
        let first = accounts.open(Some("hook"), 1, "webhook");
        first.count(&usage(900), CallEnd::Answered, 0);
        let second = accounts.open(Some("hook"), 2, "webhook");
        drop(first);
        second.count(&usage(100), CallEnd::Answered, 0);
        let channel = accounts.channel("hook").unwrap();
        assert_eq!((channel.calls, channel.memory_bytes_peak), (2, 900));
        assert_eq!(accounts.generations().len(), 1);
        drop(second);
        assert_eq!(accounts.channel("hook"), None);
    }

    #[test]
    fn traps_count_in_a_row_until_a_call_ends_by_itself() {
        let account = Accounts::default().open(Some("hook"), 1, "webhook");
        assert_eq!(account.count(&usage(0), CallEnd::Trapped, 0), 1);
        assert_eq!(account.count(&usage(0), CallEnd::TimedOut, 0), 1, "a timeout says nothing of the guest");
        assert_eq!(account.count(&usage(0), CallEnd::GivenUp, 0), 1);
        assert_eq!(account.count(&usage(0), CallEnd::Trapped, 0), 2);
        assert_eq!(account.count(&usage(0), CallEnd::Answered, 0), 0);
        account.count(&usage(0), CallEnd::Trapped, 0);
        account.forgive();
        assert_eq!(account.traps_in_a_row(), 0);
        assert_eq!(account.totals().traps, 3);
    }
}
