//! One thread of a run: a runtime, connections of its own and every so-manieth request.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_engines::openai::Backend;
use plimsoll_types::{Clock, Instant, TokioClock};
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::ask::Requests;
use super::clock::FineClock;
use super::flight::Core;
use super::generator::Generator;
use super::host;
use super::log::Log;
use super::tally::Tally;
use super::timeline::Timeline;
use super::{Pace, Plan};
use crate::trace::{Arrival, Trace};

/// What all threads of a run are given.
#[derive(Clone)]
pub(super) struct Orders {
    pub(super) plan: Arc<Plan>,
    pub(super) backend: Arc<Backend>,
    pub(super) clock: TokioClock,
    pub(super) timeline: Timeline,
    pub(super) log: Arc<Log>,
    /// Becomes a moment when nothing more shall be sent.
    pub(super) stop: watch::Receiver<Option<Instant>>,
}

/// Sends the share of thread `index`. What is in flight when the run is stopped ends unfinished. Gives the share of its
/// core that the thread used while it sent.
pub(super) fn work(orders: Orders, index: usize, tally: Arc<Tally>) -> io::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let busy = Rc::new(Cell::new(0.0));
    let measured = Rc::clone(&busy);
    LocalSet::new().block_on(&runtime, async move {
        let mut stop = orders.stop.clone();
        let sending = send(orders, index, tally, &measured);
        tokio::select! {
            biased;
            _ = stop.wait_for(Option::is_some) => {}
            () = sending => {}
        }
    });
    Ok(busy.get())
}

async fn send(orders: Orders, index: usize, tally: Arc<Tally>, busy: &Cell<f64>) {
    let Orders { plan, clock, timeline, .. } = &orders;
    let fine: Arc<dyn Clock> = FineClock::start(*clock);
    let core = Core {
        engine: orders.backend.engine(&fine),
        clock: Arc::clone(&fine),
        keys: plan.target.keys.clone(),
        timeout: timeline.stretched(plan.timeout),
        log: Arc::clone(&orders.log),
        tally,
    };
    let requests = Requests::new(&plan.asking, &plan.trace, &plan.target.keys);
    let ask = Box::new(move |number, arrival: &Arrival| requests.request(number, arrival));
    let generator = Rc::new(Generator::new(core, *timeline, ask));
    let begun = (fine.now(), host::cpu());
    let measure = || busy.set(share(begun.1, fine.now() - begun.0));
    match plan.pace {
        Pace::Open => {
            let room = part(plan.max_in_flight, plan.threads, index);
            generator.open(arrivals(&plan.trace, index, plan.threads, false), room.max(1), measure).await;
        }
        Pace::Closed { clients, until } => {
            let clients = part(clients, plan.threads, index);
            let arrivals = arrivals(&plan.trace, index, plan.threads, until.is_some());
            generator.closed(arrivals, clients, until.map(|until| until + plan.warm_up)).await;
            measure();
        }
    }
}

/// The share of its core that this thread used since it had used `before`, `wall` ago.
fn share(before: Option<Duration>, wall: Duration) -> f64 {
    let used = host::cpu().zip(before).map(|(now, before)| now.saturating_sub(before));
    host::busy(used.unwrap_or_default(), wall)
}

/// The part of `whole` that falls to thread `index`.
fn part(whole: usize, threads: usize, index: usize) -> usize {
    whole / threads + usize::from(index < whole % threads)
}

/// Every so-manieth arrival with its number in the run, round and round if `endless`.
fn arrivals(
    trace: &Arc<Trace>,
    index: usize,
    threads: usize,
    endless: bool,
) -> impl Iterator<Item = (u32, Arrival)> + 'static {
    let trace = Arc::clone(trace);
    let end = if endless { u32::MAX as usize } else { trace.arrivals.len() };
    (index..end).step_by(threads).map(move |number| {
        let number_in_run = u32::try_from(number).expect("a run has fewer requests than that");
        (number_in_run, trace.arrivals[number % trace.arrivals.len()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(count: u64) -> Arc<Trace> {
        let arrival = |number| Arrival {
            at: Duration::from_secs(number),
            prompt_tokens: 1,
            output_tokens: 1,
            first_block: 0,
            block_count: 0,
            model: 0,
            tenant: 0,
            region: 0,
            answer: crate::trace::Answer::Stream,
        };
        Arc::new(Trace { arrivals: (0..count).map(arrival).collect(), ..Trace::default() })
    }

    #[test]
    fn threads_share_the_arrivals_and_leave_none_out() {
        let numbers = |index| arrivals(&trace(7), index, 3, false).map(|one| one.0).collect::<Vec<_>>();
        assert_eq!([numbers(0), numbers(1), numbers(2)], [vec![0, 3, 6], vec![1, 4], vec![2, 5]]);
        assert_eq!((0..3).map(|index| part(7, 3, index)).sum::<usize>(), 7);
    }

    #[test]
    fn going_round_the_trace_counts_on() {
        let round: Vec<_> = arrivals(&trace(2), 1, 3, true).take(3).collect();
        let seen: Vec<_> = round.iter().map(|(number, arrival)| (*number, arrival.at.as_secs())).collect();
        assert_eq!(seen, [(1, 1), (4, 0), (7, 1)]);
    }
}
