//! What `/proc` says of a process: processor time, bytes written, largest memory.

use std::fs;

/// Linux reports processor time in hundredths of a second (`USER_HZ`), whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// A reading; differences of two readings are what a run cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Reading {
    /// User and system time of all threads, seconds.
    pub(crate) cpu_seconds: f64,
    /// Bytes that were sent to the disk (`write_bytes`), 0 where the kernel does not tell.
    pub(crate) written_bytes: u64,
    /// Largest resident memory so far, bytes.
    pub(crate) peak_memory_bytes: u64,
}

impl Reading {
    /// Reads process `pid`; `None` when there is no such process.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        Some(Self {
            cpu_seconds: cpu_seconds(&stat)?,
            written_bytes: field(&io, "write_bytes:").unwrap_or(0),
            peak_memory_bytes: field(&status, "VmHWM:").unwrap_or(0) * 1024,
        })
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, counted behind the name in parentheses, which may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_an_odd_name() {
        let stat = "12 (a b) c) S 1 12 12 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(field("VmPeak:\t 9 kB\nVmHWM:\t  1234 kB\n", "VmHWM:"), Some(1234));
        assert_eq!(field("", "VmHWM:"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let reading = Reading::of(std::process::id()).unwrap();
        assert!(reading.peak_memory_bytes > 0);
        assert_eq!(Reading::of(u32::MAX), None);
    }
}
