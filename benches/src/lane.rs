//! A lane of texts whose lengths differ as those of a search index do.

use std::time::Duration;

use plimsoll_batching::budget::Size;
use plimsoll_batching::micro::{Config, Flight, Micro, Next};
use plimsoll_types::Instant;

/// A lane in which so many wait while a call is under way.
pub struct Lane {
    /// Who leaves together.
    pub micro: Micro<u32>,
    /// The time.
    pub now: Instant,
    flight: Option<Flight>,
    came: u32,
}

impl Lane {
    /// So many wait.
    ///
    /// # Panics
    /// If the lane lets nobody wait.
    #[must_use]
    pub fn with(waiting: u32) -> Self {
        let config = Config { max_items: 64, max_tokens: 1 << 20, ..Config::default() };
        let mut lane = Self { micro: Micro::new(&config), now: Instant::ORIGIN, flight: None, came: 0 };
        lane.flight = lane.micro.passes(Size::default(), lane.now);
        (0..waiting).for_each(|_| lane.come());
        lane
    }

    fn come(&mut self) {
        self.came = self.came.wrapping_add(1);
        let longest = 4 + self.came.wrapping_mul(2_654_435_761) % 500;
        let size = Size { items: 1, tokens: longest, longest };
        self.now += Duration::from_micros(3);
        assert!(self.micro.passes(size, self.now).is_none(), "a call is under way");
        let deadline = self.now + Duration::from_secs(5);
        assert!(self.micro.push(self.came, size, (self.now, deadline)).is_ok(), "there is room");
    }

    /// A batch leaves into `out`, and as many come in its place.
    ///
    /// # Panics
    /// If none leaves.
    pub fn step(&mut self, out: &mut Vec<u32>) {
        out.clear();
        let Next::Leaves(flight, _) = self.micro.next(self.now, out) else { panic!("a batch is full") };
        if let Some(before) = self.flight.replace(flight) {
            self.micro.over(before, Some(self.now));
        }
        (0..out.len()).for_each(|_| self.come());
    }
}
