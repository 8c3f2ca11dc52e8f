//! The trace: the ordered list of everything decided about one notification, and why.

use crate::time::Timestamp;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// When it was taken, by the wall clock.
    pub at: Timestamp,
    /// What was decided.
    pub kind: TraceKind,
    /// Why, as a sentence for people.
    pub detail: String,
}

impl TraceEvent {
    /// A decision of `kind` taken at `at`.
    pub fn new(at: Timestamp, kind: TraceKind, detail: impl Into<String>) -> Self {
        Self { at, kind, detail: detail.into() }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal $word:literal),+ $(,)?) => {
        /// What can be decided. The numbers are what the store writes and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum TraceKind { $($(#[$doc])* $name = $number),+ }

        impl TraceKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its word in the API.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }

            /// Its number in the store.
            #[must_use]
            pub fn number(self) -> u8 {
                match self { $(Self::$name => $number),+ }
            }

            /// The kind of this number.
            #[must_use]
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

kinds! {
    /// The notification is on disk.
    Accepted = 0 "accepted",
    /// A router made deliveries of it.
    Routed = 1 "routed",
    /// Routing was put off: not due yet, or the router failed.
    RoutingDeferred = 2 "routing-deferred",
    /// Nothing will be sent: a duplicate, or no target.
    Suppressed = 3 "suppressed",
    /// A delivery was made, and by what reason.
    Planned = 4 "planned",
    /// An attempt ended.
    Attempted = 5 "attempted",
    /// The next attempt was set.
    RetryScheduled = 6 "retry-scheduled",
    /// The receiver took it.
    Delivered = 7 "delivered",
    /// It ended without success.
    Dead = 8 "dead",
    /// A client cancelled it.
    Cancelled = 9 "cancelled",
    /// Its time was over.
    Expired = 10 "expired",
    /// An operator sent a dead letter again.
    Replayed = 11 "replayed",
    /// An operator discarded a dead letter.
    Discarded = 12 "discarded",
    /// What it stands in for is dead: it is sent now.
    FallbackBegun = 13 "fallback-begun",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_kinds_are_one_to_one() {
        for kind in TraceKind::ALL {
            assert_eq!(TraceKind::from_number(kind.number()), Some(*kind));
        }
        assert_eq!(TraceKind::from_number(200), None);
    }
}
