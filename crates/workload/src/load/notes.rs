//! What a reader of the report must know of how it was measured.

use super::{Pace, Plan};

/// One sentence for each thing.
pub(super) fn of(plan: &Plan, warm_up: u64, stopped: bool) -> Vec<String> {
    let mut notes = vec![match plan.pace {
        Pace::Open => "open loop: requests left when they were due, and latency counts from then".to_owned(),
        Pace::Closed { clients, .. } => format!(
            "closed loop: {clients} clients, each of which asked again when it had been answered; latency counts from \
             when a request was sent, so waiting that an open loop would show is not in it"
        ),
    }];
    if plan.slow_down != 1.0 {
        let factor = plan.slow_down;
        notes.push(format!(
            "slow-down {factor}: the trace was stretched and all measured times divided by {factor}"
        ));
    }
    if warm_up > 0 {
        notes.push(format!("{warm_up} requests of the warm-up were sent and are in no figure"));
    }
    if stopped {
        notes.push("the run was stopped before its end; what was in flight counts as unfinished".to_owned());
    }
    notes
}

/// That the system does not give as many connections as were wanted.
pub(super) fn narrowed(wanted: usize, given: usize) -> String {
    format!(
        "--max-in-flight {wanted} was lowered to {given}: the system gives no more open files (see ulimit -n)"
    )
}
