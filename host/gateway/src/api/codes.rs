//! The one table of the HTTP surface's codes: what each is called, what it means, and what to do about it.
//!
//! A code never changes its meaning or its status. [`super::problem`] sends them, [`super::problems`] describes them.

use http::StatusCode;

/// Where the description of each code is served; a problem's `type` is this with the code behind it.
pub const PLACE: &str = "/problems/";

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The stable code.
    pub code: &'static str,
    /// The status that goes with it, always.
    pub status: StatusCode,
    /// A short summary, the same each time.
    pub title: &'static str,
    /// When it is answered, and what that says about the request.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// The line of a code.
#[must_use]
pub fn entry(code: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.code == code).copied()
}

macro_rules! table {
    ($($name:ident = $code:literal, $status:ident, $title:literal, $meaning:literal, $remedy:literal;)+) => {
        /// The codes of the HTTP surface, one constant each.
        pub mod code {
            use super::{Entry, StatusCode};
            $(
                #[doc = concat!("`", $code, "`: ", $title, ".")]
                pub const $name: &Entry = &Entry {
                    code: $code,
                    status: StatusCode::$status,
                    title: $title,
                    meaning: $meaning,
                    remedy: $remedy,
                };
            )+
        }

        /// All of them, in the order of their statuses.
        pub const TABLE: &[&Entry] = &[$(code::$name),+];
    };
}

