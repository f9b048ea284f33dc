//! Who sits where in the memory of llama.cpp, and what is there already.
//!
//! A seat has memory for one sequence. Who leaves, leaves his keys and values behind: who comes next and begins alike
//! goes on from there. That is read off the tokens of each piece, so that nobody need say what he shares with whom.

use std::cmp::Reverse;

use plimsoll_engines::executor::{Number, Piece};

/// The seats of one context.
#[derive(Debug)]
pub struct Seats {
    seats: Vec<Seat>,
    /// Whether a part of what is in a seat can be used again.
    keeps: bool,
}

#[derive(Debug, Default)]
struct Seat {
    holder: Option<Number>,
    /// The tokens whose keys and values are there.
    kept: Vec<u32>,
}

/// What a piece costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// The seat of its sequence.
    pub seat: usize,
    /// Its first tokens, so many, are there already.
    pub known: usize,
    /// Whether what stands in the seat from there on is another's and must go.
    pub cut: bool,
}

impl Seats {
    /// So many seats, all of them empty.
    #[must_use]
    pub fn new(count: usize, keeps: bool) -> Self {
        Self { seats: (0..count).map(|_| Seat::default()).collect(), keeps }
    }

    /// What there is to do for `piece`, after which it is there. `None` if it is of nobody who could sit here.
    pub fn take(&mut self, piece: &Piece<'_>) -> Option<Work> {
        let at = match self.seats.iter().position(|seat| seat.holder == Some(piece.number)) {
            Some(at) => at,
            None => self.sit(piece)?,
        };
        let seat = &mut self.seats[at];
        let from = piece.position as usize;
        let mut known = common(seat.kept.get(from..)?, piece.tokens);
        // What follows the last token is the question, so that is computed in any case.
        if piece.writes {
            known = known.min(piece.tokens.len().saturating_sub(1));
        }
        let cut = known < piece.tokens.len() && seat.kept.len() > from + known;
        if known < piece.tokens.len() {
            seat.kept.truncate(from + known);
            seat.kept.extend_from_slice(&piece.tokens[known..]);
        }
        Some(Work { seat: at, known, cut })
    }

    /// The best free seat for one who begins with `piece`: where most of it is, else the first, since llama.cpp computes those
    /// together who sit side by side.
    fn sit(&mut self, piece: &Piece<'_>) -> Option<usize> {
        let free = self.seats.iter().enumerate().filter(|(_, seat)| seat.holder.is_none());
        let best = free.min_by_key(|(at, seat)| (Reverse(common(&seat.kept, piece.tokens)), *at));
        let at = best.filter(|_| piece.position == 0)?.0;
        self.seats[at].holder = Some(piece.number);
        Some(at)
    }

    /// Its holder leaves a seat: gives it if all that is there must go.
    pub fn leave(&mut self, number: Number) -> Option<usize> {
        let at = self.seats.iter().position(|seat| seat.holder == Some(number))?;
        let seat = &mut self.seats[at];
        seat.holder = None;
        if self.keeps {
            return None;
        }
        seat.kept.clear();
        Some(at)
    }
}

fn common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_engines::executor::Sampling;

    const SAMPLING: Sampling =
        Sampling { temperature: 0.0, top_p: 1.0, top_k: 0, seed: 0, likely: None, endless: false };

    fn piece(number: Number, position: u32, tokens: &[u32], writes: bool) -> Piece<'_> {
        Piece { number, position, tokens, blocks: &[], writes, sampling: &SAMPLING }
    }

    fn work(seat: usize, known: usize, cut: bool) -> Option<Work> {
        Some(Work { seat, known, cut })
    }

    #[test]
    fn who_begins_like_one_who_has_left_goes_on_from_there() {
        let mut seats = Seats::new(2, true);
        assert_eq!(seats.take(&piece(1, 0, &[5, 6, 7], true)), work(0, 0, false));
        assert_eq!(seats.take(&piece(1, 3, &[8], true)), work(0, 0, false));
        assert_eq!(seats.take(&piece(2, 0, &[5, 6, 9], true)), work(1, 0, false), "the seat is taken");
        assert_eq!(seats.leave(1), None);
        assert_eq!(seats.take(&piece(3, 0, &[5, 6, 7, 9], true)), work(0, 3, true));
        assert_eq!(seats.take(&piece(3, 4, &[8], true)), work(0, 0, false));
    }

    #[test]
    fn the_token_before_the_answer_is_always_computed() {
        let mut seats = Seats::new(1, true);
        seats.take(&piece(1, 0, &[5, 6], true));
        seats.leave(1);
        assert_eq!(seats.take(&piece(2, 0, &[5, 6], true)), work(0, 1, true));
    }

    #[test]
    fn a_prompt_in_pieces_uses_what_is_there_as_far_as_it_goes() {
        let mut seats = Seats::new(1, true);
        seats.take(&piece(1, 0, &[1, 2, 3, 4, 5, 6], true));
        seats.leave(1);
        assert_eq!(seats.take(&piece(2, 0, &[1, 2], false)), work(0, 2, false));
        assert_eq!(seats.take(&piece(2, 2, &[3, 9], false)), work(0, 1, true));
        assert_eq!(seats.take(&piece(2, 4, &[5, 6], true)), work(0, 0, false), "that was another's");
    }

    #[test]
    fn a_stranger_gets_the_first_free_seat() {
        let mut seats = Seats::new(3, true);
        seats.take(&piece(1, 0, &[1, 1], true));
        seats.take(&piece(2, 0, &[2, 2], true));
        seats.take(&piece(3, 0, &[3, 3], true));
        assert_eq!(seats.take(&piece(4, 0, &[4], true)), None, "all are taken");
        seats.leave(3);
        seats.leave(2);
        assert_eq!(seats.take(&piece(4, 0, &[4, 4], true)), work(1, 0, true));
        assert_eq!(seats.take(&piece(5, 1, &[3, 3], true)), None, "nobody begins in the middle");
    }

    #[test]
    fn where_nothing_can_be_kept_a_seat_is_left_empty() {
        let mut seats = Seats::new(1, false);
        seats.take(&piece(1, 0, &[1, 2], true));
        assert_eq!(seats.leave(1), Some(0));
        assert_eq!(seats.leave(1), None);
        assert_eq!(seats.take(&piece(2, 0, &[1, 2], true)), work(0, 0, false));
    }
}
