//! The generations of a channel that make attempts: the one that serves, and a candidate beside it.
//!
//! Which of them a delivery goes to is a hash of delivery and candidate, so its retries go there too. What a
//! candidate traps on or refuses for good is tried once on the other before it counts as the delivery's.

use std::sync::Arc;

use fanfare_model::digest::Digest;
use fanfare_model::fault::Fault;
use fanfare_model::id::DeliveryId;
use fanfare_model::outcome::Outcome;
use fanfare_runtime::{AttemptInput, AttemptReport, CallEnd, ChannelGeneration};

use super::vigil::Vigil;

/// A share of all deliveries.
pub(crate) const WHOLE: u16 = 10_000;

/// What makes attempts.
#[derive(Clone, Debug)]
pub struct Lineup {
    /// The generation that serves.
    pub serving: Arc<ChannelGeneration>,
    /// A candidate.
    pub trial: Option<Trial>,
}

/// A candidate and its share.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The candidate.
    pub generation: Arc<ChannelGeneration>,
    /// Its part of the deliveries, in hundredths of a per cent.
    pub share: u16,
}

/// An attempt that was made.
#[derive(Debug)]
pub struct Made {
    /// What counts for the delivery.
    pub report: AttemptReport,
    /// The generation that it counts for.
    pub generation: u64,
    /// The candidate that failed before, and how.
    pub fell_back: Option<(u64, Fault)>,
}

impl Lineup {
    /// Makes one attempt.
    pub async fn attempt(&self, vigil: &Vigil, input: AttemptInput) -> Made {
        let Some(trial) = self.trial.as_ref().filter(|trial| trial.takes(input.delivery)) else {
            let report = self.serving.send(input).await;
            vigil.serving_ended(&report);
            return Made { report, generation: self.serving.number(), fell_back: None };
        };
        let report = trial.generation.send(input.clone()).await;
        let candidate = trial.generation.number();
        vigil.candidate_ended(&report);
        match blames_the_candidate(&report) {
            None => Made { report, generation: candidate, fell_back: None },
            Some(fault) => {
                let report = self.serving.send(input).await;
                vigil.serving_ended(&report);
                Made { report, generation: self.serving.number(), fell_back: Some((candidate, fault)) }
            }
        }
    }
}

impl Trial {
    fn takes(&self, delivery: DeliveryId) -> bool {
        let parts: [&[u8]; 3] = [
            &delivery.notification.to_bytes(),
            &delivery.index.to_be_bytes(),
            &self.generation.number().to_be_bytes(),
        ];
        let digest = Digest::of_parts(&parts);
        let lot = digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        lot % u64::from(WHOLE) < u64::from(self.share)
    }
}

/// A trap, or a fault that no retry would mend.
fn blames_the_candidate(report: &AttemptReport) -> Option<Fault> {
    match &report.outcome {
        Outcome::Permanent(fault) => Some(fault.clone()),
        Outcome::Transient { fault, .. } if report.end == CallEnd::Trapped => Some(fault.clone()),
        Outcome::Delivered(_) | Outcome::Transient { .. } => None,
    }
}
