use bytes::{Bytes, BytesMut};

/// Bytes of a piece of memory that is used again: a few dozen messages of a token.
const PIECE: usize = 2_048;

/// Messages on their way out. What is written here leaves as `Bytes`, in memory that is used again once whoever got
/// them has let them go: a reader that keeps up costs no allocation. There are two pieces, since h2 lets a message go
/// when it gets the next one.
#[derive(Debug, Default)]
pub struct Outbox {
    draft: Vec<u8>,
    memory: [BytesMut; 2],
}

impl Outbox {
    /// What is being written.
    pub fn draft(&mut self) -> &mut Vec<u8> {
        &mut self.draft
    }

    /// All that was written since; `None` where that is nothing.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.draft.is_empty() {
            return None;
        }
        if self.draft.len() > PIECE {
            return Some(std::mem::take(&mut self.draft).into());
        }
        if self.memory[0].capacity() < self.draft.len() {
            self.memory.swap(0, 1);
            self.memory[0].reserve(PIECE);
        }
        self.memory[0].extend_from_slice(&self.draft);
        self.draft.clear();
        Some(self.memory[0].split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_let_go_makes_room_and_what_is_held_stays_as_it_is() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.take(), None);
        let mut write = |text: &[u8]| {
            outbox.draft().extend_from_slice(text);
            outbox.take().unwrap()
        };
        let (first, other) = (write(&[1; 1_500]).as_ptr(), write(&[1; 1_500]).as_ptr());
        assert_eq!([write(&[2; 1_500]).as_ptr(), write(&[2; 1_500]).as_ptr()], [first, other]);
        let held = write(&[3; 1_500]);
        let others: Vec<Bytes> = (4..8).map(|byte| write(&[byte; 1_500])).collect();
        assert!(others.iter().all(|other| other.as_ptr() != held.as_ptr() && other[0] == other[1_499]));
        assert_eq!(held, vec![3; 1_500]);
        assert_eq!(write(&[5; 10_000]), vec![5; 10_000]);
    }
}
