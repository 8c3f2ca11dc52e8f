//! The records of a notification's state: a head with the first 16 deliveries, and chunks of 16 more.

use std::time::Duration;

use fanfare_model::delivery::{Attempt, AttemptOutcome, Chain, Delivery, Fallback, Phase};
use fanfare_model::fault::{Fault, FaultCode};
use fanfare_model::id::{DeliveryId, NotificationId};
use fanfare_model::name::{ChannelName, UserId};
use fanfare_model::outcome::Receipt;
use fanfare_model::priority::Priority;
use fanfare_model::state::{FanOut, NotificationState, Suppression};
use fanfare_model::time::Timestamp;
use fanfare_model::trace::{TraceEvent, TraceKind};
use serde::{Deserialize, Serialize};

use super::{damaged, decode_extended, encode_extended};
use crate::engine::{ReadError, Value};

/// Deliveries in one record.
pub(crate) const CHUNK: usize = 16;

const WHAT: &str = "state";

#[derive(Serialize, Deserialize)]
struct HeadV1<'a> {
    #[serde(borrow)]
    event_type: &'a str,
    priority: u8,
    expires_at: Option<u64>,
    cancelled_at: Option<u64>,
    suppressed: Option<SuppressionV1<'a>>,
    is_alert: bool,
    users: Vec<&'a str>,
    events: Vec<EventV1<'a>>,
    deliveries_total: u16,
    deliveries: Vec<DeliveryV1<'a>>,
}

#[derive(Serialize, Deserialize)]
struct SuppressionV1<'a> {
    at: u64,
    #[serde(borrow)]
    fault: FaultV1<'a>,
    duplicate_of: Option<[u8; 16]>,
}

#[derive(Serialize, Deserialize)]
struct FaultV1<'a>(&'a str, &'a str, Option<u16>);

#[derive(Serialize, Deserialize)]
struct EventV1<'a>(u64, u8, &'a str);

#[derive(Serialize, Deserialize)]
struct DeliveryV1<'a> {
    #[serde(borrow)]
    channel: &'a str,
    user: Option<&'a str>,
    address: Option<&'a str>,
    phase: PhaseV1<'a>,
    chain: (u32, u32, Option<u64>),
    attempts_total: u32,
    first_attempt_at: Option<u64>,
    attempts: Vec<AttemptV1<'a>>,
    events: Vec<EventV1<'a>>,
}

#[derive(Serialize, Deserialize)]
enum PhaseV1<'a> {
    Waiting {
        due_at: u64,
        delay: Option<u64>,
    },
    Delivered {
        at: u64,
    },
    Dead {
        at: u64,
        #[serde(borrow)]
        fault: FaultV1<'a>,
    },
    Cancelled {
        at: u64,
    },
    Expired {
        at: u64,
    },
    Suppressed {
        at: u64,
        fault: FaultV1<'a>,
    },
    /// Since format 2.
    Held {
        due_at: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct AttemptV1<'a> {
    number: u32,
    chain: u32,
    started_at: u64,
    took_ms: u64,
    generation: u64,
    #[serde(borrow)]
    outcome: OutcomeV1<'a>,
}

#[derive(Serialize, Deserialize)]
enum OutcomeV1<'a> {
    Delivered {
        provider_id: Option<&'a str>,
        status: Option<u16>,
        detail: Option<&'a str>,
    },
    Failed {
        #[serde(borrow)]
        fault: FaultV1<'a>,
        transient: bool,
    },
}

/// What only some notifications have, behind the record.
#[derive(Default, Serialize, Deserialize)]
struct ExtensionV2 {
    /// A delivery's place in the record, and its places in rows of fallbacks.
    fallbacks: Vec<(u8, Vec<(u16, u32)>)>,
    /// In the head alone: when the router was asked, and how many of its targets are deliveries.
    fan_out: Option<(u64, u32)>,
}

impl ExtensionV2 {
    fn of(deliveries: &[Delivery], fan_out: Option<FanOut>) -> Option<Self> {
        if fan_out.is_none() && deliveries.iter().all(|delivery| delivery.fallbacks.is_empty()) {
            return None;
        }
        let places = |delivery: &Delivery| delivery.fallbacks.iter().map(|at| (at.row, at.order)).collect();
        let with_some = (0..).zip(deliveries).filter(|(_, delivery)| !delivery.fallbacks.is_empty());
        let fallbacks = with_some.map(|(place, delivery)| (place, places(delivery))).collect();
        let fan_out = fan_out.map(|fan_out| (fan_out.planned_at.as_ms(), fan_out.done));
        Some(Self { fallbacks, fan_out })
    }

    fn apply(self, deliveries: &mut [Delivery]) -> Result<(), ReadError> {
        for (place, rows) in self.fallbacks {
            let missing = || damaged(WHAT, &"a fallback of no delivery");
            let delivery = deliveries.get_mut(usize::from(place)).ok_or_else(missing)?;
            delivery.fallbacks = rows.into_iter().map(|(row, order)| Fallback { row, order }).collect();
        }
        Ok(())
    }
}

