//! The exports of a channel.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

pub use super::bindings::channel as bindings;
pub use super::bindings::channel::export_channel as export;

use super::NOW_MS;
use crate::kept::kept;
use bindings::exports::fanfare::channel::sender::{Attempt, Fault, Guest, Receipt, SendError};

/// The component around settings of type `C`.
pub struct Component<C>(PhantomData<C>);

impl<C: crate::Channel + DeserializeOwned + 'static> Guest for Component<C> {
    fn check() -> Result<(), Fault> {
        kept::<C>().and_then(|channel| channel.check()).map_err(Into::into)
    }

    fn send(attempt: Attempt) -> Result<Receipt, SendError> {
        NOW_MS.set(attempt.now_ms);
        let channel = kept::<C>().map_err(crate::SendError::from)?;
        channel.send(&attempt.into()).map(Into::into).map_err(Into::into)
    }
}
