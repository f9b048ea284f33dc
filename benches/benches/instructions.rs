//! How many instructions does a hot path take? `instructions.py` asks, under callgrind:
//!
//! ```text
//!   instructions NAME TIMES      runs a subject so many times; all other costs do not depend on TIMES
//!   instructions --list          names them
//! ```

use plimsoll_batching::step::Admission;
use plimsoll_benches::subject::{Batch, body, chat_event, json_skip, pick, prefix_hash};

type Subject = (&'static str, fn() -> Box<dyn FnMut()>);

const SUBJECTS: [Subject; 6] = [
    ("route_pick/power_of_two/32", || Box::new(pick("power_of_two", 32))),
    ("event_read/chat", || Box::new(chat_event())),
    ("step_plan/while_it_fits/256", || step(Admission::WhileItFits)),
    ("step_plan/future_peak/256", || step(Admission::FuturePeak)),
    ("json_skip/32 KiB", || Box::new(json_skip(body(32 << 10)))),
    ("prefix_hash/32 KiB", || Box::new(prefix_hash(32 << 10))),
];

fn step(admission: Admission) -> Box<dyn FnMut()> {
    let mut batch = Batch::new(256, admission);
    Box::new(move || batch.step())
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (first, times) = (arguments.next().unwrap_or_default(), arguments.next());
    let Some(times) = times.and_then(|times| times.parse().ok()) else {
        // Also what `cargo bench` sees, which has nothing to count with.
        SUBJECTS.iter().for_each(|(name, _)| println!("{name}"));
        return;
    };
    let (_, make) = SUBJECTS.iter().find(|(name, _)| *name == first).expect("a name of the list");
    let mut subject = make();
    (0_u32..times).for_each(|_| subject());
}
