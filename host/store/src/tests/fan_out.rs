//! Large fan-outs: parts with a cursor that survives a restart between them, and changes of all of it at once.

use std::collections::HashSet;

use fanfare_model::clock::Clock;
use fanfare_model::fault::{Fault, MESSAGE_BYTES_MAX, code};
use fanfare_model::outcome::Outcome;
use fanfare_model::state::{FAN_OUT_MAX, Misfit, Planned, Routing};

use super::{Bench, settle};
use crate::{AcceptedItem, Cell, Changed};

async fn deferred(bench: &Bench) -> AcceptedItem {
    let mut new = bench.unplanned(None);
    let now = bench.clock.now();
    new.state.defer_routing(now, now, "the fan-out is large");
    bench.accept(new).await
}

fn plan(bench: &Bench, count: usize) -> Vec<Planned> {
    (0..count).map(|n| bench.planned("mail", None, &n.to_string())).collect()
}

async fn route(bench: &Bench, cell: &Cell, plan: &[Planned]) -> Routing {
    let now = bench.clock.now();
    let ticket = cell.change(|state| state.route(0, plan, "by rule", now, now).map(Changed::only)).unwrap();
    ticket.durable.await.unwrap();
    ticket.value
}

#[tokio::test]
async fn a_restart_between_two_parts_goes_on_at_the_cursor_and_makes_each_delivery_once() {
    let mut bench = Bench::new().await;
    let id = deferred(&bench).await.cell.id();
    let plan = plan(&bench, 2_500);
    let mut parts = Vec::new();
    loop {
        let cell = bench.store.cell(id).await.unwrap().unwrap();
        let (made, cursor) = cell.read(|state| (state.deliveries.len() - 1, state.fan_out));
        assert_eq!(cursor.map(|cursor| cursor.done as usize), (made > 0).then_some(made));
        let router = cell.due_entries().into_iter().filter(|entry| entry.lane.is_router()).count();
        assert_eq!(router, 1, "the routing itself is still due");
        let commits = bench.engine.commits.lock().unwrap().len();
        parts.push(route(&bench, &cell, &plan).await);
        assert_eq!(bench.engine.commits.lock().unwrap().len(), commits + 1, "a part is one commit");
        drop(cell);
        bench.reopen().await;
        assert_eq!(bench.indexed().await, bench.expected().await);
        if parts.last() == Some(&Routing::Done) {
            break;
        }
    }
    assert_eq!(parts, [Routing::Partly, Routing::Partly, Routing::Done]);
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    let due = cell.due_entries();
    assert!(due.len() == 2_500 && due.iter().all(|entry| entry.lane.as_str() == "mail"));
    let addresses: HashSet<_> =
        cell.read(|s| s.deliveries.iter().filter_map(|d| d.address.clone()).collect());
    assert_eq!(addresses.len(), 2_500);
}

#[tokio::test]
async fn a_change_of_every_delivery_of_the_largest_fan_out_fits_into_the_engine() {
    let mut bench = Bench::new().await;
    let item = deferred(&bench).await;
    let (id, plan) = (item.cell.id(), plan(&bench, FAN_OUT_MAX));
    while route(&bench, &item.cell, &plan).await == Routing::Partly {}
    let fault = Fault::new(code::HOST_INTERNAL, "x".repeat(MESSAGE_BYTES_MAX));
    let now = bench.clock.now();
    let ticket = item.cell.change(|state| {
        for index in 1..=u16::try_from(FAN_OUT_MAX).unwrap() {
            settle(state, index, &Outcome::Permanent(fault.clone()), now)?;
        }
        Ok::<_, Misfit>(Changed::only(()))
    });
    assert_eq!(ticket.unwrap().durable.await, Ok(()));
    drop(item);
    bench.reopen().await;
    let cell = bench.store.cell(id).await.unwrap().unwrap();
    assert!(cell.due_entries().is_empty());
    let ended = cell.read(|state| state.deliveries.iter().filter(|d| d.attempts_total == 1).count());
    assert_eq!(ended, FAN_OUT_MAX);
}
