/// What using a backend costs, in US dollars. All zero means that money does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Prices {
    /// An hour of all its GPUs.
    pub hour: f64,
    /// Whether that hour is paid for whether it is used or not.
    pub committed: bool,
    /// A million tokens of prompts, at an endpoint that is paid by tokens.
    pub million_prompt: f64,
    /// A million tokens of answers there.
    pub million_answer: f64,
}

impl Prices {
    /// What a second of its GPUs is worth.
    #[must_use]
    pub fn second(&self) -> f64 {
        self.hour / 3_600.0
    }

    /// What a second of its GPUs costs beside what is paid anyway.
    #[must_use]
    pub fn marginal_second(&self) -> f64 {
        if self.committed { 0.0 } else { self.second() }
    }

    /// What so many tokens cost, where tokens are paid for.
    #[must_use]
    pub fn tokens(&self, prompt: u32, answer: u32) -> f64 {
        (f64::from(prompt) * self.million_prompt + f64::from(answer) * self.million_answer) * 1e-6
    }

    /// How it is paid, as a metric label; `None` where money does not count.
    #[must_use]
    pub fn label(&self) -> Option<&'static str> {
        match (self.hour > 0.0, self.committed) {
            (true, true) => Some("committed"),
            (true, false) => Some("on_demand"),
            (false, _) => (self.million_prompt + self.million_answer > 0.0).then_some("tokens"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_worth_something_and_costs_nothing_more() {
        let committed = Prices { hour: 3.6, committed: true, ..Prices::default() };
        let on_demand = Prices { committed: false, ..committed };
        assert_eq!(
            (committed.second(), committed.marginal_second(), on_demand.marginal_second()),
            (0.001, 0.0, 0.001)
        );
        assert_eq!((committed.label(), on_demand.label()), (Some("committed"), Some("on_demand")));
    }

    #[test]
    fn tokens_are_paid_by_the_million() {
        let prices = Prices { million_prompt: 0.5, million_answer: 2.0, ..Prices::default() };
        assert!((prices.tokens(1_000_000, 500_000) - 1.5).abs() < 1e-9);
        assert_eq!((prices.label(), Prices::default().label()), (Some("tokens"), None));
    }
}
