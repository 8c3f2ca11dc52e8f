//! What a repair puts back, takes out, and has to give up.
//!
//! The index remembers what a broken stretch of the journal held: small values whole, and of larger ones where they lie
//! and what they add up to, so that a value in a broken frame is still good when its own bytes are. What neither has
//! is lost, and is listed.

use std::collections::{BTreeMap, BTreeSet};

use fanfare_model::id::NotificationId;
use serde::Serialize;

use super::super::index::{Index, Indexed, Stored};
use super::super::journal::{Position, Segments};
use super::super::{EmbeddedEngine, OpenError};
use super::check::describe;
use super::links::{self, Broken};
use super::scratch::{Walk, failed};
use crate::engine::{Change, Class, CommitError, Engine as _, Key, Transaction, Value};
use crate::{keys, kinds};

/// One transaction of a repair.
const CHANGES_MAX: usize = 256;

/// Removing a record can leave another one alone.
const PASSES_MAX: usize = 4;

/// A record that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// What it was, as in `fanfare store stats`.
    pub kind: &'static str,
    /// The notification that it belonged to.
    pub notification: Option<String>,
    /// The commit that wrote it, where that is known.
    pub commit: Option<u64>,
    /// For people.
    pub text: String,
}

/// Changes to be made, and what could not be saved.
#[derive(Debug, Default)]
pub(crate) struct Mends {
    changes: BTreeMap<Key, Option<Value>>,
    pub(crate) lost: Vec<Lost>,
    pub(crate) salvaged: u64,
    pub(crate) deleted: u64,
    pub(crate) mended: u64,
}

impl Mends {
    fn lose(&mut self, key: &Key, commit: Option<u64>, how: &str) {
        let notification = kinds::notification(key).map(|id| id.to_string());
        let text = format!("{} {how}", describe(key));
        self.lost.push(Lost { kind: kinds::name(key), notification, commit, text });
    }

    /// What the index has and the journal has not, up to the position that the index covers.
    pub(crate) fn recall(
        &mut self,
        index: &Index,
        covered: Position,
        journal: &Index,
        segments: &Segments,
    ) -> Result<(), OpenError> {
        let io = |error| failed(segments.directory(), &error);
        let (mut left, mut right) = (Walk::new(index), Walk::new(journal));
        let (mut has, mut reads) = (left.next().map_err(io)?, right.next().map_err(io)?);
        loop {
            let order = match (&has, &reads) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((has, _)), Some((reads, _))) => has.cmp(reads),
            };
            match (&has, &reads) {
                (Some((key, has)), Some((_, reads))) if order.is_eq() && has.version > reads.version => {
                    self.missing(key, has, Some(reads), segments);
                }
                _ if order.is_eq() => {}
                (Some((key, has)), _) if order.is_lt() => self.missing(key, has, None, segments),
                (_, Some((key, reads))) if reads.version.0 <= covered.sequence => {
                    // It was deleted, and the deletion can't be read any more.
                    self.changes.insert(key.clone(), None);
                    self.deleted += 1;
                }
                _ => {}
            }
            if order.is_le() {
                has = left.next().map_err(io)?;
            }
            if order.is_ge() {
                reads = right.next().map_err(io)?;
            }
        }
    }

    fn missing(&mut self, key: &Key, has: &Indexed, older: Option<&Indexed>, segments: &Segments) {
        let value = match &has.value {
            Stored::Inline { value, .. } => Some(value.clone()),
            Stored::At(at) => links::read(segments, *at).ok(),
        };
        if let Some(value) = value {
            self.changes.insert(key.clone(), Some(value));
            self.salvaged += 1;
            return;
        }
        let how = match older {
            None => "is gone".to_owned(),
            Some(older) => format!("is as it was at commit {} again", older.version.0),
        };
        self.lose(key, Some(has.version.0), &how);
    }

    /// Makes the records agree with each other, and commits everything.
    pub(crate) fn mend(&mut self, engine: &EmbeddedEngine) -> Result<(), OpenError> {
        self.commit(engine)?;
        let shared = &engine.parts.shared;
        for _ in 0..PASSES_MAX {
            engine.parts.indexer.flush_now();
            let mut bodiless = BTreeSet::new();
            links::walk(&shared.index, &shared.segments, &mut |broken| {
                match broken {
                    Broken::NoDue(entry) => {
                        self.mended += 1;
                        self.changes.insert(entry.key(), Some(Value::from(entry.value())));
                    }
                    Broken::StrayDue(key) => {
                        self.mended += 1;
                        self.changes.insert(key, None);
                    }
                    Broken::NoBody(id) => drop(bodiless.insert(id)),
                    Broken::Unreadable(key, error) => {
                        self.lose(&key, None, &format!("can't be read, and was removed: {error}"));
                        self.changes.insert(key, None);
                    }
                }
                Ok(())
            })?;
            for id in bodiless {
                self.give_up(&shared.index, id)
                    .map_err(|error| failed(shared.segments.directory(), &error))?;
            }
            if self.changes.is_empty() {
                break;
            }
            self.commit(engine)?;
        }
        Ok(())
    }

    /// A notification that can't be sent any more, because what it said is gone.
    fn give_up(&mut self, index: &Index, id: NotificationId) -> Result<(), super::super::index::IndexError> {
        let known = |lost: &Lost| lost.kind == "body" && lost.notification == Some(id.to_string());
        let commit = self.lost.iter().find(|lost| known(lost)).and_then(|lost| lost.commit);
        self.lost.retain(|lost| !known(lost));
        let how = "is gone while deliveries of it waited; they can't be sent, and were removed";
        self.lose(&keys::body(id), commit, how);
        self.changes.retain(|key, _| kinds::notification(key) != Some(id));
        let chunks = index.page(&keys::chunks(id), usize::MAX, crate::engine::Direction::Forward)?;
        for (key, _) in chunks {
            self.changes.insert(key, None);
        }
        Ok(())
    }

    fn commit(&mut self, engine: &EmbeddedEngine) -> Result<(), OpenError> {
        let mut transaction = Transaction::default();
        for (key, value) in std::mem::take(&mut self.changes) {
            let other_shard =
                transaction.changes.first().is_some_and(|first| first.key().get(..2) != key.get(..2));
            if other_shard || transaction.changes.len() >= CHANGES_MAX {
                settle(engine, std::mem::take(&mut transaction))?;
            }
            transaction.changes.push(match value {
                Some(value) => Change::Put(key, value),
                None => Change::Delete(key),
            });
        }
        settle(engine, transaction)
    }
}

fn settle(engine: &EmbeddedEngine, transaction: Transaction) -> Result<(), OpenError> {
    let path = || engine.parts.shared.segments.directory().to_owned();
    let io = |source| OpenError::Io { path: path(), source };
    let pending = engine.commit(Class::Settle, vec![transaction]);
    let wait = || Ok(tokio::runtime::Builder::new_current_thread().build()?.block_on(pending));
    // A thread of its own, for whoever calls may be in a runtime already.
    let waited = std::thread::scope(|scope| scope.spawn(wait).join());
    let results = waited.unwrap_or_else(|_| Err(std::io::Error::other("the commit failed"))).map_err(io)?;
    match results.into_iter().find_map(Result::err) {
        None => Ok(()),
        Some(error) => Err(io(std::io::Error::other(CommitError::to_string(&error)))),
    }
}
