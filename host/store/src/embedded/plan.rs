//! Which segments are worth reclaiming: arithmetic over what each holds, without a disk.
//!
//! The journal may be so much longer than what is needed of it: half as much again while work comes in, a quarter
//! while it is quiet, and a little more in both. So a store that was drained ends below twice what it keeps, and one
//! that is busy does not copy its records again and again. While the disk is short of room, everything is taken
//! that gains something. What is reclaimed first is what costs least: the segment of which the smallest part is
//! needed.
//!
//! Deletions are needed as long as a segment remains that is older than they are. Where they weigh more than a
//! quarter of the values, the oldest segment is reclaimed whatever it holds, so that they can go.

/// More than this is never owed: small stores are not worth the trouble.
const SLACK_BYTES: u64 = 1 << 20;

/// A segment that is needed to a greater part is not copied.
const NEEDED_PERCENT_MAX: u64 = 80;
const NEEDED_PERCENT_MAX_SHORT: u64 = 95;

/// What else goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Work comes in.
    Busy,
    /// Nothing was written lately.
    Quiet,
    /// The disk is short of room, and no more than this may be copied.
    Short { copy_bytes_max: u64 },
}

impl Load {
    /// A copy that does not fit would take the last room and free none.
    fn has_room(self, bytes: u64) -> bool {
        match self {
            Self::Busy | Self::Quiet => true,
            Self::Short { copy_bytes_max } => bytes <= copy_bytes_max,
        }
    }
}

/// A segment, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    /// The last sequence given out before it was made.
    pub(crate) base: u64,
    /// Bytes of current values.
    pub(crate) live: u64,
    /// Bytes of deletions, and the newest of them.
    pub(crate) tombs: u64,
    pub(crate) newest_tomb: u64,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Nothing,
    /// Seal the newest segment.
    Seal,
    /// Reclaim these, ascending.
    Reclaim(Vec<u64>),
}

/// Decides about `segments`, the newest last; `segment_bytes` bounds what one pass copies.
pub(crate) fn plan(segments: &[Segment], segment_bytes: u64, load: Load) -> Plan {
    let Some((newest, sealed)) = segments.split_last() else { return Plan::Nothing };
    let slack = SLACK_BYTES.min(segment_bytes);
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let needed: u64 = segments.iter().map(|segment| segment.needed(segments)).sum();
    let owed = match load {
        Load::Busy => needed + needed / 2,
        Load::Quiet => needed + needed / 4,
        Load::Short { .. } => needed,
    };
    if total > owed + slack {
        let victims = cheapest(segments, sealed, total - owed, segment_bytes, load);
        if !victims.is_empty() {
            return Plan::Reclaim(victims);
        }
        if load != Load::Busy && newest.is_worth_it(segments, load) && newest.bytes > slack {
            return Plan::Seal;
        }
    }
    let live: u64 = segments.iter().map(|segment| segment.live).sum();
    match sealed.first() {
        Some(oldest)
            if needed.saturating_sub(live) > live / 4 + slack && load.has_room(oldest.needed(segments)) =>
        {
            Plan::Reclaim(vec![oldest.number])
        }
        _ => Plan::Nothing,
    }
}

/// The segments that cost least, until so much is gained or so much is copied.
fn cheapest(
    segments: &[Segment],
    sealed: &[Segment],
    gain: u64,
    copy_bytes_max: u64,
    load: Load,
) -> Vec<u64> {
    let is_candidate =
        |segment: &&Segment| segment.is_worth_it(segments, load) && load.has_room(segment.needed(segments));
    let mut candidates: Vec<&Segment> = sealed.iter().filter(is_candidate).collect();
    candidates.sort_by_key(|segment| segment.needed(segments) * 1_000 / segment.bytes.max(1));
    let (mut victims, mut gained, mut copied) = (Vec::new(), 0, 0);
    for segment in candidates {
        let cost = segment.needed(segments);
        let is_too_much = copied + cost > copy_bytes_max || !load.has_room(copied + cost);
        if gained >= gain || (!victims.is_empty() && is_too_much) {
            break;
        }
        victims.push(segment.number);
        gained += segment.bytes - cost;
        copied += cost;
    }
    victims.sort_unstable();
    victims
}

impl Segment {
    /// Bytes that would have to be copied. They are estimated: how many deletions can go depends on which
    /// segments go with this one.
    fn needed(&self, all: &[Segment]) -> u64 {
        let others = all.iter().filter(|other| other.number != self.number);
        let oldest_base = others.map(|other| other.base).min().unwrap_or(u64::MAX);
        let tombs = if self.newest_tomb > oldest_base { self.tombs } else { 0 };
        (self.live + tombs).min(self.bytes)
    }

