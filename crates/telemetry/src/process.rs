//! Figures of the process itself, read from `/proc` when somebody asks. Elsewhere than on Linux they are left out.

use std::fs;

use crate::catalog;

/// Sets the process gauges.
pub(crate) fn observe() {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return };
    // The command's name, the second field, may hold spaces and brackets: count from its end.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let field =
        |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let (ticks, page) = (sysconf(libc::_SC_CLK_TCK), sysconf(libc::_SC_PAGESIZE));
    catalog::PROCESS_CPU.gauge(&[]).set((field(14) + field(15)) / ticks);
    catalog::PROCESS_MEMORY.gauge(&[]).set(field(24) * page);
    catalog::PROCESS_START.gauge(&[]).set(boot_time() + field(22) / ticks);
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        catalog::PROCESS_FDS.gauge(&[]).set(open.count() as f64);
    }
    if let Some(limit) = open_files_limit() {
        catalog::PROCESS_MAX_FDS.gauge(&[]).set(limit);
    }
}

fn boot_time() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0.0)
}

fn open_files_limit() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[expect(unsafe_code, reason = "sysconf takes a number and gives a number")]
fn sysconf(name: libc::c_int) -> f64 {
    // SAFETY: no pointer is passed, and every name is valid input.
    (unsafe { libc::sysconf(name) }) as f64
}
