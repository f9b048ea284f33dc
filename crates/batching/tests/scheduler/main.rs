//! The step scheduler as an executor sees it.

#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod model;
mod properties;

use model::Model;
use plimsoll_batching::step::{Admission, Limits, Next, Plan, Refusal, Scheduler, Sequence, SequenceId};
use plimsoll_types::Chunked;

const LIMITS: Limits = Limits {
    step_tokens: 100,
    chunk_tokens: u32::MAX,
    sequences: 8,
    kv_blocks: 100,
    block_tokens: 10,
    admission: Admission::FuturePeak,
};

fn sequence(prompt_tokens: u32, max_output: u32) -> Sequence<'static> {
    Sequence { prompt_tokens, hashes: &[], max_output, expected_output: None, priority: 0 }
}

fn add(scheduler: &mut Scheduler, prompt_tokens: u32, max_output: u32) -> SequenceId {
    scheduler.add(&sequence(prompt_tokens, max_output)).unwrap()
}

fn step(scheduler: &mut Scheduler) -> Vec<(SequenceId, u32, bool)> {
    let mut wrote = Vec::new();
    scheduler.plan();
    scheduler.done(|one| {
        wrote.push((one.id, one.output, one.last));
        Next::Continue
    });
    wrote
}

fn admitted(plan: &Plan) -> Vec<(SequenceId, u32)> {
    plan.admitted().iter().map(|one| (one.id, one.cached)).collect()
}

#[test]
fn a_prompt_is_read_and_then_each_step_writes_a_token() {
    let mut scheduler = Scheduler::new(LIMITS);
    let id = add(&mut scheduler, 15, 3);
    let plan = scheduler.plan();
    assert_eq!(
        (plan.chunks(), plan.decodes(), plan.tokens()),
        (&[Chunked { tokens: 15, context: 0 }][..], &[][..], 15)
    );
    assert_eq!(step(&mut scheduler), [(id, 1, false)]);
    let plan = scheduler.plan();
    assert_eq!((plan.chunks(), plan.decodes(), plan.context()), (&[][..], &[id][..], 16));
    assert_eq!(step(&mut scheduler), [(id, 2, false)]);
    assert_eq!(step(&mut scheduler), [(id, 3, true)]);
    assert!(scheduler.plan().is_empty() && scheduler.kv().free() == 100);
}

#[test]
fn decodes_go_first_and_the_rest_of_the_budget_reads_prompts_in_chunks() {
    let mut scheduler = Scheduler::new(LIMITS);
    let one = add(&mut scheduler, 10, 50);
    step(&mut scheduler);
    let (two, three) = (add(&mut scheduler, 150, 5), add(&mut scheduler, 80, 5));
    let plan = scheduler.plan();
    assert_eq!((plan.decodes(), plan.prefills(), plan.tokens()), (&[one][..], &[two][..], 100));
    assert_eq!(plan.chunks(), [Chunked { tokens: 99, context: 0 }]);
    step(&mut scheduler);
    let plan = scheduler.plan();
    assert_eq!(plan.prefills(), [two, three]);
    assert_eq!(plan.chunks(), [Chunked { tokens: 51, context: 99 }, Chunked { tokens: 48, context: 0 }]);
    assert_eq!(step(&mut scheduler), [(one, 3, false), (two, 1, false)]);
}

#[test]
fn the_higher_priority_is_let_in_first_and_equals_in_the_order_of_their_arrival() {
    let mut scheduler = Scheduler::new(Limits { sequences: 1, ..LIMITS });
    let mut ids = Vec::new();
    for priority in [1, 0, 1, 9] {
        ids.push(scheduler.add(&Sequence { priority, ..sequence(5, 1) }).unwrap());
    }
    let order: Vec<SequenceId> = (0..4).map(|_| step(&mut scheduler)[0].0).collect();
    assert_eq!(order, [ids[3], ids[0], ids[2], ids[1]]);
}

#[test]
fn what_begins_alike_is_computed_once() {
    let mut scheduler = Scheduler::new(LIMITS);
    let hashes = [1, 2, 3];
    let alike = Sequence { hashes: &hashes, ..sequence(35, 2) };
    let (one, two) = (scheduler.add(&alike).unwrap(), scheduler.add(&alike).unwrap());
    let other = add(&mut scheduler, 20, 2);
    // The second waits for what the first is reading, and others pass it meanwhile.
    assert_eq!(admitted(scheduler.plan()), [(one, 0), (other, 0)]);
    step(&mut scheduler);
    assert_eq!(admitted(scheduler.plan()), [(two, 30)]);
    assert_eq!(scheduler.plan().chunks(), [Chunked { tokens: 5, context: 30 }]);
    assert_eq!((scheduler.kv().shared(), scheduler.blocks(two).unwrap()[..3].len()), (3, 3));
    while !step(&mut scheduler).is_empty() {}
    assert_eq!((scheduler.kv().free(), scheduler.kv().idle()), (100, 3));
    // The last token is computed even if all is known: what follows it is the question.
    let whole = scheduler.add(&Sequence { hashes: &hashes, ..sequence(30, 2) }).unwrap();
    assert_eq!(admitted(scheduler.plan()), [(whole, 20)]);
}

