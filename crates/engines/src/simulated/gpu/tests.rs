use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Wake;

use proptest::prelude::*;

use super::*;

/// One millisecond for each prompt token; ten for a step that decodes, and one more for each sequence in it.
const TIME: StepTime = StepTime {
    host: 0.0,
    alpha: 0.0,
    beta: 0.0,
    p: 1.0,
    d0: 10.0,
    d1: 1.0,
    d2: 0.0,
    e0: 0.0,
    e1: 1.0,
    e2: 0.0,
};

#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn at(millis: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(millis)
}

fn millis(instant: Instant) -> u64 {
    instant.as_nanos() / 1_000_000
}

fn gpu(sequences: u32) -> Gpu {
    Gpu::new(TIME, Limits { sequences, ..Limits::default() })
}

fn work(tokens: u32, output: u32) -> Work {
    Work { prompts: vec![Prompt { tokens, ..Prompt::default() }], outputs: vec![output] }
}

/// A prompt whose blocks others can find.
fn named(tokens: u32, name: u64, copies: usize) -> Work {
    let blocks = (0..u64::from(tokens / 16)).map(|block| name << 32 | block).collect();
    Work { prompts: vec![Prompt { tokens, blocks, hash: name }], outputs: vec![3; copies] }
}

fn enter(gpu: &Gpu, work: Work, arrives: u64) -> Ticket {
    gpu.enter(work, at(arrives)).unwrap()
}

fn receive(gpu: &Gpu, ticket: Ticket, now: Instant) -> Result<Received, Instant> {
    gpu.receive(ticket, (now, Duration::ZERO), &mut Written::new(), Waker::noop())
}

/// When it gets its tokens if it is polled when it was told to be, beginning at `now`, and nobody else is; and how
/// often it was polled for nothing.
fn follow(gpu: &Gpu, ticket: Ticket, mut now: Instant) -> (Vec<u64>, u32) {
    let (mut times, mut vain) = (Vec::new(), 0);
    loop {
        match receive(gpu, ticket, now) {
            Ok(received) => {
                times.push(millis(received.at));
                if received.over {
                    return (times, vain);
                }
            }
            Err(until) => {
                assert!(until > now, "nobody polls in a loop");
                (now, vain) = (until, vain + 1);
            }
        }
    }
}

fn times(gpu: &Gpu, ticket: Ticket) -> Vec<u64> {
    follow(gpu, ticket, Instant::ORIGIN).0
}

#[test]
fn a_prompt_that_is_read_slows_the_decodes_of_the_same_step() {
    let gpu = gpu(8);
    let a = enter(&gpu, work(100, 4), 0);
    let b = enter(&gpu, work(50, 1), 120);
    // The second prompt comes while the second step runs, and is read in the third.
    assert_eq!(times(&gpu, a), [100, 111, 122, 183]);
    assert_eq!(times(&gpu, b), [183]);
}

#[test]
fn whoever_polls_late_learns_when_each_token_was_written() {
    let (late, prompt) = (gpu(8), gpu(8));
    let enter = |gpu: &Gpu| [enter(gpu, work(100, 30), 5), enter(gpu, work(70, 10), 230)];
    let (tickets, others) = (enter(&late), enter(&prompt));
    for (ticket, other) in tickets.into_iter().zip(others) {
        assert_eq!(follow(&late, ticket, at(5_000)), (times(&prompt, other), 0));
    }
}

#[test]
fn tokens_are_on_the_way_for_as_long_as_the_network_takes() {
    let gpu = gpu(8);
    let (ticket, one_way) = (enter(&gpu, work(100, 2), 40), Duration::from_millis(40));
    let mut written = Written::new();
    let mut receive = |now: u64| gpu.receive(ticket, (at(now), one_way), &mut written, Waker::noop());
    assert_eq!(receive(0), Err(at(40)));
    assert_eq!(receive(80), Err(at(140)));
    // Both tokens have been written, and none is here.
    assert_eq!(receive(179), Err(at(140)));
    assert_eq!(receive(180).map(|received| (received.at, received.over)), Ok((at(140), false)));
    assert_eq!(receive(180), Err(at(151)));
    assert_eq!(receive(191).map(|received| (received.at, received.over)), Ok((at(151), true)));
    assert_eq!(written[..], [0, 0]);
}

