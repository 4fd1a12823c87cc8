//! What `/proc` says of a process: processor time, bytes written, memory. And a watcher of memory while something runs.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Linux reports processor time in hundredths of a second (`USER_HZ`), whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;
const WATCH_EVERY: Duration = Duration::from_millis(20);
/// A server that uses less of one core over [`IDLE_WINDOW`] is idle.
const IDLE_SHARE: f64 = 0.03;
const IDLE_WINDOW: Duration = Duration::from_millis(1500);

/// A reading; differences of two readings are what a run cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Reading {
    /// User and system time of all threads, seconds.
    pub(crate) cpu_seconds: f64,
    /// Bytes that were sent to the disk (`write_bytes`), 0 where the kernel does not tell.
    pub(crate) written_bytes: u64,
    /// Bytes that came from the disk and not from the page cache (`read_bytes`), 0 where the kernel does not tell.
    pub(crate) read_bytes: u64,
    /// Resident memory, bytes.
    pub(crate) memory_bytes: u64,
}

impl Reading {
    /// Reads process `pid`; `None` when there is no such process.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        Some(Self {
            cpu_seconds: cpu_seconds(&stat)?,
            written_bytes: field(&io, "write_bytes:").unwrap_or(0),
            // The line `rchar:` counts what was read from anywhere; this one only what the disk gave.
            read_bytes: field(&io, "read_bytes:").unwrap_or(0),
            memory_bytes: memory_bytes(pid),
        })
    }
}

fn memory_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    field(&status, "VmRSS:").unwrap_or(0) * 1024
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

/// Runs `work` and returns what it returned and the largest resident memory of `pid` meanwhile, looked at every 20 ms.
pub(crate) fn watching_memory<T>(pid: Option<u32>, work: impl FnOnce() -> T) -> (T, Option<u64>) {
    let Some(pid) = pid else {
        return (work(), None);
    };
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(memory_bytes(pid)));
    let outcome = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(memory_bytes(pid), Ordering::Relaxed);
                thread::park_timeout(WATCH_EVERY);
            }
        });
        let outcome = work();
        done.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        outcome
    });
    (outcome, Some(peak.into_inner()))
}

/// Waits until none of the processes uses the processor, so that background work of one server is not held against the
/// next. Returns whether that came within `patience`.
pub(crate) fn wait_until_idle(pids: &[u32], patience: Duration) -> bool {
    let used = || -> f64 {
        pids.iter()
            .filter_map(|pid| Reading::of(*pid))
            .map(|reading| reading.cpu_seconds)
            .sum()
    };
    let began = Instant::now();
    let (mut since, mut last) = (began, used());
    while !pids.is_empty() {
        thread::sleep(Duration::from_millis(250));
        let now = used();
        if now - last > IDLE_SHARE * IDLE_WINDOW.as_secs_f64() {
            (since, last) = (Instant::now(), now);
        } else if since.elapsed() >= IDLE_WINDOW {
            break;
        }
        if began.elapsed() > patience {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_an_odd_name() {
        let stat = "12 (a b) c) S 1 12 12 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(field("VmPeak:\t 9 kB\nVmRSS:\t  1234 kB\n", "VmRSS:"), Some(1234));
        assert_eq!(field("", "VmRSS:"), None);
    }

    #[test]
    fn this_process_can_be_read_and_watched() {
        let reading = Reading::of(std::process::id()).unwrap();
        assert!(reading.memory_bytes > 0);
        assert_eq!(Reading::of(u32::MAX), None);
        let (outcome, peak) = watching_memory(Some(std::process::id()), || {
            let held = vec![1_u8; 64 << 20];
            thread::sleep(Duration::from_millis(60));
            std::hint::black_box(held).len()
        });
        assert_eq!(outcome, 64 << 20);
        assert!(peak.unwrap() >= 64 << 20);
        assert_eq!(watching_memory(None, || 1), (1, None));
    }

    #[test]
    fn a_busy_process_is_not_idle() {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            assert!(!wait_until_idle(&[std::process::id()], Duration::from_secs(2)));
            done.store(true, Ordering::Relaxed);
        });
        assert!(wait_until_idle(&[], Duration::from_secs(1)));
    }
}