table! {
    INVALID_JSON = "request.invalid-json", BAD_REQUEST,
        "The body is not JSON",
        "What arrived can't be read as JSON at all, or ends in the middle of a value.",
        "Send one JSON value in UTF-8; the detail names line and column.";
    BAD_QUERY = "request.bad-query", BAD_REQUEST,
        "The query string can't be understood",
        "A parameter of the query is unknown here, is given twice, or has a value of another form.",
        "Use the parameters that the detail lists, each at most once, with a value of the named form.";
    BAD_CURSOR = "request.bad-cursor", BAD_REQUEST,
        "The cursor is not one of ours",
        "The cursor was changed on its way, or was given by another list.",
        "Pass next_cursor of the previous page unchanged, or leave cursor away to begin anew.";
    BAD_HEADER = "request.bad-header", BAD_REQUEST,
        "A header can't be understood",
        "A header that the request relies on has a value that it can't have.",
        "Correct or leave away the header that the detail names.";
    BAD_ID = "request.bad-id", BAD_REQUEST,
        "The id in the path is not one of ours",
        "The id has another form than the ids that the gateway gives.",
        "Use the id exactly as the gateway gave it.";
    UNEXPECTED_BODY = "request.unexpected-body", BAD_REQUEST,
        "This call takes no body",
        "A body came with a call that has none; were it ignored, it could be mistaken for filters.",
        "Put filters into the query string and send no body.";
    BAD_BODY = "request.incomplete", BAD_REQUEST,
        "The body ended early",
        "The connection ended before as many bytes had come as were announced.",
        "Send as many bytes as content-length says.";
    KEY_MISSING = "access.key-missing", UNAUTHORIZED,
        "An API key is needed",
        "API keys are configured, and the request carries none.",
        "Send `Authorization: Bearer KEY` with a key from [[keys]] of the configuration.";
    KEY_UNKNOWN = "access.key-unknown", UNAUTHORIZED,
        "The API key is not known",
        "The request carries an API key, and it is none of those that are configured.",
        "Check the key; its sha256 has to stand in [[keys]] of the configuration.";
    SCOPE = "access.scope", FORBIDDEN,
        "The API key lacks a scope",
        "The API key is known, but may not do this. No scope includes another.",
        "Use a key with the named scope, or add the scope to this key in the configuration.";
    ORIGIN = "access.origin", FORBIDDEN,
        "Requests from web pages are refused",
        "A browser sent the request on behalf of a web page. With no key configured, any page could drive the gateway.",
        "Without API keys no request may carry an Origin header; configure [[keys]], then a key decides.";
    NOT_FOUND = "route.unknown", NOT_FOUND,
        "There is nothing at this path",
        "No call of the gateway has this path.",
        "See the README for the paths; they begin with /api/v1/.";
    NOTIFICATION_UNKNOWN = "notification.unknown", NOT_FOUND,
        "There is no such notification",
        "No notification has this id, or its history is not kept any more.",
        "Check the id; histories are removed after their time.";
    DELIVERY_UNKNOWN = "delivery.unknown", NOT_FOUND,
        "There is no such delivery",
        "No delivery has this id, or its notification is not kept any more.",
        "Check the id: the notification's id, a dash and a number.";
    PLUGIN_UNKNOWN = "plugin.unknown", NOT_FOUND,
        "There is no such plugin",
        "No plugin of this name, version or digest is installed or built in.",
        "List them with `fanfare plugin list`, or install one.";
    CHANNEL_ABSENT = "channel.absent", NOT_FOUND,
        "The channel is not configured",
        "No section of the configuration has this channel's name.",
        "Add its section to the configuration and reload it.";
    ROUTER_ABSENT = "router.absent", NOT_FOUND,
        "The router is not configured",
        "No section of the configuration has this router's name.",
        "Add [routers.default] to the configuration and reload it.";
    METHOD = "route.method", METHOD_NOT_ALLOWED,
        "The path does not take this method",
        "The path is right, but the method is not one of those that it takes.",
        "Use one of the methods in the Allow header.";
    READ_TIMEOUT = "request.timeout", REQUEST_TIMEOUT,
        "The body took too long",
        "The head of the request came, but its body did not come to an end in time. Nothing was accepted.",
        "Send the whole body within server.read_timeout.";
    IN_FLIGHT = "idempotency.in-flight", CONFLICT,
        "The first request with this key is still under way",
        "A request with the same Idempotency-Key has not been answered yet, so there is no answer to repeat.",
        "Wait for its answer, then repeat the request.";
    ENDED = "notification.ended", CONFLICT,
        "The notification has ended already",
        "All deliveries of the notification are delivered, dead, cancelled, expired or suppressed.",
        "There is nothing left to cancel.";
    NOT_DEAD = "dlq.not-dead", CONFLICT,
        "The delivery is not a dead letter",
        "Only dead letters can be sent again or discarded, and this delivery is none, or is none any more.",
        "List the dead letters; it may have been sent again or discarded already.";
    PLUGIN_APPROVAL = "plugin.approval", CONFLICT,
        "The plugin asks for more than was approved",
        "What the plugin's manifest asks for goes beyond what the channel has been granted so far.",
        "Look at what it asks for, and approve it with the activation.";
    PLUGIN_IN_USE = "plugin.in-use", CONFLICT,
        "The plugin is needed",
        "A channel or router serves with this plugin, or would go back to it.",
        "Activate another plugin where it is needed first.";
    CHANNEL_SUSPENDED = "channel.suspended", CONFLICT,
        "The channel is suspended",
        "A canary is tried beside the generation that serves, and a suspended channel has none that does.",
        "Resume it, or activate another plugin without a canary.";
    NO_ROLLBACK = "channel.no-rollback", CONFLICT,
        "There is no generation to go back to",
        "The channel has had one generation only, or the one before can't serve any more.",
        "Activate the plugin that is wanted.";
    ROUTER_NO_ROLLBACK = "router.no-rollback", CONFLICT,
        "There is no generation to go back to",
        "The router has had one generation only, or the one before is not kept any more.",
        "Activate the plugin that is wanted.";
    GENERATION_UNKNOWN = "channel.generation", CONFLICT,
        "There is no such generation",
        "The generation has never been, or its component is not kept any more.",
        "List the generations with `fanfare channel show`.";
    TOO_LARGE = "request.too-large", PAYLOAD_TOO_LARGE,
        "The request is too large",
        "The body, or a batch's count of notifications, is over its limit. Nothing was accepted.",
        "Stay inside the limit that the detail names.";
    MEDIA = "request.media-type", UNSUPPORTED_MEDIA_TYPE,
        "The body has to be JSON",
        "The request marks its body as something else than JSON.",
        "Send `content-type: application/json`.";
    HOST = "access.host", MISDIRECTED_REQUEST,
        "Without API keys only loopback hosts are answered",
        "With no key configured only this machine is served, and the request names another host: a web page may have \
         led a browser here under a name of its own.",
        "Use http://127.0.0.1 or http://localhost, or configure [[keys]].";
    INVALID_FIELD = "request.invalid-field", UNPROCESSABLE_ENTITY,
        "A field has an invalid value",
        "The body is JSON, but one of its values has the wrong type, form or size.",
        "Correct the field at the pointer.";
    UNKNOWN_FIELD = "request.unknown-field", UNPROCESSABLE_ENTITY,
        "A field is not known",
        "The body has a field that means nothing here. It is refused so that a misspelt one is never lost silently.",
        "Take the field at the pointer away or correct its name; your own facts go into data or metadata.";
    EXPIRED = "notification.expired", UNPROCESSABLE_ENTITY,
        "The notification would expire before it is sent",
        "Its expires_at lies before the moment at which it could be sent first.",
        "Give a later expires_at: after now, and after send_at.";
    EMPTY_BATCH = "request.empty-batch", UNPROCESSABLE_ENTITY,
        "The batch is empty",
        "The array holds no notification at all.",
        "Send an array of 1 to 1,000 notifications.";
    CHANNEL_UNKNOWN = "channel.unknown", UNPROCESSABLE_ENTITY,
        "No such channel is configured",
        "An entry of `to` names a channel that there is not.",
        "Name a channel from [channels] of the configuration.";
    USER_UNKNOWN = "user.unknown", UNPROCESSABLE_ENTITY,
        "No such user is configured",
        "An entry of `to` names a user that there is not.",
        "Name a user from [users] of the configuration.";
    KEY_REUSED = "idempotency.mismatch", UNPROCESSABLE_ENTITY,
        "The idempotency key was used with another body",
        "The same Idempotency-Key came before with another body, so one of the two requests would be lost.",
        "Use a new key for a new request.";
    PLUGIN_INVALID = "plugin.invalid", UNPROCESSABLE_ENTITY,
        "The component is no plugin that this host serves",
        "The bytes are no component, or it lacks the exports or the manifest that a plugin has.",
        "Build it with the SDK, and try it with `fanfare plugin check`.";
    PLUGIN_TOO_LARGE = "plugin.too-large", UNPROCESSABLE_ENTITY,
        "The component is too large",
        "The component is larger than any that this host takes.",
        "Strip its debug information: 64 MiB are allowed.";
    PLUGIN_VERSION = "plugin.version", UNPROCESSABLE_ENTITY,
        "The plugin was built for another contract",
        "The names of the component's exports carry a version of the contract that this host does not serve.",
        "Build it with a matching SDK, or start a matching Fanfare.";
    PLUGIN_COMPILE = "plugin.compile", UNPROCESSABLE_ENTITY,
        "The component can't be compiled",
        "The compiler refused the component, or took too long over it.",
        "Try it with `fanfare plugin check`.";
    PLUGIN_KIND = "plugin.kind", UNPROCESSABLE_ENTITY,
        "The plugin is of the other kind",
        "A router was named where a channel is needed, or a channel where a router is.",
        "Name a plugin of the kind that the detail asks for; `fanfare plugin list` tells them.";
    PLUGIN_LINK = "plugin.link", UNPROCESSABLE_ENTITY,
        "The plugin does not fit this host",
        "The component imports something that this host does not give.",
        "Build it against the contract that this host serves.";
    PLUGIN_CHECK = "plugin.check", UNPROCESSABLE_ENTITY,
        "The plugin refuses its settings",
        "The plugin looked at its settings and found fault, or failed while it did.",
        "Correct the settings that the detail names.";
    PLUGIN_UNREADABLE = "plugin.unreadable", UNPROCESSABLE_ENTITY,
        "The component can't be read",
        "The bytes of the component are not where they were put.",
        "Install it again.";
    BAD_SETTINGS = "config.settings", UNPROCESSABLE_ENTITY,
        "The settings do not fit the plugin",
        "The plugin's own schema refuses the settings.",
        "Correct the settings that the detail names.";
    BAD_GRANT = "config.grant", UNPROCESSABLE_ENTITY,
        "A grant is missing or can't be read",
        "The plugin asks for a place that is not granted to the channel, or a grant has the wrong form.",
        "Grant what the plugin needs, in the configuration or with the activation.";
    BAD_SECRET = "config.secret", UNPROCESSABLE_ENTITY,
        "A secret is missing or too many",
        "The plugin needs a secret that the channel has not, or the channel gives one that nothing uses.",
        "Name the secrets that the plugin asks for, by a reference of the configuration.";
    BAD_KEYS = "config.keys", UNPROCESSABLE_ENTITY,
        "The last key can't be taken away",
        "A reload would leave the gateway without keys on an address that other machines reach.",
        "Keep a key, or restart the gateway on a loopback address.";
    RATE = "rate.limited", TOO_MANY_REQUESTS,
        "The API key submits more than it may",
        "The API key has a rate, and it is used up. Nothing was accepted; a batch is refused as a whole.",
        "Repeat the request after the time in Retry-After, or raise the key's rate in the configuration.";
    HEAD_TOO_LARGE = "request.head-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The request's head is too large",
        "The request's line and headers together are over 32 KiB.",
        "Leave away what is not needed; cookies and forwarded headers are the usual ones.";
    PANIC = "server.panic", INTERNAL_SERVER_ERROR,
        "The gateway made a mistake",
        "The request met a bug of the gateway, which was caught. Other requests go on.",
        "The log has the details; please report it. The request may or may not have been accepted.";
    INTERNAL = "server.internal", INTERNAL_SERVER_ERROR,
        "The gateway can't read its store",
        "A record of the store can't be read.",
        "The log has the details.";
    OVERLOADED = "server.overloaded", SERVICE_UNAVAILABLE,
        "The gateway has more work than it can take",
        "More requests or larger bodies are in work than the configured limits allow. Nothing was done.",
        "Repeat the request after the time in Retry-After.";
    STORE_FAILED = "store.failed", SERVICE_UNAVAILABLE,
        "The store refuses to write",
        "The notification could not be put on disk, so it was not accepted.",
        "The log has the details; nothing was accepted. Repeat the request later.";
    SHUTTING_DOWN = "server.shutting-down", SERVICE_UNAVAILABLE,
        "The gateway is stopping",
        "The gateway was told to stop and takes nothing more. What it accepted before is on disk.",
        "Repeat the request after the time in Retry-After.";
    STORE_FULL = "store.full", INSUFFICIENT_STORAGE,
        "The disk is full",
        "Free space is under the store's reserve. Nothing was accepted; deliveries go on.",
        "Make room on the disk of store.path; the gateway goes on by itself.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_the_order_of_their_statuses() {
        let mut codes: Vec<_> = TABLE.iter().map(|entry| entry.code).collect();
        assert!(TABLE.is_sorted_by_key(|entry| entry.status));
        assert!(TABLE.iter().all(|line| entry(line.code) == Some(*line)));
        assert!(TABLE.iter().all(|entry| entry.remedy.ends_with('.') && entry.meaning.ends_with('.')));
        assert!(TABLE.iter().all(|entry| !entry.title.ends_with('.')));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), TABLE.len());
    }
}
