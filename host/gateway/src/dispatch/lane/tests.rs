use super::destination::TROUBLE_AFTER;
use super::*;
use fanfare_model::id::{IdGenerator, Shard};
use fanfare_store::DueEntry;

const SLOTS: usize = 64;

fn now(ms: u64) -> Now {
    Now { wall: Timestamp::from_ms(ms), elapsed: Duration::from_millis(ms) }
}

fn entry(index: u16, priority: Priority, due_ms: u64, destination: u64) -> DueEntry {
    let notification = IdGenerator::default().next(Shard::EMBEDDED, Timestamp::from_ms(1));
    DueEntry {
        lane: "hook".parse().unwrap(),
        priority,
        due_at: Timestamp::from_ms(due_ms),
        delivery: DeliveryId { notification, index },
        delay: None,
        destination,
    }
}

fn normal(index: u16, destination: u64) -> DueEntry {
    entry(index, Priority::Normal, u64::from(index), destination)
}

/// A lane that has read its empty shelves.
fn fresh() -> Lane {
    let mut lane = Lane::default();
    while let Some(page) = lane.wants_page(now(0)) {
        lane.stock(&page, Vec::new(), now(0));
    }
    lane
}

fn offer(lane: &mut Lane, entry: &DueEntry, at: Now) {
    lane.offer(Job::cold_from(entry.clone()), at);
}

fn pick_all(lane: &mut Lane, at: Now) -> Vec<Job> {
    std::iter::from_fn(|| lane.pick(SLOTS, at)).collect()
}

#[test]
fn critical_goes_first_and_low_is_not_starved() {
    let mut lane = fresh();
    for index in 0..40 {
        offer(&mut lane, &entry(index, Priority::Critical, 0, 0), now(1));
    }
    for index in 40..45 {
        offer(&mut lane, &entry(index, Priority::Low, 0, 0), now(1));
    }
    let order: Vec<Priority> = pick_all(&mut lane, now(1)).iter().map(|job| job.entry.priority).collect();
    assert_eq!(order.len(), 45);
    assert_eq!(order[0], Priority::Critical);
    let first_low = order.iter().position(|priority| *priority == Priority::Low).unwrap();
    assert!(first_low <= 20, "low waited for {first_low} others");
}

#[test]
fn a_delivery_is_in_memory_at_most_once() {
    let mut lane = fresh();
    let one = normal(1, 0);
    offer(&mut lane, &one, now(5));
    offer(&mut lane, &one, now(5));
    let job = lane.pick(SLOTS, now(5)).unwrap();
    offer(&mut lane, &one, now(5));
    assert!(lane.pick(SLOTS, now(5)).is_none(), "it is under way");
    lane.finish(job.destination, Health::Answered, now(5));
    offer(&mut lane, &one, now(5));
    assert!(lane.pick(SLOTS, now(5)).is_none(), "its settle is not durable");
    lane.forget(one.delivery);
    offer(&mut lane, &one, now(5));
    assert!(lane.pick(SLOTS, now(5)).is_some());
}

#[test]
fn while_others_wait_a_destination_holds_a_quarter_of_the_slots() {
    let mut lane = fresh();
    for index in 0..100 {
        offer(&mut lane, &normal(index, 7), now(200));
    }
    let alone: Vec<Job> = pick_all(&mut lane, now(200));
    assert_eq!(alone.len(), SLOTS, "alone it may have them all");
    for job in alone {
        lane.finish(job.destination, Health::Answered, now(200));
        lane.forget(job.entry.delivery);
    }
    for index in 100..200 {
        offer(&mut lane, &normal(index, 8), now(300));
    }
    let picked = pick_all(&mut lane, now(300));
    assert_eq!(picked.len(), SLOTS);
    let of_seven = picked.iter().filter(|job| job.entry.destination == 7).count();
    assert!((SLOTS / 4..=SLOTS / 2).contains(&of_seven), "{of_seven}");
}

