//! The table of the codes that deliveries end and attempts fail with: what each means, and what to do about it.
//!
//! They stand in `fault`, in traces and in logs, and go with no HTTP status of the gateway's. Codes that are answered to
//! requests, too, are described in [`super::codes`] alone; those that a plugin made up, by [`OF_PLUGINS`].

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FaultEntry {
    /// The stable code.
    pub(super) code: &'static str,
    /// A short summary.
    pub(super) title: &'static str,
    /// When it happens, and what follows.
    pub(super) meaning: &'static str,
    /// What to do about it.
    pub(super) remedy: &'static str,
}

/// What plugins' own codes begin with.
pub(super) const PLUGIN_PREFIX: &str = "channel.";

/// Stands for every code of a plugin's own.
pub(super) const OF_PLUGINS: &FaultEntry = &FaultEntry {
    code: "channel.CODE",
    title: "The plugin's own code",
    meaning: "The plugin itself found the attempt failed, and this is its word for why: http-NNN is the receiver's status, \
              http-denied a place that is not granted, http-limit a bound of the gateway's, http-dns, http-connect, \
              http-tls, http-timeout and http-protocol the network; others are in the plugin's documentation.",
    remedy: "Read the fault's message, and the plugin's lines in the log.",
};

/// The line of a code.
pub(super) fn entry(code: &str) -> Option<&'static FaultEntry> {
    let of_plugins = || Some(OF_PLUGINS).filter(|_| code.starts_with(PLUGIN_PREFIX));
    TABLE.iter().find(|entry| entry.code == code).or_else(of_plugins)
}

macro_rules! table {
    ($($code:literal, $title:literal, $meaning:literal, $remedy:literal;)+) => {
        /// All of them but those of plugins.
        pub(super) const TABLE: &[FaultEntry] =
            &[$(FaultEntry { code: $code, title: $title, meaning: $meaning, remedy: $remedy }),+];
    };
}

