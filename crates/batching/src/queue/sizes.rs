//! How many tokens wait in requests of which size.

/// Two classes for each doubling, from 64 tokens to a million.
pub(super) const CLASSES: usize = 30;

/// The class of a request of so many tokens: no larger than that of a longer one.
pub(super) fn class(tokens: u32) -> usize {
    let tokens = tokens.max(64);
    let half = tokens.ilog2() as usize * 2 + (tokens >> (tokens.ilog2() - 1) & 1) as usize;
    (half - 12).min(CLASSES - 1)
}

/// Waiting tokens by class.
#[derive(Debug, Clone, Default)]
pub(super) struct Sizes {
    tokens: [u64; CLASSES],
    all: u64,
}

impl Sizes {
    pub(super) fn add(&mut self, tokens: u32) {
        self.tokens[class(tokens)] += u64::from(tokens);
        self.all += u64::from(tokens);
    }

    pub(super) fn remove(&mut self, tokens: u32) {
        self.tokens[class(tokens)] -= u64::from(tokens);
        self.all -= u64::from(tokens);
    }

    /// Tokens of all that wait.
    pub(super) fn all(&self) -> u64 {
        self.all
    }

    /// Tokens of those that are no longer than one of so many, or hardly.
    pub(super) fn up_to(&self, tokens: u32) -> u64 {
        self.tokens[..=class(tokens)].iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_request_is_in_no_smaller_class_and_twice_as_long_is_two_classes_up() {
        assert!((1..2_000_000).is_sorted_by_key(class));
        assert_eq!((class(0), class(64), class(95), class(96), class(128)), (0, 0, 0, 1, 2));
        assert_eq!((class(u32::MAX), class(1 << 19) + 2), (CLASSES - 1, class(1 << 20)));
    }
}
