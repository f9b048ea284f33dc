//! Where a value lies on an axis and which values are written beside it.

use super::super::units::{count, digits, round_seconds, seconds, trimmed};

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Division {
    /// Evenly.
    Linear,
    /// Evenly, with the steps of a clock.
    Clock,
    /// By factors, with these steps in each power of ten.
    Log(&'static [f64]),
    /// By nines: as far from 90 % to 99 % as from there to 99.9 %, for the tail is what users complain about.
    Nines,
}

/// One axis of a plot.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Axis {
    division: Division,
    from: f64,
    to: f64,
    show: fn(f64) -> String,
}

impl Axis {
    /// From zero to a round number at or above `max`.
    pub(in super::super) fn linear(max: f64) -> Self {
        let step = round_step(max.max(1e-9) / 4.0);
        Self { division: Division::Linear, from: 0.0, to: (max.max(1e-9) / step).ceil() * step, show: plain }
    }

    /// The seconds of a run.
    pub(in super::super) fn clock(max: f64) -> Self {
        Self { division: Division::Clock, from: 0.0, to: max.max(1e-3), show: clock }
    }

    /// Times by factors, from a round number at or below `min` to one at or above `max`; the closer these are the finer
    /// what is round.
    pub(in super::super) fn log(min: f64, max: f64) -> Self {
        let min = min.clamp(1e-6, max.max(1e-6));
        let max = max.max(2e-6).max(min * 1.05);
        let steps =
            STEPS.into_iter().find(|steps| within(steps, min, max) >= 3).unwrap_or(STEPS[STEPS.len() - 1]);
        let all = || round(steps, min.log10().floor() as i32 - 1);
        let from = all().take_while(|tick| *tick <= min * 1.001).last().unwrap_or(min);
        let to = all().find(|tick| *tick >= max * 0.999).unwrap_or(max);
        Self { division: Division::Log(steps), from, to, show: round_seconds }
    }

    /// Shares by nines, as far as `count` requests can tell.
    pub(in super::super) fn nines(count: u64) -> Self {
        let to = if count >= 20_000 { 0.999_9 } else { 0.999 };
        Self { division: Division::Nines, from: 0.0, to, show: nines }
    }

    /// Where `value` lies, from 0 to 1; what lies beyond an end counts as that end.
    pub(in super::super) fn place(&self, value: f64) -> f64 {
        let even = |value: f64| match self.division {
            Division::Linear | Division::Clock => value,
            Division::Log(_) => value.max(self.from).log10(),
            Division::Nines => -(1.0 - value.min(self.to)).log10(),
        };
        ((even(value) - even(self.from)) / (even(self.to) - even(self.from))).clamp(0.0, 1.0)
    }

    /// The value that lies at `place`.
    pub(in super::super) fn value(&self, place: f64) -> f64 {
        match self.division {
            Division::Log(_) => self.from * (self.to / self.from).powf(place),
            _ => self.from + (self.to - self.from) * place,
        }
    }

    /// Whether `value` is on the axis at all.
    pub(in super::super) fn holds(&self, value: f64) -> bool {
        (self.from..=self.to).contains(&value)
    }

    /// The values written beside the axis, and how they are written.
    pub(in super::super) fn ticks(&self) -> Vec<(f64, String)> {
        let even = |step: f64| (0..).map(move |number| f64::from(number) * step);
        let on_axis = |value: &f64| *value <= self.to * 1.000_001;
        let values: Vec<f64> = match self.division {
            Division::Linear => even(round_step(self.to / 4.0)).take_while(on_axis).collect(),
            Division::Clock => even(clock_step(self.to / 5.0)).take_while(on_axis).collect(),
            Division::Nines => [0.0, 0.5, 0.9, 0.99, 0.999, 0.999_9].into_iter().filter(on_axis).collect(),
            Division::Log(steps) => self.log_ticks(steps),
        };
        values.into_iter().map(|value| (value, (self.show)(value))).collect()
    }

