/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It answers.
    Alive,
    /// Nobody listens.
    Refused,
    /// It answered with an error or broke the connection, or there is no way to it.
    Failed(&'static str),
    /// No connection came about in time.
    Unconnected,
    /// It was connected and did not answer in time.
    Silent,
}

/// What requests show of the backend meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Tokens came from it.
    pub writing: bool,
    /// Requests are there.
    pub busy: bool,
}

/// What probes have to say of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may serve.
    Alive,
    /// It is to get nothing.
    Dead,
    /// Nothing new.
    Open,
}

/// Probes of one backend that failed in a row.
#[derive(Debug, Default)]
pub struct Health {
    failures: u64,
}

impl Finding {
    /// In a word, as it is counted.
    #[must_use]
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Refused => "refused",
            Self::Failed(_) => "failed",
            Self::Unconnected | Self::Silent => "silent",
        }
    }

    /// For the log.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Alive => "it answers",
            Self::Refused => "the connection was refused",
            Self::Failed(why) => why,
            Self::Unconnected => "no connection came about in time",
            Self::Silent => "it did not answer in time",
        }
    }
}

impl Health {
    /// What a probe that found this means, where `limit` failures in a row mean death.
    pub fn judge(&mut self, finding: Finding, traffic: Traffic, limit: u64) -> Verdict {
        let excused = match finding {
            Finding::Alive => {
                self.failures = 0;
                return Verdict::Alive;
            }
            Finding::Refused => {
                self.failures = limit;
                return Verdict::Dead;
            }
            Finding::Failed(_) | Finding::Unconnected => traffic.writing,
            Finding::Silent => traffic.writing || traffic.busy,
        };
        if excused {
            return Verdict::Open;
        }
        self.failures = (self.failures + 1).min(limit);
        if self.failures == limit { Verdict::Dead } else { Verdict::Open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Finding::{Alive, Failed, Refused, Silent, Unconnected};

    const IDLE: Traffic = Traffic { writing: false, busy: false };
    const BUSY: Traffic = Traffic { writing: false, busy: true };
    const WRITING: Traffic = Traffic { writing: true, busy: true };

    fn verdicts(findings: &[(Finding, Traffic)]) -> Vec<Verdict> {
        let mut health = Health::default();
        findings.iter().map(|(finding, traffic)| health.judge(*finding, *traffic, 3)).collect()
    }

    #[test]
    fn a_refused_connection_is_death_at_once_and_an_answer_is_life() {
        let seen = verdicts(&[(Refused, WRITING), (Refused, IDLE), (Alive, IDLE)]);
        assert_eq!(seen, [Verdict::Dead, Verdict::Dead, Verdict::Alive]);
    }

    #[test]
    fn other_failures_must_come_in_a_row() {
        let seen = verdicts(&[(Failed(""), IDLE), (Silent, IDLE), (Alive, IDLE), (Unconnected, IDLE)]);
        assert_eq!(seen, [Verdict::Open, Verdict::Open, Verdict::Alive, Verdict::Open]);
        let seen = verdicts(&[(Failed(""), IDLE), (Silent, IDLE), (Unconnected, IDLE), (Silent, IDLE)]);
        assert_eq!(seen[2..], [Verdict::Dead, Verdict::Dead]);
    }

    #[test]
    fn a_long_prefill_is_not_death() {
        assert_eq!(verdicts(&[(Silent, BUSY); 60]), [Verdict::Open; 60]);
    }

    #[test]
    fn a_black_hole_is_death_though_requests_are_lost_in_it() {
        assert_eq!(verdicts(&[(Unconnected, BUSY); 3])[2], Verdict::Dead);
    }

    #[test]
    fn tokens_are_a_better_answer_than_any_but_a_refusal() {
        for finding in [Failed(""), Unconnected, Silent] {
            assert_eq!(verdicts(&[(finding, WRITING); 10]), [Verdict::Open; 10]);
        }
        let sentenced = [(Silent, IDLE), (Silent, IDLE), (Silent, IDLE), (Silent, WRITING)];
        assert_eq!(verdicts(&sentenced)[2..], [Verdict::Dead, Verdict::Open], "it is not renewed");
    }
}
