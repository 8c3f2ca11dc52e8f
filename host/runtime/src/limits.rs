//! What one attempt may use, and who may say so: the operator sets ceilings, a channel's configuration and
//! the plugin's manifest can only go below them.

use std::time::Duration;

/// The limits of one attempt. The defaults are the design's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All linear memories and tables of the instance together, in bytes.
    pub memory_bytes: u64,
    /// Time that guest code runs, counted in ticks of 10 ms.
    pub cpu: Duration,
    /// Time around the whole call, waiting included.
    pub wall: Duration,
    /// HTTP requests and mails.
    pub requests: u32,
    /// Calls of any `fanfare:host` function.
    pub host_calls: u32,
    /// One request's or response's body, in bytes.
    pub body_bytes: u64,
    /// Data that one host call, or the result, may carry out of the guest, in bytes.
    pub hostcall_fuel: u64,
    /// Component handles, and entries of the resource table.
    pub handles: u32,
    /// Lines of log kept; later ones are counted and dropped.
    pub log_lines: u32,
    /// Longer lines of log are cut here, in bytes.
    pub log_line_bytes: u32,
}

const MIB: u64 = 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 * MIB,
            cpu: Duration::from_millis(500),
            wall: Duration::from_secs(15),
            requests: 8,
            host_calls: 256,
            body_bytes: MIB,
            hostcall_fuel: 8 * MIB,
            handles: 256,
            log_lines: 100,
            log_line_bytes: 4_096,
        }
    }
}

impl Limits {
    /// Each limit the lower of the two.
    #[must_use]
    pub fn lower_of(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            cpu: self.cpu.min(other.cpu),
            wall: self.wall.min(other.wall),
            requests: self.requests.min(other.requests),
            host_calls: self.host_calls.min(other.host_calls),
            body_bytes: self.body_bytes.min(other.body_bytes),
            hostcall_fuel: self.hostcall_fuel.min(other.hostcall_fuel),
            handles: self.handles.min(other.handles),
            log_lines: self.log_lines.min(other.log_lines),
            log_line_bytes: self.log_line_bytes.min(other.log_line_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_can_be_lowered_and_never_raised() {
        let ceilings = Limits::default();
        let asked = Limits { memory_bytes: 1, cpu: Duration::from_secs(9), ..ceilings };
        let granted = asked.lower_of(ceilings);
        assert_eq!(granted.memory_bytes, 1);
        assert_eq!(granted.cpu, Duration::from_millis(500));
    }
}