#[test]
fn a_destination_that_asked_for_rest_is_left_alone_and_its_neighbours_are_not() {
    let mut lane = fresh();
    offer(&mut lane, &normal(0, 7), now(10));
    let job = lane.pick(SLOTS, now(10)).unwrap();
    let asked = Duration::from_secs(30);
    lane.finish(job.destination, Health::Troubled(Some(asked)), now(10));
    offer(&mut lane, &normal(1, 7), now(10));
    offer(&mut lane, &normal(2, 8), now(10));
    let picked: Vec<u64> = pick_all(&mut lane, now(10)).iter().map(|job| job.entry.destination).collect();
    assert_eq!(picked, [8]);
    assert_eq!(lane.next_change_in(now(10)), Some(asked));
    assert_eq!(pick_all(&mut lane, now(30_010)).len(), 1);
}

#[test]
fn a_retry_rests_by_the_monotonic_clock() {
    let mut lane = fresh();
    offer(&mut lane, &normal(0, 0), now(10));
    let job = lane.pick(SLOTS, now(10)).unwrap();
    lane.finish(job.destination, Health::Troubled(None), now(10));
    let retry = job.for_retry(Timestamp::from_ms(1_010), Duration::from_secs(1));
    lane.rest(retry, Duration::from_secs(1), now(10));
    lane.advance(now(1_009));
    assert!(lane.pick(SLOTS, now(1_009)).is_none());
    // The wall clock went back an hour; the retry does not care.
    let later = Now { wall: Timestamp::from_ms(0), elapsed: Duration::from_millis(1_010) };
    lane.advance(later);
    assert!(lane.pick(SLOTS, later).is_some());
}

#[test]
fn what_is_not_due_yet_stays_on_disk_and_opens_its_shelf_in_time() {
    let mut lane = fresh();
    let later = entry(0, Priority::Normal, 5_000, 0);
    offer(&mut lane, &later, now(10));
    assert_eq!(lane.waiting(), 0);
    assert!(lane.wants_page(now(10)).is_none());
    assert_eq!(lane.next_change_in(now(10)), Some(Duration::from_millis(4_990)));
    lane.advance(now(5_000));
    let page = lane.wants_page(now(5_000)).unwrap();
    lane.stock(&page, vec![later], now(5_000));
    assert!(lane.pick(SLOTS, now(5_000)).is_some());
}

/// A store of due entries, read as the real one is.
struct Disk(Vec<DueEntry>);

impl Disk {
    fn page(&self, wanted: &PageWanted) -> Vec<DueEntry> {
        let after = |entry: &&DueEntry| {
            entry.priority == wanted.priority
                && wanted.after.as_ref().is_none_or(|after| entry.order() > after.order())
        };
        let mut page: Vec<DueEntry> = self.0.iter().filter(after).cloned().collect();
        page.sort_by_key(DueEntry::order);
        page.truncate(PAGE);
        page
    }
}

fn read_all(lane: &mut Lane, disk: &Disk, at: Now) {
    for _ in 0..50 {
        let Some(wanted) = lane.wants_page(at) else { return };
        lane.stock(&wanted, disk.page(&wanted), at);
    }
    panic!("the lane never has enough");
}

#[test]
fn a_backlog_far_beyond_the_window_is_worked_off_once_each() {
    let count = u16::try_from(WINDOW * 3).unwrap();
    let mut disk = Disk((0..count).map(|index| normal(index, u64::from(index % 5))).collect());
    let mut lane = Lane::default();
    let at = now(1_000_000);
    let mut sent = HashSet::new();
    while !disk.0.is_empty() {
        read_all(&mut lane, &disk, at);
        assert!(lane.waiting() <= WINDOW);
        let picked = pick_all(&mut lane, at);
        assert!(!picked.is_empty(), "{} are stranded on disk", disk.0.len());
        for job in picked {
            assert!(sent.insert(job.entry.delivery), "sent twice");
            lane.finish(job.destination, Health::Answered, at);
            disk.0.retain(|entry| entry.delivery != job.entry.delivery);
            lane.forget(job.entry.delivery);
        }
    }
    assert_eq!(sent.len(), usize::from(count));
}

