use std::ptr::{NonNull, null_mut};

use llama_cpp_sys_2 as sys;

/// Tokens of one step, as llama.cpp wants to have them.
pub(super) struct Step {
    tokens: Vec<sys::llama_token>,
    positions: Vec<sys::llama_pos>,
    seats: Vec<sys::llama_seq_id>,
    /// One seat each.
    counts: Vec<i32>,
    wanted: Vec<i8>,
    /// Pointers into `seats`, made anew when the step is complete.
    pointers: Vec<*mut sys::llama_seq_id>,
    most: usize,
}

impl Step {
    /// Room for so many tokens.
    pub(super) fn new(most: usize) -> Self {
        Self {
            tokens: Vec::with_capacity(most),
            positions: Vec::with_capacity(most),
            seats: Vec::with_capacity(most),
            counts: vec![1; most],
            wanted: Vec::with_capacity(most),
            pointers: Vec::with_capacity(most),
            most,
        }
    }

    /// Puts in a token; gives its place, if there is room.
    pub(super) fn add(&mut self, (seat, position): (u32, u32), token: u32, wanted: bool) -> Option<usize> {
        if self.tokens.len() == self.most {
            return None;
        }
        self.tokens.push(token.cast_signed());
        self.positions.push(position.cast_signed());
        self.seats.push(seat.cast_signed());
        self.wanted.push(i8::from(wanted));
        Some(self.tokens.len() - 1)
    }

    /// Has `context` compute the step, which is empty afterwards. Where it cannot, the number by which llama.cpp says so.
    ///
    /// # Safety
    ///
    /// The context lives and takes so many tokens at a time; seats, positions and tokens are known to it.
    pub(super) unsafe fn compute(&mut self, context: NonNull<sys::llama_context>) -> Result<(), i32> {
        if self.tokens.is_empty() {
            return Ok(());
        }
        self.pointers.clear();
        self.pointers.extend(self.seats.iter_mut().map(std::ptr::from_mut));
        let batch = sys::llama_batch {
            n_tokens: self.tokens.len() as i32,
            token: self.tokens.as_mut_ptr(),
            embd: null_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.counts.as_mut_ptr(),
            seq_id: self.pointers.as_mut_ptr(),
            logits: self.wanted.as_mut_ptr(),
        };
        // SAFETY: all lists have as many entries as there are tokens, `counts` at least; each pointer is to the one seat that its
        // count says. Nothing is kept after the call. The rest is the caller's promise.
        let code = unsafe { sys::llama_decode(context.as_ptr(), batch) };
        self.clear();
        if code == 0 { Ok(()) } else { Err(code) }
    }

    /// Takes out all.
    pub(super) fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.seats.clear();
        self.wanted.clear();
    }
}