#[test]
fn who_is_cancelled_frees_its_memory_wherever_it_is() {
    let gpu = gpu(1);
    let free = || gpu.lock().steps.scheduler().kv().free();
    let all = free();
    let runs = enter(&gpu, work(1_000, 100), 0);
    let (waits, comes) = (enter(&gpu, work(10, 1), 1), enter(&gpu, work(10, 1), 5_000));
    assert!(receive(&gpu, runs, at(1_200)).is_ok() && free() < all);
    gpu.leave(runs, at(1_200));
    assert_eq!(free(), all);
    gpu.leave(waits, at(1_200));
    gpu.leave(comes, at(1_200));
    assert!(receive(&gpu, enter(&gpu, work(10, 1), 6_000), at(6_010)).unwrap().over);
    assert_eq!(free(), all);
    assert_eq!(gpu.lock().steps.tally().prefilled, 1_010);
}

#[test]
fn prompts_that_begin_alike_share_and_it_is_told_how_much() {
    let gpu = gpu(8);
    let (a, b) = (enter(&gpu, named(64, 1, 1), 0), enter(&gpu, named(64, 1, 1), 0));
    let c = enter(&gpu, named(64, 2, 1), 0);
    let cached = |ticket| receive(&gpu, ticket, at(1_000)).unwrap().cached;
    // The last token of a prompt is always read, and with it its block.
    assert_eq!([a, b, c].map(cached), [0, 48, 0]);
}

#[test]
fn copies_of_a_prompt_share_and_count_once() {
    let gpu = gpu(8);
    for (cached, prefilled) in [(0, 64 + 2 * 16), (48, 96 + 3 * 16)] {
        let ticket = enter(&gpu, named(64, 1, 3), 0);
        let mut written = Written::new();
        while !gpu.receive(ticket, (at(5_000), Duration::ZERO), &mut written, Waker::noop()).unwrap().over {}
        written.sort_unstable();
        assert_eq!(written[..], [0, 0, 0, 1, 1, 1, 2, 2, 2]);
        assert_eq!(receive(&gpu, ticket, at(5_000)).unwrap().cached, cached);
        assert_eq!(gpu.lock().steps.tally().prefilled, prefilled);
    }
}

#[test]
fn texts_of_one_request_are_read_in_one_step() {
    let gpu = gpu(8);
    let prompts = [30, 20].map(|tokens| Prompt { tokens, ..Prompt::default() });
    let ticket = enter(&gpu, Work { prompts: prompts.to_vec(), outputs: vec![0; 2] }, 0);
    assert_eq!(times(&gpu, ticket), [50]);
}

#[test]
fn beyond_the_limit_requests_wait_in_order() {
    let gpu = gpu(2);
    let tickets = [2, 3, 1, 1].map(|output| enter(&gpu, work(10, output), 0));
    // The first step has begun when the second request comes.
    let expected = [vec![10, 31], vec![31, 52, 73], vec![52], vec![73]];
    assert_eq!(tickets.map(|ticket| times(&gpu, ticket)), expected);
}

#[test]
fn one_who_waits_long_is_served_although_nobody_else_polls_and_wakes_seldom() {
    let gpu = gpu(1);
    enter(&gpu, work(10, 1_000), 0);
    let waits = enter(&gpu, work(10, 3), 10);
    let (times, vain) = follow(&gpu, waits, at(10));
    assert_eq!(times, [11_009, 11_020, 11_031]);
    assert!(vain < 100, "{vain} of 1,003 steps");
}

