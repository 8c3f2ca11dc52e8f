//! What the store tells about itself: each commit to an observer, and figures to whoever asks.

use std::sync::Arc;
use std::time::Duration;

use fanfare_model::id::Shard;
use fanfare_model::name::ChannelName;
use fanfare_model::priority::Priority;
use fanfare_model::time::Timestamp;

use crate::engine::{Change, Class, CommitError, Direction, Engine, ReadError, Transaction};
use crate::keys::{self, Kind};
use crate::records::{self, DeadRecord};
use crate::store::Store;

/// Counters of the dead letters that there are now begin so; the channel follows.
pub(crate) const LETTERS: &str = "dead-letters/";

/// Dead letters that one read brings while they are counted.
const PAGE: usize = 1_000;

/// Is told of every commit of the layers. It is called on the way of deliveries, so it must be quick.
pub trait Observer: Send + Sync + std::fmt::Debug + 'static {
    /// A commit ended after `took`, from the call until it was durable or refused.
    fn commit(&self, class: Class, took: Duration, end: CommitEnd);
}

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommitEnd {
    /// It is durable.
    Durable,
    /// A precondition did not hold.
    Conflict,
    /// There was no room.
    Full,
    /// It broke a rule of the engine.
    Invalid,
    /// The engine failed.
    Fatal,
}

impl CommitEnd {
    /// Its word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Conflict => "conflict",
            Self::Full => "full",
            Self::Invalid => "invalid",
            Self::Fatal => "fatal",
        }
    }
}

impl From<Option<&CommitError>> for CommitEnd {
    fn from(error: Option<&CommitError>) -> Self {
        match error {
            None => Self::Durable,
            Some(CommitError::Conflict) => Self::Conflict,
            Some(CommitError::Full(_)) => Self::Full,
            Some(CommitError::Invalid(_)) => Self::Invalid,
            Some(CommitError::Fatal(_)) => Self::Fatal,
        }
    }
}

/// What the store holds at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreFigures {
    /// Notifications whose changes are in memory only, until there is disk space.
    pub waiting_for_space: usize,
    /// Dead letters, by channel.
    pub dead_letters: Vec<(String, i64)>,
    /// For how long the oldest delivery of a lane has been due without having ended, by lane.
    pub queue_ages: Vec<(ChannelName, Duration)>,
}

impl Store {
    /// Tells `observer` of every further commit. Only the first one is told.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.ledger().observe(observer);
    }

    /// What the store holds now; the ages of these lanes' queues.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub async fn figures(&self, lanes: &[ChannelName]) -> Result<StoreFigures, ReadError> {
        let now = self.clock().now();
        let mut queue_ages = Vec::with_capacity(lanes.len());
        for lane in lanes {
            let age = self.oldest_due(lane).await?.map_or(Duration::ZERO, |due_at| now.since(due_at));
            queue_ages.push((lane.clone(), age));
        }
        let channel = |(name, count): (String, i64)| Some((name.strip_prefix(LETTERS)?.to_owned(), count));
        let dead_letters = self.counters().await?.into_iter().filter_map(channel).collect();
        Ok(StoreFigures { waiting_for_space: self.ledger().stuck(), dead_letters, queue_ages })
    }

    /// When the delivery of a lane that has been due for longest became due.
    async fn oldest_due(&self, lane: &ChannelName) -> Result<Option<Timestamp>, ReadError> {
        let mut oldest = None;
        for priority in Priority::ALL {
            let first = self.due(lane, priority, None, 1).await?;
            oldest = oldest.into_iter().chain(first.first().map(|entry| entry.due_at)).min();
        }
        Ok(oldest)
    }
}

/// Counts the dead letters of a store that was written before they were counted.
pub(crate) async fn count_letters(engine: &Arc<dyn Engine>) -> Result<(), ReadError> {
    let mut range = keys::all(Shard::EMBEDDED, Kind::Dead);
    let newest = engine.scan(range.clone(), 1, Direction::Backward).await?;
    let counters = keys::counter(Shard::EMBEDDED, LETTERS)..keys::all(Shard::EMBEDDED, Kind::Counter).end;
    let first = engine.scan(counters, 1, Direction::Forward).await?;
    let counted = first.first().and_then(|(key, _)| keys::parse_counter(key));
    if newest.is_empty() || counted.is_some_and(|name| name.starts_with(LETTERS)) {
        return Ok(());
    }
    let mut counts = std::collections::BTreeMap::<String, i64>::new();
    loop {
        let page = engine.scan(range.clone(), PAGE, Direction::Forward).await?;
        for (_, record) in &page {
            let letter: DeadRecord<'_> = records::decode("dead letter", &record.value)?;
            *counts.entry(letter.channel.to_owned()).or_default() += 1;
        }
        match page.into_iter().nth(PAGE - 1) {
            Some((last, _)) => range.start = keys::after(last),
            None => break,
        }
    }
    let add = |(channel, count): (String, i64)| {
        Change::Add(keys::counter(Shard::EMBEDDED, &format!("{LETTERS}{channel}")), count)
    };
    let changes = counts.into_iter().map(add).collect();
    let transaction = Transaction { preconditions: Vec::new(), changes };
    if let Some(Err(error)) = engine.commit(Class::Settle, vec![transaction]).await.pop() {
        // The gauge is wrong until the next start; nothing else depends on it.
        tracing::warn!(error = %error, "the dead letters could not be counted");
    }
    Ok(())
}
