//! What went wrong with an attempt, a delivery or a request, under a stable code.

use std::borrow::Cow;
use std::fmt;

/// A stable, dotted, lower-case code: the same in API, log, metric and docs.
///
/// The host's own codes are constants in [`code`]; a plugin's kebab-case code is carried as `channel.CODE`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultCode(Cow<'static, str>);

/// Longer codes of plugins are cut here.
const CODE_BYTES_MAX: usize = 64;

impl FaultCode {
    /// One of the host's own codes.
    #[must_use]
    pub const fn of(code: &'static str) -> Self {
        Self(Cow::Borrowed(code))
    }

    /// A plugin's code, made safe: kebab-case, bounded, under `channel.`, so that a plugin can't pass its own
    /// word off as the host's.
    #[must_use]
    pub fn of_plugin(code: &str) -> Self {
        let safe = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let text: String = code.chars().take(CODE_BYTES_MAX).map(safe).collect();
        let text = text.trim_matches('-');
        let text = if text.is_empty() { "unnamed" } else { text };
        Self(Cow::Owned(format!("channel.{text}")))
    }

    /// A code that was stored.
    #[must_use]
    pub fn stored(code: String) -> Self {
        Self(Cow::Owned(code))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A failure with its code, a sentence for people, and the receiver's HTTP status where there was one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The stable code.
    pub code: FaultCode,
    /// A sentence for people, [`MESSAGE_BYTES_MAX`] bytes at most.
    pub message: String,
    /// The receiver's HTTP (or SMTP) status.
    pub status: Option<u16>,
}

/// Longer messages are cut at the last character that fits.
pub const MESSAGE_BYTES_MAX: usize = 1_024;

impl Fault {
    /// A fault without a status.
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self { code, message: bounded(message.into()), status: None }
    }

    /// The same fault with the receiver's status.
    #[must_use]
    pub fn with_status(mut self, status: Option<u16>) -> Self {
        self.status = status;
        self
    }
}

/// The text, cut at the last character that fits into [`MESSAGE_BYTES_MAX`].
#[must_use]
pub fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or(0));
    }
    message
}

/// The host's own codes of attempts and deliveries.
pub mod code {
    use super::FaultCode;

    /// The guest trapped: unreachable code, a bad memory access, an abort.
    pub const PLUGIN_TRAP: FaultCode = FaultCode::of("plugin.trap");
    /// The guest used more CPU time than its limit.
    pub const PLUGIN_CPU: FaultCode = FaultCode::of("plugin.cpu");
    /// The attempt took longer than its wall-clock limit.
    pub const PLUGIN_TIMEOUT: FaultCode = FaultCode::of("plugin.timeout");
    /// The guest asked for more memory or table space than its limit.
    pub const PLUGIN_MEMORY: FaultCode = FaultCode::of("plugin.memory");
    /// The guest overflowed its stack.
    pub const PLUGIN_STACK: FaultCode = FaultCode::of("plugin.stack");
    /// The guest called the host more often than its limit.
    pub const PLUGIN_CALLS: FaultCode = FaultCode::of("plugin.calls");
    /// The guest moved more data through host calls than its limit.
    pub const PLUGIN_DATA: FaultCode = FaultCode::of("plugin.data");
    /// The guest answered with something that the contract does not allow.
    pub const PLUGIN_GARBAGE: FaultCode = FaultCode::of("plugin.garbage");
    /// The component can't be loaded: no component, lacking exports, wrong version, no manifest.
    pub const PLUGIN_INVALID: FaultCode = FaultCode::of("plugin.invalid");
    /// The guest held more handles than it may.
    pub const PLUGIN_HANDLES: FaultCode = FaultCode::of("plugin.handles");
    /// The host itself failed around the call.
    pub const HOST_INTERNAL: FaultCode = FaultCode::of("host.internal");
    /// The gateway stopped while the call ran, or before it could.
    pub const HOST_STOPPING: FaultCode = FaultCode::of("host.stopping");
    /// No channel of this name is configured.
    pub const CHANNEL_UNKNOWN: FaultCode = FaultCode::of("channel.unknown");
    /// Routing gave no target at all.
    pub const ROUTE_EMPTY: FaultCode = FaultCode::of("route.empty");
    /// The router failed for good.
    pub const ROUTE_FAILED: FaultCode = FaultCode::of("route.failed");
    /// A delivery that it stands in for reached the recipient.
    pub const FALLBACK_UNNEEDED: FaultCode = FaultCode::of("fallback.unneeded");
    /// The router's plan can't be carried out.
    pub const ROUTE_INVALID: FaultCode = FaultCode::of("route.invalid");
    /// The chain of attempts reached `give_up_after`.
    pub const RETRY_EXPIRED: FaultCode = FaultCode::of("retry.expired");
    /// The notification's `expires_at` passed before it was sent.
    pub const EXPIRED: FaultCode = FaultCode::of("delivery.expired");
    /// A client cancelled the notification.
    pub const CANCELLED: FaultCode = FaultCode::of("delivery.cancelled");
    /// An operator discarded the dead letter.
    pub const DISCARDED: FaultCode = FaultCode::of("delivery.discarded");
    /// An earlier notification with the same dedup key is inside the window.
    pub const DUPLICATE: FaultCode = FaultCode::of("dedup.duplicate");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_code_is_made_safe_and_kept_apart() {
        assert_eq!(FaultCode::of_plugin("invalid-payload").as_str(), "channel.invalid-payload");
        assert_eq!(FaultCode::of_plugin("plugin.trap\n").as_str(), "channel.plugin-trap");
        assert_eq!(FaultCode::of_plugin("").as_str(), "channel.unnamed");
        assert!(FaultCode::of_plugin(&"x".repeat(9_000)).as_str().len() < 80);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let fault = Fault::new(code::PLUGIN_TRAP, "한".repeat(1_000));
        assert!(fault.message.len() <= MESSAGE_BYTES_MAX);
        assert!(fault.message.chars().all(|c| c == '한'));
    }
}
