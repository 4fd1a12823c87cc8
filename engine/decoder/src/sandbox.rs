//! Takes everything from this process but computing and two pipes: resource limits, no new privileges, and on Linux a
//! system-call filter that kills at anything else. Irreversible.

use crate::wire::Limits;
use rustix::process::{Resource, Rlimit, setrlimit};

/// Confines the calling process. Call it while the process has one thread, before it reads anything untrusted.
pub(crate) fn confine(limits: Limits) -> std::io::Result<()> {
    let set = |resource, value| {
        setrlimit(
            resource,
            Rlimit {
                current: Some(value),
                maximum: Some(value),
            },
        )
    };
    set(Resource::Core, 0)?;
    set(Resource::Fsize, 0)?;
    set(Resource::Nofile, 0)?;
    set(Resource::Cpu, limits.cpu_seconds)?;
    set(Resource::As, limits.memory_bytes)?;
    #[cfg(target_os = "linux")]
    linux::confine()?;
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
        apply_filter_all_threads,
    };
    use std::collections::BTreeMap;
    use std::io::{Error, Result};

    /// `PROT_EXEC`: no memory may become code.
    const EXECUTABLE: u64 = libc::PROT_EXEC as u64;

    /// Memory, time, waking up and ending: what computing needs and no other process notices.
    const ALLOWED: &[i64] = &[
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sigaltstack,
        libc::SYS_clock_gettime,
        libc::SYS_sched_yield,
        // Seeds of hash tables.
        libc::SYS_getrandom,
    ];

    pub(super) fn confine() -> Result<()> {
        // Other processes of this user may not look into this one's memory.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
        rustix::thread::set_no_new_privs(true)?;
        apply_filter_all_threads(&filter()?).map_err(Error::other)
    }

    fn filter() -> Result<BpfProgram> {
        let architecture = std::env::consts::ARCH.try_into().map_err(Error::other)?;
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        let when = |argument, operator, value| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
                .and_then(|condition| SeccompRule::new(vec![condition]))
                .map_err(Error::other)
        };
        rules.insert(libc::SYS_read, vec![when(0, SeccompCmpOp::Eq, 0)?]);
        rules.insert(libc::SYS_write, vec![when(0, SeccompCmpOp::Eq, 1)?]);
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            rules.insert(call, vec![when(2, SeccompCmpOp::MaskedEq(EXECUTABLE), 0)?]);
        }
        SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)
            .and_then(TryInto::try_into)
            .map_err(Error::other)
    }
}
