//! What waits becomes one frame and one sync, and a rule looks at what the same group writes.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use tokio::task::JoinSet;

use super::super::{EmbeddedEngine, EmbeddedOptions};
use super::disk::Operation;
use super::hooked::{Hooked, Hooks};
use super::options;
use crate::contract::{change, commit, key, put};
use crate::engine::{CommitError, Precondition, Transaction};

/// Counts syncs of files, and holds them while it is shut.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    syncs: usize,
    shut: bool,
}

impl Gate {
    fn syncs(&self) -> usize {
        self.state.lock().unwrap().syncs
    }

    fn set_shut(&self, shut: bool) {
        self.state.lock().unwrap().shut = shut;
        self.changed.notify_all();
    }

    fn wait_for_syncs(&self, count: usize) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.syncs < count).unwrap());
    }
}

impl Hooks for Gate {
    fn before(&self, operation: Operation, _: &Path) -> io::Result<()> {
        if operation == Operation::Sync {
            let mut state = self.state.lock().unwrap();
            state.syncs += 1;
            self.changed.notify_all();
            drop(self.changed.wait_while(state, |state| state.shut).unwrap());
        }
        Ok(())
    }
}

#[tokio::test]
async fn those_who_wait_for_a_sync_share_the_next_one_and_one_of_them_gets_what_all_want() {
    let directory = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let files = Arc::new(Hooked(gate.clone()));
    let settings = EmbeddedOptions { files, segment_bytes: 1 << 20, ..options(directory.path()) };
    let engine = Arc::new(EmbeddedEngine::open(settings).unwrap());
    commit(&*engine, change(vec![put("before", "1")])).await.unwrap();

    gate.set_shut(true);
    let before = gate.syncs();
    let mut calls = JoinSet::new();
    let call = |transaction: Transaction| {
        let engine = engine.clone();
        async move { commit(&*engine, transaction).await }
    };
    calls.spawn(call(change(vec![put("first", "1")])));
    tokio::task::yield_now().await;
    gate.wait_for_syncs(before + 1);
    for n in 0..50 {
        let mut wanted = change(vec![put("one for all", &n.to_string())]);
        wanted.preconditions.push(Precondition::Absent(key("one for all")));
        calls.spawn(call(wanted));
        calls.spawn(call(change(vec![put(&format!("own {n}"), "1")])));
    }
    // Each is queued once it was polled, and each turn polls all or many of them.
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    gate.set_shut(false);
    let (mut done, mut refused) = (0, 0);
    while let Some(answer) = calls.join_next().await {
        match answer.unwrap() {
            Ok(_) => done += 1,
            Err(CommitError::Conflict) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((done, refused), (52, 49));
    assert_eq!(gate.syncs() - before, 2, "one for the first, and one for all that came meanwhile");
}
