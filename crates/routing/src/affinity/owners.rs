//! Who has a block. Hot path: no allocation, no lock, no await.

/// Owners that are known by name.
pub(super) const NAMED: usize = 8;
/// In the first cell: more have it than there are cells.
const MANY: u16 = 0x7fff;
/// The clock's mark: the block was used since its hand last passed.
const USED: u16 = 0x8000;
/// What is everywhere is looked at again after so many seconds: if fewer asked for it than make it so, it is not.
const WINDOW: u32 = 60;

/// What became of a block that was put somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// It was not known to be there.
    New,
    /// It was there.
    Known,
    /// It is everywhere.
    Everywhere,
    /// There is no room for it.
    Full,
}

/// Up to eight seats, or that it is everywhere: then the second and third cell have the second when its window began,
/// and the fourth how often it was asked for since.
///
/// A cell is a seat and one, with the clock's mark; the first empty cell is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Owners([u16; NAMED]);

impl Owners {
    pub(super) fn is_empty(self) -> bool {
        self.0[0] == 0
    }

    pub(super) fn is_many(self) -> bool {
        self.0[0] == MANY
    }

    /// Whether it is everywhere no longer, because nobody has asked for it.
    pub(super) fn is_over(self, now: u32) -> bool {
        self.is_many() && now.saturating_sub(self.began()) >= 2 * WINDOW
    }

    pub(super) fn everywhere(now: u32) -> Self {
        Self([MANY, (now >> 16) as u16, now as u16, NAMED as u16, 0, 0, 0, 0])
    }

    /// The seats, in no order; none for what is everywhere.
    pub(super) fn seats(self) -> impl Iterator<Item = u16> {
        let named = if self.is_many() { 0 } else { NAMED };
        self.0.into_iter().take(named).take_while(|cell| *cell != 0).map(|cell| (cell & !USED) - 1)
    }

    pub(super) fn has(self, seat: u16) -> bool {
        self.is_many() || self.cell(seat).is_some()
    }

    pub(super) fn add(&mut self, seat: u16, now: u32) -> Added {
        if self.is_many() {
            return self.ask(seat, now);
        }
        if let Some(cell) = self.cell(seat) {
            self.0[cell] |= USED;
            return Added::Known;
        }
        match self.0.iter_mut().find(|cell| **cell == 0) {
            Some(cell) => {
                *cell = seat + 1;
                Added::New
            }
            None => {
                *self = Self::everywhere(now);
                Added::Everywhere
            }
        }
    }

    fn ask(&mut self, seat: u16, now: u32) -> Added {
        let asked = self.0[3];
        if now.saturating_sub(self.began()) < WINDOW {
            self.0[3] = asked.saturating_add(1);
        } else if usize::from(asked) < NAMED || self.is_over(now) {
            *self = Self::default();
            return self.add(seat, now);
        } else {
            *self = Self::everywhere(now);
            self.0[3] = 1;
        }
        Added::Everywhere
    }

    /// Takes `seat` out; whether it was in.
    pub(super) fn remove(&mut self, seat: u16) -> bool {
        let Some(cell) = self.cell(seat) else { return false };
        self.0.copy_within(cell + 1.., cell);
        self.0[NAMED - 1] = 0;
        true
    }

    /// The clock's hand passes: whether `seat` has used it since the last time. `None` if it is none of its owners.
    pub(super) fn pass(&mut self, seat: u16) -> Option<bool> {
        let cell = self.cell(seat)?;
        let used = self.0[cell] & USED != 0;
        self.0[cell] &= !USED;
        Some(used)
    }

    /// Those who are in `all` too.
    pub(super) fn within(self, all: Self) -> Self {
        if all.is_many() {
            return self;
        }
        if self.is_many() {
            return all;
        }
        let mut both = Self::default();
        self.seats().filter(|seat| all.has(*seat)).for_each(|seat| both.put(seat));
        both
    }

    /// Those who are in either; of more than eight, some.
    pub(super) fn with(self, others: Self) -> Self {
        if self.is_many() || others.is_many() {
            return if self.is_many() { self } else { others };
        }
        let mut either = self;
        others.seats().filter(|seat| !self.has(*seat)).for_each(|seat| either.put(seat));
        either
    }

    fn put(&mut self, seat: u16) {
        if let Some(cell) = self.0.iter_mut().find(|cell| **cell == 0) {
            *cell = seat + 1;
        }
    }

    fn began(self) -> u32 {
        u32::from(self.0[1]) << 16 | u32::from(self.0[2])
    }

    fn cell(&self, seat: u16) -> Option<usize> {
        if self.is_many() {
            return None;
        }
        self.0.iter().position(|cell| cell & !USED == seat + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eight() -> Owners {
        let mut owners = Owners::default();
        (0..8).for_each(|seat| assert_eq!(owners.add(seat, 0), Added::New));
        owners
    }

    #[test]
    fn the_ninth_owner_makes_it_everywhere_as_long_as_it_is_asked_for() {
        let mut owners = eight();
        assert_eq!(owners.add(8, 10), Added::Everywhere);
        assert_eq!(owners.seats().count(), 0);
        for second in 11..300 {
            assert_eq!(owners.add(1, second), Added::Everywhere, "it is asked for each second");
        }
        assert!(!owners.is_over(369) && owners.is_over(370));
        assert_eq!(owners.add(3, 500), Added::New);
        assert_eq!(owners.seats().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn what_few_ask_for_is_everywhere_no_longer() {
        let mut owners = eight();
        owners.add(8, 0);
        assert_eq!(owners.add(1, 70), Added::Everywhere, "nine asked for it in the first window");
        assert_eq!(owners.add(1, 140), Added::New, "and one in the second");
    }

    #[test]
    fn an_owner_that_leaves_makes_room() {
        let mut owners = eight();
        assert!(owners.remove(3) && !owners.remove(3));
        assert_eq!((owners.pass(3), owners.pass(4)), (None, Some(false)));
        assert_eq!(
            (owners.add(4, 0), owners.pass(4), owners.pass(4)),
            (Added::Known, Some(true), Some(false))
        );
        assert_eq!(owners.add(9, 0), Added::New);
        assert_eq!(owners.seats().collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 7, 9]);
    }
}
