//! How changes reach the disk: one commit of a notification at a time, tried again until it fits.
//!
//! A flight is a commit under way. Changes made meanwhile wait for the next flight and go in it together, so that
//! a fan-out whose deliveries end at once is written a few times and not once for each. A flight that the engine
//! refuses for want of space departs again, after a pause that grows to [`PAUSE_MAX`], with everything that changed
//! since: what it writes is made anew as the difference to what the disk holds. The engine's other refusals are
//! final, and stop the ledger.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::accept::AcceptedItem;
use crate::cell::{Book, Cell};
use crate::engine::{Class, CommitError, Pending, Version};
use crate::ledger::{Ledger, Stuck};
use crate::writes::{Marks, Writes};

/// The pause before the second try; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// How long a flight that found no room waits at the most: space that returned is found within that.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What the engine makes of a flight.
struct Committed {
    began: Duration,
    committed: Pending<Vec<Result<Version, CommitError>>>,
}

/// A commit under way, and what waits for the one after it.
pub(crate) struct Flight {
    number: u64,
    /// The commit, until somebody sees the flight through.
    unattended: Option<Committed>,
    aboard: Load,
    next: Option<Load>,
}

/// Changes that are written together.
#[derive(Debug)]
struct Load {
    /// What the disk holds, or will when the flight before is over.
    before: Marks,
    alongside: Vec<AcceptedItem>,
    waiting: Vec<oneshot::Sender<Result<(), CommitError>>>,
}

impl Load {
    fn new(before: Marks) -> Self {
        Self { before, alongside: Vec::new(), waiting: Vec::new() }
    }

    fn board(&mut self) -> oneshot::Receiver<Result<(), CommitError>> {
        let (tell, told) = oneshot::channel();
        self.waiting.push(tell);
        told
    }

    fn take_aboard(&mut self, other: Self) {
        self.alongside.extend(other.alongside);
        self.waiting.extend(other.waiting);
    }
}

/// Ready once a change is on disk. The cell stays in memory until then, even when this is dropped: else a reader
/// could load what is about to be replaced.
pub struct Durable(Wait);

/// Whoever makes the only change of a flight sees it through without a task; as soon as others depend on it, it
/// has one, for who holds a ticket may never look at it.
enum Wait {
    Unattended(Cell, u64),
    Pilot(Pending<Result<(), CommitError>>),
    Passenger(oneshot::Receiver<Result<(), CommitError>>),
    Over,
}

impl std::fmt::Debug for Durable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Durable").field("ready", &matches!(self.0, Wait::Over)).finish()
    }
}

impl Future for Durable {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let result = match &mut self.0 {
                Wait::Unattended(cell, number) => {
                    let wait = cell.book().attend(cell, *number);
                    self.0 = wait;
                    continue;
                }
                Wait::Pilot(flight) => std::task::ready!(flight.as_mut().poll(context)),
                Wait::Passenger(told) => std::task::ready!(Pin::new(told).poll(context))
                    .unwrap_or_else(|_| Err(CommitError::Fatal("the commit was abandoned".to_owned()))),
                Wait::Over => return Poll::Ready(Ok(())),
            };
            self.0 = Wait::Over;
            return Poll::Ready(result);
        }
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        let wait = match std::mem::replace(&mut self.0, Wait::Over) {
            Wait::Unattended(cell, number) => cell.book().attend(&cell, number),
            wait => wait,
        };
        if let Wait::Pilot(flight) = wait {
            go_on(flight);
        }
    }
}

/// Sees a flight through on a task. Without a runtime the process is ending: the commit is queued, and that is all
/// that it needs.
fn go_on(flight: Pending<Result<(), CommitError>>) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(flight);
    }
}

