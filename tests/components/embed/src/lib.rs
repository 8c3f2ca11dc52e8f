//! The test components as packed bytes: hostile, broken or curious, one behaviour each.
//!
//! `tests/components/examples` holds their sources; this crate's build script builds and packs them. What needs no code
//! of its own (no manifest, a missing export, a core module, a cut-off file) tests make out of these or out of WAT.

macro_rules! components {
    ($($(#[$doc:meta])* $name:ident = $file:literal),+ $(,)?) => {
        $($(#[$doc])* pub static $name: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/", $file, ".wasm"));)+

        /// All of them, by file name.
        pub static ALL: &[(&str, &[u8])] = &[$(($file, $name)),+];
    };
}

components! {
    /// Allocates without end, and touches what it gets.
    ALLOCATE = "allocate",
    /// Finds its settings bad: `check` answers a fault.
    CHECK_FAULT = "check_fault",
    /// Delivers, and does nothing else.
    DELIVER = "deliver",
    /// Delivers, and reports what a guest sees: `{"settings": ..., "attempt": ...}` in the receipt's detail.
    ECHO = "echo",
    /// Calls the host a million times.
    FLOOD_CALLS = "flood_calls",
    /// Logs 1,000 lines of 10 KiB, then answers as if nothing were the matter.
    FLOOD_LOG = "flood_log",
    /// Answers with a fault that no host should show as it is: control characters, a code that poses as the host's own,
    /// 64 KiB of message. With the address `empty` both texts are empty.
    GARBAGE = "garbage",
    /// Sends a request with a body of 2 MiB.
    HTTP_HUGE = "http_huge",
    /// Sends twelve requests in one attempt; reports how many were answered, unless one was refused.
    HTTP_MANY = "http_many",
    /// Calls loopback by its IPv6-mapped address, on the port of `url`.
    HTTP_MAPPED = "http_mapped",
    /// Posts the notification's body to the address, else to `url`, with the setting `token` as the header `x-token`; the
    /// answer's body is the receipt's detail.
    HTTP_POST = "http_post",
    /// Calls the address, else `url`; for a receiver that redirects. Reports status and `Location` that it saw.
    HTTP_REDIRECT = "http_redirect",
    /// Calls a host that nobody granted.
    HTTP_UNGRANTED = "http_ungranted",
    /// Posts the notification's body as `http_post` does, by `wasi:http`, as often as the title says; the error, in WASI's
    /// words, or the answer's status and body are the receipt's detail.
    HTTP_WASI = "http_wasi",
    /// Answers with a receipt of 32 MiB.
    HUGE_RECEIPT = "huge_receipt",
    /// Takes handles of the host's without end.
    LEAK_HANDLES = "leak_handles",
    /// A channel whose manifest says that it is a router.
    LYING = "lying",
    /// Panics with a message on several lines.
    PANICS = "panics",
    /// Looks at environment, arguments, files and clock through the standard library, and reports what it saw.
    PEEK = "peek",
    /// Opens sockets and resolves names through the standard library, past `http`, and reports what worked. The address is
    /// where it connects to.
    PEEK_SOCKETS = "peek_sockets",
    /// Reports what its standard library says of time and chance.
    PROBE = "probe",
    /// Recurses without end, with frames that live on the host's stack alone.
    RECURSE = "recurse",
    /// A router that answers a fault.
    ROUTER_FAULT = "router_fault",
    /// A router whose plan can't be carried out: 100,000 targets with the title `many`, otherwise channels and users that
    /// there are not.
    ROUTER_GARBAGE = "router_garbage",
    /// A router that puts clock and chance into its notes: the same call has to give the same notes.
    ROUTER_PROBE = "router_probe",
    /// A router that spins for ever.
    ROUTER_SPIN = "router_spin",
    /// Does what the address says: `transient`, `permanent`, `retry-after:MS`, or anything else to deliver.
    /// `transient:N` fails in the first N attempts, and delivers then.
    SCRIPTED = "scripted",
    /// Waits for an hour without using the processor.
    SLEEP = "sleep",
    /// Spins for ever, without a call to the host.
    SPIN = "spin",
    /// Writes to its standard output and error: whole lines, a line of 10 KiB, a line without an end.
    STDIO = "stdio",
    /// Traps in `check`; `send` is well-behaved.
    TRAP_CHECK = "trap_check",
    /// Traps in `send`, without a word.
    TRAP_SEND = "trap_send",
    /// Traps while it is instantiated.
    TRAP_START = "trap_start",
    /// Tells how often its instance was called. The address says what else it does: `trap`, `sleep`, `fault`, `print`, or
    /// `grow:MIB`.
    WARM = "warm",
}
