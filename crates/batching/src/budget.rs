//! How much may leave together. Hot path: no allocation, no lock.
//!
//! An engine that pads makes all texts of a batch as long as its longest, so what counts is that length times their
//! number. One that does not pad is only given a little less than it could take.

/// What one batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Texts.
    pub items: u32,
    /// Tokens, those of padding included.
    pub tokens: u32,
}

/// How much one request brings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Texts.
    pub items: u32,
    /// Tokens of all of them.
    pub tokens: u32,
    /// Tokens of the longest.
    pub longest: u32,
}

/// What a batch holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fill {
    /// Requests.
    pub requests: u32,
    /// Texts.
    pub items: u32,
    /// Tokens.
    pub tokens: u64,
    /// Tokens of the longest text.
    pub longest: u32,
}

impl Fill {
    /// A batch of one request.
    #[must_use]
    pub fn of(size: Size) -> Self {
        Self::default().with(size)
    }

    /// What it would hold with one request more.
    #[must_use]
    pub fn with(self, size: Size) -> Self {
        Self {
            requests: self.requests + 1,
            items: self.items.saturating_add(size.items),
            tokens: self.tokens + u64::from(size.tokens),
            longest: self.longest.max(size.longest),
        }
    }

    /// Tokens, once every text is as long as the longest.
    #[must_use]
    pub fn padded(&self) -> u64 {
        u64::from(self.longest) * u64::from(self.items)
    }

    /// Whether that is within `budget`.
    #[must_use]
    pub fn fits(&self, budget: Budget) -> bool {
        self.items <= budget.items && self.padded() <= u64::from(budget.tokens)
    }

    /// The share of `budget` that it takes.
    #[must_use]
    pub fn share(&self, budget: Budget) -> f64 {
        let tokens = self.padded() as f64 / f64::from(budget.tokens.max(1));
        tokens.max(f64::from(self.items) / f64::from(budget.items.max(1)))
    }

    /// The share of its tokens that is padding.
    #[must_use]
    pub fn padding(&self) -> f64 {
        1.0 - self.tokens as f64 / self.padded().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_makes_all_others_long() {
        let budget = Budget { items: 8, tokens: 1_000 };
        let short = Size { items: 4, tokens: 40, longest: 10 };
        let long = Size { items: 1, tokens: 300, longest: 300 };
        assert!(Fill::of(short).with(short).fits(budget));
        assert!(!Fill::of(short).with(long).fits(budget), "five texts of 300 are more than 1,000");
        assert!(!Fill::of(short).with(short).with(Size { items: 1, ..Size::default() }).fits(budget));
        let both = Fill::of(short).with(long);
        assert_eq!((both.padded(), both.tokens), (1_500, 340));
        assert!((both.padding() - 1_160.0 / 1_500.0).abs() < 1e-9);
        assert!((both.share(budget) - 1.5).abs() < 1e-9);
    }
}