impl std::fmt::Debug for Flight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flight").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Book {
    /// What the state is before a change; not asked for again while a flight waits that other changes board.
    pub(crate) fn before(&self) -> Option<Marks> {
        let boarding = self.flight.as_ref().is_some_and(|flight| flight.next.is_some());
        (!boarding).then(|| Marks::of(&self.state))
    }

    /// Takes up a change that was just made: a flight of its own, or a seat in the next one. `before` is what
    /// [`Self::before`] gave.
    pub(crate) fn depart(
        &mut self,
        cell: &Cell,
        before: Option<Marks>,
        alongside: &[AcceptedItem],
    ) -> Durable {
        if let Some(flight) = &mut self.flight {
            if let Some(commit) = flight.unattended.take() {
                go_on(Box::pin(see_through(cell.clone(), commit)));
            }
            let next = flight
                .next
                .get_or_insert_with(|| Load::new(before.unwrap_or_else(|| Marks::of(&self.state))));
            next.alongside.extend_from_slice(alongside);
            return Durable(Wait::Passenger(next.board()));
        }
        let before = before.unwrap_or_else(|| Marks::of(&self.state));
        let aboard = Load { alongside: alongside.to_vec(), ..Load::new(before) };
        self.flights += 1;
        let unattended = Some(self.commit(&aboard, cell.ledger()));
        self.flight = Some(Flight { number: self.flights, unattended, aboard, next: None });
        Durable(Wait::Unattended(cell.clone(), self.flights))
    }

    /// How whoever began the flight `number` waits for it.
    fn attend(&mut self, cell: &Cell, number: u64) -> Wait {
        match &mut self.flight {
            Some(flight) if flight.number == number => match flight.unattended.take() {
                Some(commit) => Wait::Pilot(Box::pin(see_through(cell.clone(), commit))),
                None => Wait::Passenger(flight.aboard.board()),
            },
            // It is over: on disk, unless nothing reaches the disk any more.
            _ => Wait::Pilot(Box::pin(std::future::ready(cell.ledger().check()))),
        }
    }

    /// Queues what a flight carries.
    fn commit(&self, load: &Load, ledger: &Ledger) -> Committed {
        let mut writes = Writes::new(&ledger.engine.ceilings());
        writes.difference(&load.before, &self.state);
        for item in &load.alongside {
            item.cell.read(|state| writes.accept(&item.notification, state));
        }
        let began = ledger.now();
        Committed { began, committed: ledger.engine.commit(Class::Settle, writes.into_transactions()) }
    }

    /// The same flight again, with those who wait for the next one aboard.
    fn depart_again(&mut self, ledger: &Ledger) -> Option<Committed> {
        let mut flight = self.flight.take()?;
        if let Some(next) = flight.next.take() {
            flight.aboard.take_aboard(next);
        }
        let commit = self.commit(&flight.aboard, ledger);
        self.flight = Some(flight);
        Some(commit)
    }

    /// The flight is over; the next one departs. Answers who was aboard.
    fn arrive(&mut self, ledger: &Ledger) -> (Option<Load>, Option<Committed>) {
        let Some(Flight { aboard: over, next, .. }) = self.flight.take() else { return (None, None) };
        let Some(aboard) = next else { return (Some(over), None) };
        self.flights += 1;
        let commit = self.commit(&aboard, ledger);
        self.flight = Some(Flight { number: self.flights, unattended: None, aboard, next: None });
        (Some(over), Some(commit))
    }
}

/// Waits for the flight's commit, again and again while there is no room. The flight that follows has a task.
async fn see_through(cell: Cell, mut commit: Committed) -> Result<(), CommitError> {
    let ledger = cell.ledger();
    let mut pause = PAUSE_MIN;
    let mut stuck = None;
    loop {
        let results = commit.committed.await;
        let gone = results.is_empty().then(|| CommitError::Fatal("it gave no answer".to_owned()));
        let failure = results.into_iter().find_map(Result::err).or(gone);
        ledger.tell(Class::Settle, commit.began, failure.as_ref());
        match failure.map_or(Ok(()), Err) {
            Err(error @ CommitError::Full(_)) => {
                stuck.get_or_insert_with(|| Stuck::new(ledger, &error));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                let Some(again) = cell.book().depart_again(ledger) else { return Ok(()) };
                commit = again;
            }
            Ok(()) => {
                let (over, next) = cell.book().arrive(ledger);
                tell(over, &Ok(()));
                if let Some(next) = next {
                    later(cell.clone(), next);
                }
                return Ok(());
            }
            Err(error) => {
                ledger.fail(&error);
                let flight = cell.book().flight.take();
                let (aboard, next) = flight.map(|flight| (flight.aboard, flight.next)).unzip();
                tell(aboard, &Err(error.clone()));
                tell(next.flatten(), &Err(error.clone()));
                return Err(error);
            }
        }
    }
}

/// A flight all of whose passengers are told by it. Not within [`see_through`], whose type would contain itself.
fn later(cell: Cell, commit: Committed) {
    go_on(Box::pin(see_through(cell, commit)));
}

fn tell(load: Option<Load>, result: &Result<(), CommitError>) {
    for passenger in load.into_iter().flat_map(|load| load.waiting) {
        // Who went away does not want to know.
        let _ = passenger.send(result.clone());
    }
}
