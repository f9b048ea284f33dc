//! From batches of events to what they mean, whether or not all of them arrive.

use super::{Event, Malformed, decode};

/// What an emulated cache has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// So many tokens were evicted, of so many that were cached: what was cached is what there is room for.
    Evicted {
        /// Tokens that went.
        tokens: u64,
        /// Tokens that were there.
        of: u64,
    },
    /// Nothing is cached, or nothing is known any more.
    Cleared,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It was the next, and was taken.
    Taken,
    /// It had been heard before.
    Again,
    /// Those from this number on were missed. It was not taken: ask for them and give each to
    /// [`Tracker::hear`] in order, this one too; or [`Tracker::lose`] them, and give this one again.
    Missed(u64),
}

/// Follows the events of one engine (one rank of it, where it has several).
///
/// It counts and remembers nothing else: a few bytes for each backend, whatever the size of its cache.
#[derive(Debug, Clone, Default)]
pub struct Tracker {
    /// Tokens that there is room for, as far as the engine said.
    room: u64,
    next: Option<u64>,
    /// When the last batch was made.
    at: f64,
    block_tokens: u32,
    cached: u64,
}

impl Tracker {
    /// For an engine whose cache has room for so many tokens; 0 where that is not known.
    #[must_use]
    pub fn new(room: u64) -> Self {
        Self { room, ..Self::default() }
    }

    /// Takes a message and says to `each` what it changes.
    ///
    /// # Errors
    ///
    /// Where the payload is not a batch of events. What it had to say is lost.
    pub fn hear(
        &mut self,
        sequence: u64,
        payload: &[u8],
        each: &mut dyn FnMut(Change),
    ) -> Result<Heard, Malformed> {
        match self.next {
            Some(next) if sequence > next => return Ok(Heard::Missed(next)),
            Some(next) if sequence < next => {
                // What is repeated is old. What is new and yet counted from the beginning is from an engine that was
                // started again.
                let at = decode(payload, &mut |_| {})?;
                if at <= self.at {
                    return Ok(Heard::Again);
                }
                self.lose(each);
            }
            _ => {}
        }
        self.next = Some(sequence.wrapping_add(1));
        self.at = decode(payload, &mut |event| self.take(event, each))?;
        Ok(Heard::Taken)
    }

    /// What was missed cannot be had: all that is cached may have changed. The next message begins anew.
    pub fn lose(&mut self, each: &mut dyn FnMut(Change)) {
        (self.next, self.cached) = (None, 0);
        each(Change::Cleared);
    }

    /// Tokens that are cached, of those whose storing was heard of.
    #[must_use]
    pub fn cached(&self) -> u64 {
        self.cached
    }

    fn take(&mut self, event: Event, each: &mut dyn FnMut(Change)) {
        match event {
            Event::Stored { blocks, block_tokens } => {
                self.block_tokens = block_tokens;
                self.cached = self.cached.saturating_add(u64::from(blocks) * u64::from(block_tokens));
            }
            Event::Removed { blocks } => {
                // Who evicts is full; what was stored before the first message is known by that alone.
                let tokens = u64::from(blocks) * u64::from(self.block_tokens);
                let of = self.cached.max(self.room).max(tokens);
                self.cached = self.cached.saturating_sub(tokens);
                if tokens > 0 {
                    each(Change::Evicted { tokens, of });
                }
            }
            Event::Cleared => {
                self.cached = 0;
                each(Change::Cleared);
            }
        }
    }
}
