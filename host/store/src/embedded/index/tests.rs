//! The index alone: what it holds, and what each segment is said to hold.

use super::super::journal::Location;
use super::super::overlay::Tombs;
use super::*;
use crate::engine::{Value, Version};

std::thread_local! {
    /// The next index that this thread opens finds no room.
    pub(crate) static NO_ROOM_TO_OPEN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn frozen(entries: Entries, tombs: Tombs) -> Frozen {
    Frozen { entries: std::sync::Arc::new(entries), tombs, covered: Position::default() }
}

#[test]
fn entries_read_back_as_they_were_written() {
    let at = Location { segment: 3, offset: 300, length: 2, crc: 9 };
    let small = Value::from(*b"ab");
    let inline = Indexed::decode(&Indexed::encode(Version(7), at, Some(&small)));
    let value = Stored::Inline { segment: 3, value: small };
    assert_eq!(inline, Some(Indexed { version: Version(7), value }));
    let placed = Indexed::decode(&Indexed::encode(Version(7), at, None));
    assert_eq!(placed, Some(Indexed { version: Version(7), value: Stored::At(at) }));
}

#[test]
fn the_live_bytes_of_each_segment_follow_what_is_replaced_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let (index, _) = Index::open(directory.path()).unwrap();
    let put =
        |segment, length| State::Put { at: Location { segment, offset: 40, length, crc: 0 }, value: None };
    let entry = |n, state| crate::embedded::overlay::Entry { version: Version(n), state };
    let live = |index: &Index, segment| index.shares().of.get(&segment).unwrap().live;
    let first = [(vec![0, 0, 1], entry(1, put(1, 500))), (vec![0, 0, 2], entry(1, put(1, 70)))];
    index.write(&frozen(Entries::from(first), Tombs::default())).unwrap();
    assert_eq!(live(&index, 1), 570 + 2 * 11);
    let second = [(vec![0, 0, 1], entry(2, put(2, 900))), (vec![0, 0, 2], entry(2, State::Gone))];
    let mut tombs = Tombs::default();
    tombs.add(2, 3, 2);
    index.write(&frozen(Entries::from(second), tombs)).unwrap();
    let of = index.shares().of.clone();
    assert_eq!(of[&1], Share::default());
    assert_eq!(of[&2], Share { live: 911, tombs: 11, newest_tomb: 2 });
    index.close().unwrap();
    let (again, _) = Index::open(directory.path()).unwrap();
    assert_eq!(again.shares().of, of);
}

#[test]
fn a_page_of_a_short_range_reads_nothing_of_what_lies_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let (index, _) = Index::open(directory.path()).unwrap();
    let at = Location { segment: 1, offset: 40, length: 5, crc: 0 };
    let entry = |n: u32| {
        let entry =
            crate::embedded::overlay::Entry { version: Version(1), state: State::Put { at, value: None } };
        ([vec![0, 0], n.to_be_bytes().to_vec()].concat(), entry)
    };
    index.write(&frozen((0..6_400).map(entry).collect(), Tombs::default())).unwrap();
    let leaves_read = |index: &Index| {
        let stats = index.with(|db| Ok(db.stats().cache)).unwrap();
        stats.cache_hits + stats.cache_misses
    };
    let before = leaves_read(&index);
    for direction in [Direction::Forward, Direction::Backward] {
        let page = index.page(&(entry(10).0..entry(15).0), 1_000, direction).unwrap();
        assert_eq!(page.len(), 5);
    }
    let read = leaves_read(&index) - before;
    assert!(read < 10, "{read} leaves were read, of fifty and more");
}

#[test]
fn an_index_that_has_grown_is_opened_again_with_all_that_it_held() {
    let directory = tempfile::tempdir().unwrap();
    let (index, _) = Index::open(directory.path()).unwrap();
    let at = Location { segment: 1, offset: 40, length: 5, crc: 0 };
    let entry =
        crate::embedded::overlay::Entry { version: Version(1), state: State::Put { at, value: None } };
    index.write(&frozen(Entries::from([(vec![0, 0, 1], entry)]), Tombs::default())).unwrap();
    index.writes.store(WRITES_BEFORE_RECYCLING, Ordering::Relaxed);
    index.recycle_if_grown().unwrap();
    assert_eq!(index.writes.load(Ordering::Relaxed), 0);
    let expected = Indexed { version: Version(1), value: Stored::At(at) };
    assert_eq!(index.get(&[0, 0, 1]).unwrap(), Some(expected));
}
