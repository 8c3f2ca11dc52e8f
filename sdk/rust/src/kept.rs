//! Settings read once in the life of an instance, and again only where they are others than at the call before.
//!
//! They are never dropped: an instance that serves one call ends as a whole, and one that serves many wants them again.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use serde::de::DeserializeOwned;

use crate::host;
use crate::outcome::Fault;
use crate::settings::parsed;

/// Settings, and the text that they were read from.
struct Kept {
    text: String,
    value: Rc<dyn Any>,
}

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// The settings of this instance, with the faults of [`settings`](crate::settings()).
pub(crate) fn kept<S: DeserializeOwned + 'static>() -> Result<Rc<S>, Fault> {
    let text = host::settings();
    let known = KEPT.with_borrow(|kept| {
        let same = kept.as_ref().filter(|kept| kept.text == text);
        same.and_then(|kept| Rc::clone(&kept.value).downcast().ok())
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let value: Rc<S> = Rc::new(parsed(&text)?);
    KEPT.set(Some(Kept { text, value: value.clone() }));
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn settings_are_read_again_once_they_change() {
        let host = testing::Host::new();
        host.set_settings(r#"{"a":1}"#);
        let first = kept::<serde_json::Value>().unwrap();
        assert!(Rc::ptr_eq(&first, &kept().unwrap()));
        host.set_settings(r#"{"a":2}"#);
        assert_eq!(*kept::<serde_json::Value>().unwrap(), serde_json::json!({ "a": 2 }));
        assert!(kept::<u32>().is_err());
    }
}
