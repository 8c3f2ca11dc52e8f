//! The exports of a router.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

pub use super::bindings::router as bindings;
pub use super::bindings::router::export_router as export;

use super::NOW_MS;
use crate::kept::kept;
use bindings::exports::fanfare::router::rules::{Fault, Guest, Notification, Person, Plan};

/// The component around settings of type `R`.
pub struct Component<R>(PhantomData<R>);

impl<R: crate::Router + DeserializeOwned + 'static> Guest for Component<R> {
    fn check() -> Result<(), Fault> {
        kept::<R>().and_then(|router| router.check()).map_err(Into::into)
    }

    fn route(notification: Notification, people: Vec<Person>, now_ms: u64) -> Result<Plan, Fault> {
        NOW_MS.set(now_ms);
        let people: Vec<crate::Person> = people.into_iter().map(Into::into).collect();
        let router = kept::<R>()?;
        router.route(&notification.into(), &people, now_ms).map(Into::into).map_err(Into::into)
    }
}
