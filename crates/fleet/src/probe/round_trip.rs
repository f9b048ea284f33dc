use std::time::Duration;

/// Handshakes after which the older half of the window is forgotten.
const HALF: u32 = 30;

/// The network there and back: the shortest of the last 30 to 60 handshakes, since all that can happen makes them longer.
#[derive(Debug, Default)]
pub struct RoundTrip {
    now: Option<Duration>,
    before: Option<Duration>,
    count: u32,
}

impl RoundTrip {
    /// A handshake took so long; gives the round trip.
    pub fn measured(&mut self, handshake: Duration) -> Duration {
        if self.count == HALF {
            (self.before, self.now, self.count) = (self.now.take(), None, 0);
        }
        self.count += 1;
        let now = self.now.map_or(handshake, |now| now.min(handshake));
        self.now = Some(now);
        self.before.map_or(now, |before| before.min(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_counts_until_it_is_old() {
        let ms = Duration::from_millis;
        let mut trip = RoundTrip::default();
        assert_eq!(trip.measured(ms(9)), ms(9));
        assert_eq!(trip.measured(ms(2)), ms(2));
        let later: Vec<Duration> = (0..60).map(|_| trip.measured(ms(5))).collect();
        assert_eq!((later[50], later[59]), (ms(2), ms(5)));
    }
}