    fn is_worth_it(&self, all: &[Segment], load: Load) -> bool {
        let percent_max = match load {
            Load::Busy | Load::Quiet => NEEDED_PERCENT_MAX,
            Load::Short { .. } => NEEDED_PERCENT_MAX_SHORT,
        };
        self.needed(all) * 100 <= self.bytes * percent_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Of 64 MiB, each begun after the thousand sequences of the one before it.
    fn segment(number: u64, live_mib: u64, tombs_mib: u64) -> Segment {
        Segment {
            number,
            bytes: 64 * MIB,
            base: (number - 1) * 1_000,
            live: live_mib * MIB,
            tombs: tombs_mib * MIB,
            newest_tomb: if tombs_mib > 0 { number * 1_000 } else { 0 },
        }
    }

    fn decide(segments: &[Segment], load: Load) -> Plan {
        plan(segments, 64 * MIB, load)
    }

    #[test]
    fn what_is_needed_is_left_alone() {
        assert_eq!(decide(&[], Load::Quiet), Plan::Nothing);
        assert_eq!(
            decide(&[segment(1, 60, 0), segment(2, 60, 0), segment(3, 10, 0)], Load::Busy),
            Plan::Nothing
        );
        assert_eq!(decide(&[segment(1, 55, 0), segment(2, 55, 0)], Load::Quiet), Plan::Nothing);
    }

    #[test]
    fn what_is_dead_goes_at_once_and_the_cheapest_first() {
        let dead = [segment(1, 0, 0), segment(2, 0, 0), segment(3, 60, 0)];
        assert_eq!(decide(&dead, Load::Busy), Plan::Reclaim(vec![1, 2]));
        let mixed = [segment(1, 50, 0), segment(2, 4, 0), segment(3, 30, 0), segment(4, 40, 0)];
        assert_eq!(decide(&mixed, Load::Busy), Plan::Reclaim(vec![2, 3]));
    }

    #[test]
    fn a_disk_that_is_short_of_room_gets_what_little_there_is() {
        let nearly = [segment(1, 58, 0), segment(2, 63, 0), segment(3, 60, 0)];
        assert_eq!(decide(&nearly, Load::Quiet), Plan::Nothing);
        assert_eq!(decide(&nearly, Load::Short { copy_bytes_max: 64 * MIB }), Plan::Reclaim(vec![1]));
    }

    #[test]
    fn where_no_copy_fits_what_is_wholly_dead_goes_all_the_same() {
        let segments = [segment(1, 10, 0), segment(2, 0, 0), segment(3, 30, 0), segment(4, 60, 0)];
        let short = |mib: u64| Load::Short { copy_bytes_max: mib * MIB };
        assert_eq!(decide(&segments, short(0)), Plan::Reclaim(vec![2]));
        assert_eq!(decide(&segments, short(12)), Plan::Reclaim(vec![1, 2]));
        assert_eq!(decide(&segments, short(64)), Plan::Reclaim(vec![1, 2, 3]));
    }

    #[test]
    fn one_pass_copies_about_one_segment() {
        let halves: Vec<_> = (1..=10).map(|number| segment(number, 30, 0)).collect();
        assert_eq!(decide(&halves, Load::Busy), Plan::Reclaim(vec![1, 2]));
    }

    #[test]
    fn the_newest_is_sealed_only_when_it_is_quiet() {
        let dead = [Segment { bytes: 40 * MIB, ..segment(1, 5, 0) }];
        assert_eq!(decide(&dead, Load::Busy), Plan::Nothing);
        assert_eq!(decide(&dead, Load::Quiet), Plan::Seal);
        let small = [Segment { bytes: MIB, ..segment(1, 0, 0) }];
        assert_eq!(decide(&small, Load::Quiet), Plan::Nothing);
    }

    #[test]
    fn deletions_count_as_needed_only_while_an_older_segment_remains() {
        assert_eq!(
            decide(&[segment(1, 60, 0), segment(2, 0, 60), segment(3, 60, 0)], Load::Quiet),
            Plan::Reclaim(vec![1])
        );
        assert_eq!(decide(&[segment(1, 0, 60), segment(2, 60, 0)], Load::Quiet), Plan::Reclaim(vec![1]));
    }

    #[test]
    fn heavy_deletions_move_the_oldest_segment_so_that_they_can_go() {
        let held = [segment(1, 60, 0), segment(2, 30, 30), segment(3, 30, 30)];
        assert_eq!(decide(&held, Load::Busy), Plan::Reclaim(vec![1]));
    }
}