#[test]
fn a_block_that_an_answer_fills_is_not_taken_for_one_of_a_prompt() {
    let mut scheduler = Scheduler::new(LIMITS);
    let hashes = [1, 2];
    scheduler.add(&Sequence { hashes: &hashes, ..sequence(15, 10) }).unwrap();
    while !step(&mut scheduler).is_empty() {}
    let id = scheduler.add(&Sequence { hashes: &hashes, ..sequence(25, 1) }).unwrap();
    assert_eq!(admitted(scheduler.plan()), [(id, 10)]);
}

#[test]
fn of_a_prompt_that_is_over_the_end_is_forgotten_before_the_beginning() {
    let mut scheduler = Scheduler::new(LIMITS);
    let hashes = [1, 2, 3];
    scheduler.add(&Sequence { hashes: &hashes, ..sequence(30, 1) }).unwrap();
    step(&mut scheduler);
    // It takes all blocks but two.
    add(&mut scheduler, 980, 1);
    while scheduler.running() + scheduler.waiting() > 0 {
        step(&mut scheduler);
    }
    let id = scheduler.add(&Sequence { hashes: &hashes, ..sequence(35, 1) }).unwrap();
    assert_eq!(admitted(scheduler.plan()), [(id, 20)]);
}

#[test]
fn a_prompt_without_an_answer_is_over_when_it_has_been_read() {
    let mut scheduler = Scheduler::new(LIMITS);
    let id = add(&mut scheduler, 120, 0);
    assert_eq!(step(&mut scheduler), []);
    assert_eq!(step(&mut scheduler), [(id, 0, true)]);
    assert!(scheduler.plan().is_empty());
}

#[test]
fn what_could_never_be_computed_is_refused() {
    let mut scheduler = Scheduler::new(LIMITS);
    assert_eq!(scheduler.add(&sequence(0, 5)), Err(Refusal::Empty));
    assert_eq!(scheduler.add(&sequence(500, 502)), Err(Refusal::TooLong { tokens: 1_001, room: 1_000 }));
    // The last token written is never read, and needs no memory.
    assert!(scheduler.add(&sequence(500, 501)).is_ok());
}

/// Two sequences that fit now, and not when they have grown.
fn two_that_grow(admission: Admission) -> (Scheduler, SequenceId, SequenceId) {
    let mut scheduler = Scheduler::new(Limits { kv_blocks: 10, admission, ..LIMITS });
    let (one, two) = (add(&mut scheduler, 30, 50), add(&mut scheduler, 30, 50));
    step(&mut scheduler);
    (scheduler, one, two)
}

#[test]
fn by_the_future_peak_nobody_is_let_in_who_would_have_to_go_again() {
    let (mut scheduler, _, two) = two_that_grow(Admission::FuturePeak);
    assert_eq!((scheduler.running(), scheduler.waiting()), (1, 1));
    let mut preempted = 0;
    let begun = (1..200).find(|_| {
        let plan = scheduler.plan();
        preempted += plan.preempted().len();
        let begun = plan.admitted().iter().any(|one| one.id == two);
        step(&mut scheduler);
        begun
    });
    // Alone the second needs 79 tokens: it begins before the first, which holds up to 79, has ended.
    assert_eq!((begun, preempted), (Some(50), 0));
}

#[test]
fn who_lets_in_too_many_preempts_the_latest_whose_answer_then_goes_on_where_it_was() {
    let (mut scheduler, one, two) = two_that_grow(Admission::WhileItFits);
    assert_eq!(scheduler.running(), 2);
    let (mut outputs, mut preempted) = ([1, 1], Vec::new());
    for _ in 0..200 {
        preempted.extend_from_slice(scheduler.plan().preempted());
        for (id, output, _) in step(&mut scheduler) {
            let count = &mut outputs[usize::from(id == two)];
            assert_eq!(output, *count + 1);
            *count = output;
        }
    }
    assert_eq!((preempted, outputs, scheduler.kv().free()), (vec![two], [50, 50], 10));
    assert!(!scheduler.cancel(one));
}

#[test]
fn one_cancelled_while_a_step_is_under_way_gives_its_memory_back_and_is_not_heard_of_again() {
    let mut scheduler = Scheduler::new(LIMITS);
    let hashes = [1, 2];
    let one = scheduler.add(&Sequence { hashes: &hashes, ..sequence(25, 5) }).unwrap();
    scheduler.plan();
    assert!(scheduler.cancel(one) && !scheduler.cancel(one));
    let two = add(&mut scheduler, 5, 5);
    assert_eq!((step(&mut scheduler), scheduler.kv().free(), scheduler.kv().idle()), (vec![], 100, 0));
    assert_eq!(step(&mut scheduler), [(two, 1, false)]);
}

#[test]
fn a_sequence_that_ends_early_makes_room_at_once() {
    let mut scheduler = Scheduler::new(Limits { sequences: 1, ..LIMITS });
    let (one, two) = (add(&mut scheduler, 5, 50), add(&mut scheduler, 5, 50));
    scheduler.plan();
    scheduler.done(|wrote| {
        assert_eq!(wrote.id, one);
        Next::End
    });
    assert_eq!(scheduler.plan().prefills(), [two]);
}

#[test]
fn a_long_trace_with_little_memory_loses_nothing() {
    for admission in [Admission::FuturePeak, Admission::WhileItFits] {
        let limits = Limits { kv_blocks: 60, admission, ..LIMITS };
        let mut model = Model::new(limits);
        for turn in 0..500_u32 {
            model.add(1 + turn * 37 % 170, turn * 13 % 90, None, (turn % 3) as u8, turn % 7);
            model.step(turn.is_multiple_of(5));
        }
        model.drain();
    }
}