#[test]
fn a_dead_destinations_backlog_does_not_hide_its_neighbours() {
    let dead = 7;
    let mut entries: Vec<DueEntry> =
        (0..u16::try_from(WINDOW * 2).unwrap()).map(|i| normal(i, dead)).collect();
    entries.push(normal(60_000, 8));
    let disk = Disk(entries);
    let mut lane = fresh();
    let at = now(1_000_000);
    for _ in 0..TROUBLE_AFTER {
        offer(&mut lane, &normal(65_000, dead), at);
        let job = lane.pick(SLOTS, at).unwrap();
        lane.finish(job.destination, Health::Troubled(None), at);
        lane.forget(job.entry.delivery);
    }
    lane.reread();
    read_all(&mut lane, &disk, at);
    let picked = pick_all(&mut lane, at);
    assert!(picked.iter().any(|job| job.entry.destination == 8), "the neighbour is served");
    let of_dead = picked.iter().filter(|job| job.entry.destination == dead).count();
    assert!(of_dead >= 1, "the dead one is still tried");
}

#[test]
fn what_is_offered_while_a_page_is_read_is_not_lost() {
    let mut lane = Lane::default();
    let wanted = first_page(&mut lane);
    let late = normal(3, 0);
    offer(&mut lane, &late, now(10));
    lane.stock(&wanted, Vec::new(), now(10));
    let again = lane.wants_page(now(10)).unwrap();
    lane.stock(&again, vec![late], now(10));
    assert!(lane.pick(SLOTS, now(10)).is_some());
}

/// The page of normal priority that a new lane reads first.
fn first_page(lane: &mut Lane) -> PageWanted {
    std::iter::from_fn(|| lane.wants_page(now(10))).find(|page| page.priority == Priority::Normal).unwrap()
}

#[test]
fn what_belongs_before_the_end_of_a_page_that_does_not_hold_it_is_read() {
    for due_ms in [3, 12] {
        let mut lane = Lane::default();
        let wanted = first_page(&mut lane);
        // Accepted before the other one, or due before it, and on disk only after the page was read.
        let late = entry(0, Priority::Normal, due_ms, 0);
        offer(&mut lane, &late, now(10));
        let other = entry(1, Priority::Normal, due_ms + 2, 0);
        lane.stock(&wanted, vec![other.clone()], now(20));
        lane.advance(now(20));
        read_all(&mut lane, &Disk(vec![late.clone(), other]), now(20));
        let picked = pick_all(&mut lane, now(20));
        assert!(picked.iter().any(|job| job.entry.delivery == late.delivery), "due at {due_ms}");
        assert_eq!(picked.len(), 2);
    }
}

#[test]
fn a_page_that_is_older_than_a_new_look_at_everything_does_not_stand_for_it() {
    let mut lane = Lane::default();
    let wanted = first_page(&mut lane);
    let one = normal(3, 0);
    lane.reread();
    lane.stock(&wanted, Vec::new(), now(10));
    read_all(&mut lane, &Disk(vec![one]), now(10));
    assert_eq!(pick_all(&mut lane, now(10)).len(), 1);
}

#[test]
fn what_could_not_be_read_is_looked_for_again_later() {
    let mut lane = fresh();
    let one = normal(1, 0);
    offer(&mut lane, &one, now(5));
    let job = lane.pick(SLOTS, now(5)).unwrap();
    lane.finish(job.destination, Health::Unknown, now(5));
    lane.put_off(&job.entry, Timestamp::from_ms(1_005));
    lane.advance(now(1_004));
    assert!(lane.wants_page(now(1_004)).is_none(), "the disk is not asked again at once");
    lane.advance(now(1_005));
    read_all(&mut lane, &Disk(vec![one]), now(1_005));
    assert_eq!(pick_all(&mut lane, now(1_005)).len(), 1);
}