/// With the latest `history` attempts and events of each delivery.
pub(crate) fn encode_head(state: &NotificationState, history: usize) -> Value {
    let first = state.deliveries.get(..CHUNK).unwrap_or(&state.deliveries);
    let head = HeadV1 {
        event_type: state.event_type.as_str(),
        priority: state.priority.rank(),
        expires_at: state.expires_at.map(Timestamp::as_ms),
        cancelled_at: state.cancelled_at.map(Timestamp::as_ms),
        suppressed: state.suppressed.as_ref().map(|suppression| SuppressionV1 {
            at: suppression.at.as_ms(),
            fault: FaultV1::of(&suppression.fault),
            duplicate_of: suppression.duplicate_of.map(NotificationId::to_bytes),
        }),
        is_alert: state.is_alert,
        users: state.users.iter().map(UserId::as_str).collect(),
        events: state.events.iter().map(EventV1::of).collect(),
        deliveries_total: u16::try_from(state.deliveries.len()).unwrap_or(u16::MAX),
        deliveries: first.iter().map(|delivery| DeliveryV1::of(delivery, history)).collect(),
    };
    encode_extended(&head, ExtensionV2::of(first, state.fan_out).as_ref())
}

/// With the latest `history` attempts and events of each delivery.
pub(crate) fn encode_chunk(deliveries: &[Delivery], history: usize) -> Value {
    let records: Vec<_> = deliveries.iter().map(|delivery| DeliveryV1::of(delivery, history)).collect();
    encode_extended(&records, ExtensionV2::of(deliveries, None).as_ref())
}