#[test]
fn whoever_polls_wakes_those_for_whom_something_was_written() {
    let gpu = gpu(2);
    let (short, long) = (enter(&gpu, work(10, 100), 0), enter(&gpu, work(10, 1_000), 0));
    let waits = enter(&gpu, work(10, 1), 0);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let poll = |now| gpu.receive(waits, (at(now), Duration::ZERO), &mut Written::new(), &waker);
    assert!(poll(1_190).is_err_and(|until| until > at(1_260)));
    assert!(receive(&gpu, long, at(1_200)).is_ok());
    assert_eq!(woken.0.load(Relaxed), 0, "nothing was written for it yet");
    assert!(receive(&gpu, long, at(1_260)).is_ok());
    assert_eq!(woken.0.load(Relaxed), 1);
    assert!(poll(1_260).is_ok_and(|received| received.over));
    assert!(receive(&gpu, short, at(1_260)).is_ok());
}

#[test]
fn whoever_leaves_wakes_the_first_in_line() {
    let gpu = gpu(1);
    let runs = enter(&gpu, work(10, 10_000), 0);
    let waiting = [1, 2].map(|arrives| enter(&gpu, work(10, 1), arrives));
    let woken = [(); 2].map(|()| Arc::new(Woken::default()));
    for (ticket, woken) in waiting.into_iter().zip(&woken) {
        let waker = Waker::from(Arc::clone(woken));
        let until = gpu.receive(ticket, (at(16_000), Duration::ZERO), &mut Written::new(), &waker);
        assert!(until.unwrap_err() >= at(16_900));
    }
    gpu.leave(runs, at(16_000));
    assert_eq!(woken.each_ref().map(|woken| woken.0.load(Relaxed)), [1, 0]);
    // It sees the step to its end that was under way, and is read in the next.
    let (times, vain) = follow(&gpu, waiting[0], at(16_000));
    assert!(times[0] <= 16_021 && vain == 2, "{times:?} {vain}");
}

#[test]
fn what_would_not_fit_even_alone_is_refused_at_once() {
    let gpu = Gpu::new(TIME, Limits { kv_blocks: 4, ..Limits::default() });
    assert_eq!(
        gpu.enter(work(60, 6), at(0)).map_err(|refusal| refusal.to_string()),
        Err("prompt and answer may need memory for 65 tokens, and there is room for 64".into())
    );
    assert!(gpu.enter(work(60, 5), at(0)).is_ok());
}

proptest! {
    #[test]
    fn everybody_gets_all_that_was_asked_for_and_nothing_is_left_behind(
        requests in prop::collection::vec((0_u64..400, 1_u32..90, prop::collection::vec(0_u32..40, 1..4), 0_u64..5, any::<bool>()), 1..30),
        kv_blocks in 9_u32..40,
        sequences in 1_u32..6,
    ) {
        let limits = Limits { kv_blocks, sequences, admission: plimsoll_batching::step::Admission::WhileItFits, ..Limits::default() };
        let gpu = Gpu::new(TIME, limits);
        let mut tickets = Vec::new();
        for (arrives, tokens, outputs, name, leaves) in requests {
            let work = Work { outputs: outputs.clone(), ..named(tokens, name, 1) };
            tickets.push((enter(&gpu, work, arrives), outputs, leaves));
        }
        for (ticket, _, _) in tickets.iter().filter(|(_, _, leaves)| *leaves) {
            gpu.leave(*ticket, at(300));
        }
        for (ticket, outputs, _) in tickets.iter().filter(|(_, _, leaves)| !*leaves) {
            let (mut now, mut written) = (at(300), Written::new());
            loop {
                match gpu.receive(*ticket, (now, Duration::ZERO), &mut written, Waker::noop()) {
                    Ok(received) if received.over => break,
                    Ok(_) => {}
                    Err(until) => now = until,
                }
            }
            for (index, output) in (0..).zip(outputs) {
                let count = written.iter().filter(|other| **other == index).count();
                prop_assert_eq!(count as u32, (*output).max(1));
            }
            gpu.leave(*ticket, now);
        }
        let state = gpu.up_to_date(at(1_000_000));
        prop_assert_eq!(state.steps.ends(), None);
        prop_assert_eq!(state.steps.scheduler().kv().free(), kv_blocks);
    }
}
