use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use plimsoll_types::Instant;

/// A number and when it was learned, in one atomic: a reader never sees half of an update.
#[derive(Debug, Default)]
pub(crate) struct Aged(AtomicU64);

impl Aged {
    /// The number and its age in seconds; `None` before the first.
    #[inline]
    pub(crate) fn read(&self, now: Instant) -> Option<(f32, f32)> {
        let packed = self.0.load(Relaxed);
        (packed != 0).then(|| unpack(packed, now))
    }

    /// Puts what `next` makes of the number and its age in its place.
    pub(crate) fn update(&self, now: Instant, next: impl Fn(Option<(f32, f32)>) -> f32) {
        let mut seen = self.0.load(Relaxed);
        loop {
            let value = next((seen != 0).then(|| unpack(seen, now)));
            let packed = u64::from(value.to_bits()) << 32 | u64::from(tick(now)) | 1;
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

/// What is left after `age` of what fades within about `seconds`, from 1 down to 0: e^(-age / seconds) to within 0.04, and
/// nothing after eight times that, for a fraction of its price, which a pick would pay for each candidate.
#[inline]
pub(crate) fn kept(age: f32, seconds: f32) -> f32 {
    let left = (1.0 - age * (0.125 / seconds)).max(0.0);
    let fourth = (left * left) * (left * left);
    fourth * fourth
}

/// Seconds of a [`tick`].
const TICK: f32 = (1 << 20) as f32 * 1e-9;

/// About milliseconds, modulo 52 days.
fn tick(at: Instant) -> u32 {
    (at.as_nanos() >> 20) as u32
}

#[inline]
fn unpack(packed: u64, now: Instant) -> (f32, f32) {
    // Who reads may be a little behind who wrote.
    let age = (tick(now).wrapping_sub(packed as u32) as i32).max(0);
    (f32::from_bits((packed >> 32) as u32), age as f32 * TICK)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_fades_is_about_what_an_exponential_leaves() {
        for tenths in 0..200_u16 {
            let age = f32::from(tenths) * 0.5;
            assert!((kept(age, 10.0) - (-age / 10.0).exp()).abs() < 0.04, "{age}");
        }
    }

    #[test]
    fn an_age_is_right_to_two_milliseconds_whatever_day_it_is() {
        for day in [0, 1, 40, 52, 53, 500] {
            let then = Instant::ORIGIN + Duration::from_secs(day * 86_400 + 5);
            let aged = Aged::default();
            aged.update(then, |_| 7.0);
            let (value, age) = aged.read(then + Duration::from_millis(1_500)).unwrap();
            assert!(value == 7.0 && (age - 1.5).abs() < 0.002 + TICK, "{day} {age}");
            assert_eq!(aged.read(then).unwrap().1, 0.0);
        }
    }
}