table! {
    "plugin.trap", "The plugin trapped",
        "The plugin panicked, aborted or touched memory that is not its own. The attempt failed and is tried again; no \
         other attempt is touched.",
        "The log has the plugin's last lines; report them to its author.";
    "plugin.cpu", "The plugin computed too long",
        "The attempt used more processor time than limits.cpu_ms. It was stopped, and is tried again.",
        "Look for a loop in the plugin, or raise the channel's limits.cpu_ms.";
    "plugin.timeout", "The attempt took too long",
        "The attempt took longer than limits.wall_ms, the router longer than its deadline. It was stopped, and is tried \
         again.",
        "Look at the receiver first: most of the time is spent waiting for it.";
    "plugin.memory", "The plugin wanted too much memory",
        "The plugin asked for more memory than limits.memory_mib. It was stopped, and the attempt is tried again.",
        "Send less in one notification, or raise the channel's limits.memory_mib.";
    "plugin.stack", "The plugin's stack overflowed",
        "The plugin recursed deeper than its stack allows. It was stopped, and the attempt is tried again.",
        "Look for a recursion without an end in the plugin.";
    "plugin.calls", "The plugin called the gateway too often",
        "One attempt made more calls of the host, log lines included, than it may.",
        "Look for a loop in the plugin; 256 calls an attempt are allowed.";
    "plugin.data", "The plugin moved too much data",
        "The plugin passed more data to the gateway in one call than the gateway takes.",
        "Shorten what the plugin hands over: its receipt, its fault, its requests.";
    "plugin.handles", "The plugin held too many handles",
        "The plugin kept more handles of the gateway's resources open at once than it may. It was stopped, and the \
         attempt is tried again.",
        "Look for a resource that the plugin opens in a loop and never drops; 256 at a time are allowed.";
    "plugin.garbage", "The plugin's answer can't be used",
        "The plugin answered with something that the contract does not allow.",
        "Build the plugin with a matching SDK, or report it to its author.";
    "host.internal", "The gateway failed around the attempt",
        "Not the plugin but the gateway itself failed. The attempt is tried again.",
        "The log has the details; please report it.";
    "host.stopping", "The gateway is stopping",
        "The attempt was ended because the gateway stops; it is made again after the next start.",
        "Nothing has to be done.";
    "route.empty", "Nobody was to be told",
        "The router found no channel and no person for the notification, so it was suppressed.",
        "Add a rule that matches it, or name a channel in `to`.";
    "route.failed", "The router failed for good",
        "The router could not decide, and its retries are used up. The notification is a dead letter of (router).",
        "Correct the router's settings, and send the dead letter again.";
    "route.invalid", "The router's plan can't be carried out",
        "The plan names channels or users that there are not, or has too many targets.",
        "Correct the router's rules; the message names what does not fit.";
    "fallback.unneeded", "An earlier target took it",
        "The delivery was planned for the case that those before it fail, and one of them did not.",
        "Nothing has to be done.";
    "retry.expired", "It was tried for too long",
        "The chain of attempts reached retry.give_up_after before its retries were used up.",
        "Look at the receiver, then send the dead letter again.";
    "delivery.expired", "It was too late",
        "The notification's expires_at passed before it was delivered.",
        "Give notifications more time, or look why the channel is behind.";
    "delivery.cancelled", "It was cancelled",
        "A client cancelled the notification before this delivery was made.",
        "Nothing has to be done.";
    "delivery.discarded", "It was discarded",
        "An operator took the dead letter out of the list for good.",
        "Nothing has to be done.";
    "dedup.duplicate", "It was told before",
        "An earlier notification with the same dedup key lies inside the window; `duplicate_of` names it.",
        "Nothing has to be done; use another key for what is no repetition.";
    "egress.denied", "The place is not granted",
        "A plugin called a host that the channel has no grant for.",
        "If it should, put the line of the message into the channel's section.";
    "egress.private-address", "The name leads to a private address",
        "A granted name resolved to loopback, a private or a link-local address.",
        "Grant the address itself, or set allow_private = true if the name is yours.";
    "egress.secret-origin", "The secret belongs to another place",
        "A plugin sent a secret towards a place that the secret is not meant for.",
        "Give the secret the origin in the configuration, or correct the plugin's settings.";
    "egress.secret-in-body", "Secrets don't go into bodies",
        "A secret stood in a request's body, and the plugin's manifest does not ask for that.",
        "Put the secret into a header or the URL, or ask for it in the manifest.";
    "egress.clear-password", "The password would go in clear",
        "A login was asked for over a connection without encryption.",
        "Use STARTTLS or TLS.";
    "egress.invalid", "The request is not valid",
        "A plugin made a request with a URL, method or header that there can't be.",
        "Correct the plugin or its settings; the message names the part.";
    "egress.limit", "The request is over a limit",
        "A request or its answer was larger than allowed, or the attempt made too many.",
        "Send less in one attempt; the message names the limit.";
    "egress.dns", "The name was not resolved",
        "The receiver's name has no address, or no name server answered. It is tried again.",
        "Check the name, and this machine's name servers.";
    "egress.connect", "The receiver can't be reached",
        "No connection came about. It is tried again.",
        "Check that the receiver runs, and that this machine reaches it.";
    "egress.tls", "TLS failed",
        "The receiver's certificate is not trusted, or no common version was found. It is tried again.",
        "Check the receiver's certificate and its name.";
    "egress.timeout", "The receiver took too long",
        "The request was not answered in time. It is tried again.",
        "Look at the receiver.";
    "egress.protocol", "The answer was no HTTP",
        "The connection broke, or what came back can't be read. It is tried again.",
        "Look at the receiver, and at what stands between.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::codes;

    /// The quoted words with a dot in them.
    fn codes_in(source: &str) -> impl Iterator<Item = &str> {
        source.split('"').skip(1).step_by(2).filter(|word| {
            word.contains('.') && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'.' | b'-'))
        })
    }

    #[test]
    fn every_code_of_a_fault_is_described() {
        let faults = include_str!("../../../model/src/fault.rs");
        let constants = faults.lines().filter(|line| line.contains("FaultCode = ")).flat_map(codes_in);
        let egress = include_str!("../../../runtime/src/egress/refusal.rs").lines();
        let loading = include_str!("../../../runtime/src/error.rs").lines();
        let arms = egress.chain(loading).filter(|line| line.contains(" => \"")).flat_map(codes_in);
        let all: Vec<&str> = constants.chain(arms).collect();
        assert!(all.len() > 40, "{all:?}");
        for code in all {
            assert!(codes::entry(code).is_some() || TABLE.iter().any(|entry| entry.code == code), "{code}");
        }
    }

    #[test]
    fn a_code_is_described_once() {
        let mut all: Vec<_> = TABLE.iter().map(|entry| entry.code).collect();
        all.extend(codes::TABLE.iter().map(|entry| entry.code));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        let sentences = TABLE.iter().flat_map(|entry| [entry.meaning, entry.remedy]);
        assert!(sentences.into_iter().all(|sentence| sentence.ends_with('.')));
        assert_eq!(entry("channel.http-503"), Some(OF_PLUGINS));
        assert_eq!(entry("channels.x"), None);
    }
}
