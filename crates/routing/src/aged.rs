use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use plimsoll_types::Instant;

/// A number and when it was learned, in one atomic: a reader never sees half of an update.
#[derive(Debug, Default)]
pub(crate) struct Aged(AtomicU64);

impl Aged {
    /// The number and its age in seconds; `None` before the first.
    pub(crate) fn read(&self, now: Instant) -> Option<(f32, f32)> {
        let packed = self.0.load(Relaxed);
        (packed != 0).then(|| unpack(packed, now))
    }

    /// Puts what `next` makes of the number and its age in its place.
    pub(crate) fn update(&self, now: Instant, next: impl Fn(Option<(f32, f32)>) -> f32) {
        let mut seen = self.0.load(Relaxed);
        loop {
            let value = next((seen != 0).then(|| unpack(seen, now)));
            let packed = u64::from(value.to_bits()) << 32 | u64::from(seconds(now).to_bits()) | 1;
            match self.0.compare_exchange_weak(seen, packed, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(changed) => seen = changed,
            }
        }
    }

    /// Whether there is a number.
    pub(crate) fn is_known(&self) -> bool {
        self.0.load(Relaxed) != 0
    }
}

fn unpack(packed: u64, now: Instant) -> (f32, f32) {
    let at = f32::from_bits(packed as u32);
    (f32::from_bits((packed >> 32) as u32), (seconds(now) - at).max(0.0))
}

fn seconds(at: Instant) -> f32 {
    // Modulo eleven days: f32 alone would lose milliseconds after some of them.
    (at.as_nanos() / 1_000_000 % 1_000_000_000) as f32 / 1_000.0
}
