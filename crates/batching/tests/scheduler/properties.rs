//! Whatever is added, cancelled and computed, in whatever order.

use plimsoll_batching::step::{Admission, Limits};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::model::Model;

#[derive(Debug, Clone)]
enum Turn {
    Add {
        prompt: u32,
        output: u32,
        expected: Option<u32>,
        priority: u8,
        family: u32,
    },
    Cancel(Index),
    /// A step, in the middle of which one leaves.
    Step {
        early: bool,
        leaves: Option<Index>,
    },
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => (0_u32..120, 0_u32..60, prop::option::of(0_u32..80), 0_u8..3, 0_u32..4).prop_map(
            |(prompt, output, expected, priority, family)| Turn::Add { prompt, output, expected, priority, family }
        ),
        1 => any::<Index>().prop_map(Turn::Cancel),
        6 => (any::<bool>(), prop::option::weighted(0.2, any::<Index>()))
            .prop_map(|(early, leaves)| Turn::Step { early, leaves }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let numbers = (1_u32..64, prop_oneof![Just(u32::MAX), 1_u32..40], 1_u32..12, 1_u32..40, 1_u32..9);
    (numbers, any::<bool>()).prop_map(
        |((step_tokens, chunk_tokens, sequences, kv_blocks, block_tokens), peak)| {
            let admission = if peak { Admission::FuturePeak } else { Admission::WhileItFits };
            Limits { step_tokens, chunk_tokens, sequences, kv_blocks, block_tokens, admission }
        },
    )
}

fn play(model: &mut Model, turn: Turn) {
    match turn {
        Turn::Add { prompt, output, expected, priority, family } => {
            model.add(prompt, output, expected, priority, family);
        }
        Turn::Cancel(index) => leave(model, index),
        Turn::Step { early, leaves } => {
            model.check_plan();
            leaves.into_iter().for_each(|index| leave(model, index));
            model.done(early);
        }
    }
}

fn leave(model: &mut Model, index: Index) {
    if !model.order.is_empty() {
        let id = model.order[index.index(model.order.len())];
        model.cancel(id);
    }
}

proptest! {
    #[test]
    fn no_token_is_lost_or_doubled_no_budget_exceeded_and_everybody_ends(
        limits in limits(),
        turns in prop::collection::vec(turn(), 0..120),
    ) {
        let mut model = Model::new(limits);
        turns.into_iter().for_each(|turn| play(&mut model, turn));
        model.drain();
    }

    #[test]
    fn who_knows_how_long_answers_are_never_preempts(
        sizes in prop::collection::vec((1_u32..60, 1_u32..100, 0_u32..4), 1..60),
    ) {
        let mut model = Model::new(Limits {
            step_tokens: 4_096,
            chunk_tokens: u32::MAX,
            sequences: 64,
            kv_blocks: 40,
            block_tokens: 4,
            admission: Admission::FuturePeak,
        });
        for (prompt, output, family) in sizes {
            model.add(prompt, output, None, 0, family);
            model.step(false);
        }
        model.drain();
        prop_assert_eq!(model.preempted, 0);
    }
}
