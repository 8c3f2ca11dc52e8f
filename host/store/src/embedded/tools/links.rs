//! What the records say of each other: a delivery that waits has exactly one due entry, and a body to send.
//!
//! The store keeps this by writing both in one transaction; what breaks it is lost frames. `check` tells, `repair`
//! mends. One pass over the states finds what is lacking; a second one, over the due entries, is made only when
//! there are more of them than deliveries that wait.

use std::collections::BTreeMap;

use fanfare_model::delivery::Delivery;
use fanfare_model::id::NotificationId;
use fanfare_model::state::NotificationState;

use super::super::OpenError;
use super::super::index::{Index, IndexError, Indexed, Stored};
use super::super::journal::{Location, Segments, Unread, segment_name};
use super::check::KindCount;
use super::scratch::{Walk, failed};
use super::survey::{Problem, Problems};
use crate::engine::{Key, ReadError, Value};
use crate::keys::{self, DueEntry};
use crate::records::{self, CHUNK};
use crate::{kinds, writes};

/// Something that is not as the states say.
#[derive(Debug)]
pub(crate) enum Broken {
    /// A delivery waits, and nothing would ever send it.
    NoDue(DueEntry),
    /// A due entry of nothing that waits.
    StrayDue(Key),
    /// A delivery waits, and what it should send is gone.
    NoBody(NotificationId),
    /// A record that can't be read.
    Unreadable(Key, ReadError),
}

/// Looks at everything; counts by kind, and tells `broken` what is wrong.
pub(crate) fn walk(
    index: &Index,
    segments: &Segments,
    broken: &mut dyn FnMut(Broken) -> Result<(), OpenError>,
) -> Result<BTreeMap<&'static str, KindCount>, OpenError> {
    let io = |error: IndexError| failed(segments.directory(), &error);
    let mut counts: BTreeMap<&'static str, KindCount> = BTreeMap::new();
    let mut states = States { index, segments, head: None, matched: 0 };
    let mut entries = Walk::new(index);
    while let Some((key, indexed)) = entries.next().map_err(io)? {
        let count = counts.entry(kinds::name(&key)).or_default();
        count.records += 1;
        count.bytes += indexed.value.bytes();
        if key.get(2) == Some(&b'S')
            && let Err(error) = states.look(&key, &indexed, broken)?
        {
            broken(Broken::Unreadable(key, error))?;
        }
    }
    if counts.get("due").is_some_and(|due| due.records > states.matched) {
        states.strays(broken)?;
    }
    Ok(counts)
}

/// The same, as problems of a check.
pub(crate) fn verify(
    index: &Index,
    segments: &Segments,
    problems: &mut Problems,
) -> Result<BTreeMap<&'static str, KindCount>, OpenError> {
    walk(index, segments, &mut |broken| {
        problems.add(match broken {
            Broken::NoDue(entry) => Problem::of_store(
                "due.missing",
                format!("delivery {} waits and has no due entry: it would never be sent", entry.delivery),
            ),
            Broken::StrayDue(key) => Problem::of_store(
                "due.stray",
                format!("{} belongs to no delivery that waits", super::check::describe(&key)),
            ),
            Broken::NoBody(id) => Problem::of_store(
                "body.missing",
                format!("a delivery of {id} waits, and the notification's body is gone: it can't be sent"),
            ),
            Broken::Unreadable(key, error) => {
                Problem::of_store("record.unreadable", format!("{}: {error}", super::check::describe(&key)))
            }
        });
        Ok(())
    })
}

struct States<'a> {
    index: &'a Index,
    segments: &'a Segments,
    /// Of the notification whose records pass by.
    head: Option<NotificationState>,
    /// Due entries that a delivery calls for.
    matched: u64,
}

/// A value of the journal; none of it moves while a tool works.
pub(crate) fn read(segments: &Segments, at: Location) -> Result<Value, ReadError> {
    segments.read(at).map_err(|unread| match unread {
        Unread::Failed(error) => error,
        Unread::Moved => ReadError(format!("segment {} is gone", segment_name(at.segment))),
    })
}

type Outcome = Result<Result<(), ReadError>, OpenError>;

impl States<'_> {
    fn load(&self, indexed: &Indexed) -> Result<Value, ReadError> {
        match &indexed.value {
            Stored::Inline { value, .. } => Ok(value.clone()),
            Stored::At(at) => read(self.segments, *at),
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Indexed>, OpenError> {
        self.index.get(key).map_err(|error| failed(self.segments.directory(), &error))
    }

    fn look(
        &mut self,
        key: &Key,
        indexed: &Indexed,
        broken: &mut dyn FnMut(Broken) -> Result<(), OpenError>,
    ) -> Outcome {
        let Some((id, place)) = keys::parse_state(key) else { return Ok(Ok(())) };
        let deliveries = match self.deliveries(id, place, indexed) {
            Ok(deliveries) => deliveries,
            Err(error) => return Ok(Err(error)),
        };
        let Some(head) = self.head.as_ref().filter(|head| head.id == id) else {
            return Ok(Err(records::damaged("state", &"its first record is gone")));
        };
        let due: Vec<_> =
            deliveries.iter().filter_map(|delivery| writes::due_entry(head, delivery)).collect();
        if !due.is_empty() && self.get(&keys::body(id))?.is_none() {
            broken(Broken::NoBody(id))?;
        }
        for entry in due {
            if self.get(&entry.key())?.is_some() {
                self.matched += 1;
            } else {
                broken(Broken::NoDue(entry))?;
            }
        }
        Ok(Ok(()))
    }

    fn deliveries(
        &mut self,
        id: NotificationId,
        place: u16,
        indexed: &Indexed,
    ) -> Result<Vec<Delivery>, ReadError> {
        let value = self.load(indexed)?;
        if place > 0 {
            return records::decode_chunk(id, usize::from(place) * CHUNK, &value);
        }
        let (head, _) = records::decode_head(id, &value)?;
        Ok(self.head.insert(head).deliveries.clone())
    }

    fn strays(&mut self, broken: &mut dyn FnMut(Broken) -> Result<(), OpenError>) -> Result<(), OpenError> {
        let mut entries = Walk::new(self.index);
        while let Some((key, indexed)) =
            entries.next().map_err(|error| failed(self.segments.directory(), &error))?
        {
            if key.get(2) != Some(&b'D') {
                continue;
            }
            let entry = self.load(&indexed).ok().and_then(|value| DueEntry::parse(&key, &value));
            let wanted = match entry {
                Some(entry) => self.is_wanted(&entry)?,
                None => false,
            };
            if !wanted {
                broken(Broken::StrayDue(key))?;
            }
        }
        Ok(())
    }

    fn is_wanted(&mut self, entry: &DueEntry) -> Result<bool, OpenError> {
        let id = entry.delivery.notification;
        let index = usize::from(entry.delivery.index);
        let Some(head) = self.get(&keys::state(id, 0))? else { return Ok(false) };
        let Ok(mut deliveries) = self.deliveries(id, 0, &head) else { return Ok(false) };
        let place = index / CHUNK;
        if place > 0 {
            let place = u16::try_from(place).unwrap_or(u16::MAX);
            let Some(chunk) = self.get(&keys::state(id, place))? else { return Ok(false) };
            let Ok(further) = self.deliveries(id, place, &chunk) else { return Ok(false) };
            deliveries = further;
        }
        let (Some(head), Some(delivery)) = (&self.head, deliveries.get(index % CHUNK)) else {
            return Ok(false);
        };
        Ok(writes::due_entry(head, delivery).is_some_and(|wanted| wanted.key() == entry.key()))
    }
}