/// The state with the deliveries of its first record, and how many there are in all.
pub(crate) fn decode_head(id: NotificationId, bytes: &[u8]) -> Result<(NotificationState, u16), ReadError> {
    let (head, extension): (HeadV1<'_>, ExtensionV2) = decode_extended(WHAT, bytes)?;
    let users = head.users.into_iter().map(str::parse).collect::<Result<_, _>>();
    let suppressed = head.suppressed.map(|suppression| Suppression {
        at: Timestamp::from_ms(suppression.at),
        fault: suppression.fault.into_fault(),
        duplicate_of: suppression.duplicate_of.map(NotificationId::from_bytes),
    });
    let state = NotificationState {
        id,
        event_type: head.event_type.parse().map_err(|error| damaged(WHAT, &error))?,
        priority: Priority::from_rank(head.priority).ok_or_else(|| damaged(WHAT, &"its priority"))?,
        expires_at: head.expires_at.map(Timestamp::from_ms),
        cancelled_at: head.cancelled_at.map(Timestamp::from_ms),
        suppressed,
        is_alert: head.is_alert,
        users: users.map_err(|error: fanfare_model::name::BadName| damaged(WHAT, &error))?,
        fan_out: extension.fan_out.map(|(at, done)| FanOut { planned_at: Timestamp::from_ms(at), done }),
        events: events(head.events)?,
        deliveries: deliveries(id, 0, head.deliveries, extension)?,
    };
    Ok((state, head.deliveries_total))
}

/// The deliveries of a further record; the first of them has the index `first`.
pub(crate) fn decode_chunk(
    id: NotificationId,
    first: usize,
    bytes: &[u8],
) -> Result<Vec<Delivery>, ReadError> {
    let (records, extension) = decode_extended(WHAT, bytes)?;
    deliveries(id, first, records, extension)
}

fn events(events: Vec<EventV1<'_>>) -> Result<Vec<TraceEvent>, ReadError> {
    events.into_iter().map(EventV1::into_event).collect()
}

fn deliveries(
    id: NotificationId,
    first: usize,
    records: Vec<DeliveryV1<'_>>,
    extension: ExtensionV2,
) -> Result<Vec<Delivery>, ReadError> {
    let with_index = |(place, record): (usize, DeliveryV1<'_>)| {
        let index = u16::try_from(first + place).map_err(|_| damaged(WHAT, &"it has too many deliveries"))?;
        record.into_delivery(DeliveryId { notification: id, index })
    };
    let mut deliveries: Vec<Delivery> =
        records.into_iter().enumerate().map(with_index).collect::<Result<_, _>>()?;
    extension.apply(&mut deliveries)?;
    Ok(deliveries)
}

impl<'a> FaultV1<'a> {
    fn of(fault: &'a Fault) -> Self {
        Self(fault.code.as_str(), &fault.message, fault.status)
    }

    fn into_fault(self) -> Fault {
        Fault::new(FaultCode::stored(self.0.to_owned()), self.1).with_status(self.2)
    }
}

impl<'a> EventV1<'a> {
    fn of(event: &'a TraceEvent) -> Self {
        Self(event.at.as_ms(), event.kind.number(), &event.detail)
    }

    fn into_event(self) -> Result<TraceEvent, ReadError> {
        let kind =
            TraceKind::from_number(self.1).ok_or_else(|| damaged(WHAT, &"an event of unknown kind"))?;
        Ok(TraceEvent::new(Timestamp::from_ms(self.0), kind, self.2))
    }
}

impl<'a> DeliveryV1<'a> {
    fn of(delivery: &'a Delivery, history: usize) -> Self {
        let chain = &delivery.chain;
        Self {
            channel: delivery.channel.as_str(),
            user: delivery.user.as_ref().map(UserId::as_str),
            address: delivery.address.as_deref(),
            phase: PhaseV1::of(&delivery.phase),
            chain: (chain.number, chain.attempts, chain.started_at.map(Timestamp::as_ms)),
            attempts_total: delivery.attempts_total,
            first_attempt_at: delivery.first_attempt_at.map(Timestamp::as_ms),
            attempts: latest(&delivery.attempts, history).iter().map(AttemptV1::of).collect(),
            events: latest(&delivery.events, history).iter().map(EventV1::of).collect(),
        }
    }

    fn into_delivery(self, id: DeliveryId) -> Result<Delivery, ReadError> {
        let user = self.user.map(str::parse).transpose();
        let (number, attempts, started_at) = self.chain;
        Ok(Delivery {
            id,
            channel: ChannelName::stored(self.channel).ok_or_else(|| damaged(WHAT, &"a channel's name"))?,
            user: user.map_err(|error: fanfare_model::name::BadName| damaged(WHAT, &error))?,
            address: self.address.map(str::to_owned),
            phase: self.phase.into_phase(),
            chain: Chain { number, attempts, started_at: started_at.map(Timestamp::from_ms) },
            attempts_total: self.attempts_total,
            first_attempt_at: self.first_attempt_at.map(Timestamp::from_ms),
            attempts: self.attempts.into_iter().map(AttemptV1::into_attempt).collect(),
            events: events(self.events)?,
            fallbacks: Vec::new(),
        })
    }
}

impl<'a> PhaseV1<'a> {
    fn of(phase: &'a Phase) -> Self {
        match phase {
            Phase::Waiting { due_at, delay } => {
                Self::Waiting { due_at: due_at.as_ms(), delay: delay.map(millis) }
            }
            Phase::Held { due_at } => Self::Held { due_at: due_at.as_ms() },
            Phase::Delivered { at } => Self::Delivered { at: at.as_ms() },
            Phase::Dead { at, fault } => Self::Dead { at: at.as_ms(), fault: FaultV1::of(fault) },
            Phase::Cancelled { at } => Self::Cancelled { at: at.as_ms() },
            Phase::Expired { at } => Self::Expired { at: at.as_ms() },
            Phase::Suppressed { at, fault } => Self::Suppressed { at: at.as_ms(), fault: FaultV1::of(fault) },
        }
    }

    fn into_phase(self) -> Phase {
        match self {
            Self::Waiting { due_at, delay } => {
                Phase::Waiting { due_at: Timestamp::from_ms(due_at), delay: delay.map(Duration::from_millis) }
            }
            Self::Held { due_at } => Phase::Held { due_at: Timestamp::from_ms(due_at) },
            Self::Delivered { at } => Phase::Delivered { at: Timestamp::from_ms(at) },
            Self::Dead { at, fault } => Phase::Dead { at: Timestamp::from_ms(at), fault: fault.into_fault() },
            Self::Cancelled { at } => Phase::Cancelled { at: Timestamp::from_ms(at) },
            Self::Expired { at } => Phase::Expired { at: Timestamp::from_ms(at) },
            Self::Suppressed { at, fault } => {
                Phase::Suppressed { at: Timestamp::from_ms(at), fault: fault.into_fault() }
            }
        }
    }
}

fn latest<T>(items: &[T], count: usize) -> &[T] {
    items.get(items.len().saturating_sub(count)..).unwrap_or(items)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl<'a> AttemptV1<'a> {
    fn of(attempt: &'a Attempt) -> Self {
        let outcome = match &attempt.outcome {
            AttemptOutcome::Delivered(receipt) => OutcomeV1::Delivered {
                provider_id: receipt.provider_id.as_deref(),
                status: receipt.status,
                detail: receipt.detail.as_deref(),
            },
            AttemptOutcome::Failed { fault, transient } => {
                OutcomeV1::Failed { fault: FaultV1::of(fault), transient: *transient }
            }
        };
        Self {
            number: attempt.number,
            chain: attempt.chain,
            started_at: attempt.started_at.as_ms(),
            took_ms: millis(attempt.took),
            generation: attempt.generation,
            outcome,
        }
    }

    fn into_attempt(self) -> Attempt {
        let outcome = match self.outcome {
            OutcomeV1::Delivered { provider_id, status, detail } => AttemptOutcome::Delivered(Receipt {
                provider_id: provider_id.map(str::to_owned),
                status,
                detail: detail.map(str::to_owned),
            }),
            OutcomeV1::Failed { fault, transient } => {
                AttemptOutcome::Failed { fault: fault.into_fault(), transient }
            }
        };
        Attempt {
            number: self.number,
            chain: self.chain,
            started_at: Timestamp::from_ms(self.started_at),
            took: Duration::from_millis(self.took_ms),
            generation: self.generation,
            outcome,
        }
    }
}
