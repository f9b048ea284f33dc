//! What this machine gives the generator: file descriptors and processor time.

use std::time::Duration;

#[cfg(unix)]
mod unix {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use rustix::time::{ClockId, clock_gettime};

    /// Processor time of this thread.
    pub(in crate::load) fn cpu() -> Option<std::time::Duration> {
        clock_gettime(ClockId::ThreadCPUTime).try_into().ok()
    }

    /// Raises the limit on open files as far as it goes; what it is then, if there is one.
    pub(super) fn raise() -> Option<u64> {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => raised.current,
            Err(_) => limit.current,
        }
    }
}

#[cfg(unix)]
pub(super) use unix::cpu;

/// Not known here.
#[cfg(not(unix))]
pub(super) fn cpu() -> Option<Duration> {
    None
}

/// Descriptors that are not connections: files, timers, the poller of each thread.
const OTHERS: u64 = 128;

/// How many connections may be open at once, out of `wanted`. Raises the limit on open files first.
pub(super) fn connections(wanted: usize) -> usize {
    #[cfg(unix)]
    let limit = unix::raise();
    #[cfg(not(unix))]
    let limit = None;
    fit(wanted, limit)
}

fn fit(wanted: usize, limit: Option<u64>) -> usize {
    let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(OTHERS).max(1));
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

/// The share of `wall` in which a thread that used `cpu` computed.
pub(super) fn busy(cpu: Duration, wall: Duration) -> f64 {
    if wall.is_zero() { 0.0 } else { cpu.as_secs_f64() / wall.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_limit_on_open_files() {
        assert_eq!(fit(500, None), 500);
        assert_eq!(fit(500, Some(1_024)), 500);
        assert_eq!(fit(5_000, Some(1_024)), 896);
        assert_eq!(fit(5_000, Some(10)), 1);
    }
}