    fn log_ticks(&self, steps: &'static [f64]) -> Vec<f64> {
        let all = round(steps, self.from.log10().floor() as i32);
        let before_end = all.take_while(|tick| *tick <= self.to * 1.001);
        before_end.filter(|tick| *tick >= self.from * 0.999).collect()
    }
}

/// What is round on an axis by factors: from coarse to fine.
const STEPS: [&[f64]; 4] = [
    &[1.0],
    &[1.0, 2.0, 5.0],
    &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
    &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
];

/// How many round numbers lie between `min` and `max`.
fn within(steps: &'static [f64], min: f64, max: f64) -> usize {
    let all = round(steps, min.log10().floor() as i32);
    all.take_while(|tick| *tick <= max).filter(|tick| *tick >= min).count()
}

/// `steps` times the powers of ten from `first` on.
fn round(steps: &'static [f64], first: i32) -> impl Iterator<Item = f64> {
    (first..first + 20).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)))
}

/// The 1, 2 or 5 times a power of ten that is next above `step`.
fn round_step(step: f64) -> f64 {
    round(STEPS[1], step.log10().floor() as i32).find(|round| *round >= step * 0.999).unwrap_or(step)
}

/// The step of a clock that is next above `step` seconds.
fn clock_step(step: f64) -> f64 {
    const STEPS: [f64; 12] =
        [15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 21_600.0];
    if step <= 10.0 {
        round_step(step)
    } else {
        STEPS.into_iter().find(|round| *round >= step).unwrap_or(round_step(step / 86_400.0) * 86_400.0)
    }
}

/// A number beside an axis.
fn plain(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{} M", trimmed(n / 1e6)),
        n if n >= 1e4 => format!("{} k", trimmed(n / 1e3)),
        n if n >= 1e3 => count(n.round() as u64),
        n => trimmed(n),
    }
}

/// A moment of a run.
pub(in super::super) fn clock(time: f64) -> String {
    match time {
        0.0 => "0".to_owned(),
        t if t >= 3_600.0 && t % 3_600.0 == 0.0 => format!("{} h", t / 3_600.0),
        t if t >= 60.0 && t % 60.0 == 0.0 => format!("{} min", t / 60.0),
        t if t >= 120.0 => format!("{} min", digits(t / 60.0)),
        t if t >= 1.0 => format!("{} s", trimmed(t)),
        t => seconds(t),
    }
}

fn nines(share: f64) -> String {
    format!("{} %", trimmed(share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(axis: Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(written(Axis::linear(7.3)), ["0", "2", "4", "6", "8"]);
        assert_eq!(written(Axis::linear(23_000.0)), ["0", "10 k", "20 k", "30 k"]);
        assert_eq!(written(Axis::clock(400.0)), ["0", "2 min", "4 min", "6 min"]);
        assert_eq!(written(Axis::clock(12.0)), ["0", "5 s", "10 s"]);
        assert_eq!(written(Axis::log(0.03, 0.7)), ["20 ms", "50 ms", "100 ms", "200 ms", "500 ms", "1 s"]);
        assert_eq!(
            written(Axis::log(0.000_1, 90.0)),
            ["100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"]
        );
        assert_eq!(written(Axis::log(0.016, 0.033)), ["16 ms", "18 ms", "20 ms", "25 ms", "30 ms", "40 ms"]);
        assert_eq!(written(Axis::nines(4_000)), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
    }

    #[test]
    fn a_place_on_the_axis_goes_back_to_its_value() {
        for axis in [Axis::linear(8.0), Axis::log(0.01, 10.0)] {
            assert!((axis.value(axis.place(0.37)) - 0.37).abs() < 1e-9);
        }
        assert_eq!(Axis::log(0.01, 10.0).place(0.1), 1.0 / 3.0);
        assert!((Axis::nines(4_000).place(0.99) - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!((Axis::linear(8.0).place(99.0), Axis::log(0.01, 10.0).place(0.0)), (1.0, 0.0));
    }
}
