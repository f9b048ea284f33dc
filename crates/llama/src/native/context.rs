use std::ptr::{NonNull, null_mut};

use llama_cpp_sys_2 as sys;

use super::Model;
use crate::options::{Cache, Flash};

/// How much a context can hold and do.
pub(crate) struct Shape {
    /// Sequences, each with memory of its own.
    pub(crate) seats: u32,
    /// Tokens of each.
    pub(crate) context: u32,
    /// Tokens of one step.
    pub(crate) batch: u32,
    /// Threads that compute.
    pub(crate) threads: u32,
    /// How keys and values are kept.
    pub(crate) cache: Cache,
    /// How attention is computed.
    pub(crate) flash_attention: Flash,
}

/// The memory of a model at work, and the step that is being put together.
pub(crate) struct Context {
    raw: NonNull<sys::llama_context>,
    /// After `raw`, which uses it: fields are dropped in their order, and `raw` by `drop` before them.
    model: Model,
    seats: u32,
    context: u32,
    step: Step,
}

/// Tokens of one step, as llama.cpp wants to have them.
struct Step {
    tokens: Vec<sys::llama_token>,
    positions: Vec<sys::llama_pos>,
    seats: Vec<sys::llama_seq_id>,
    /// One seat each.
    counts: Vec<i32>,
    wanted: Vec<i8>,
    /// Pointers into `seats`, made when the step is complete.
    pointers: Vec<*mut sys::llama_seq_id>,
    most: usize,
}

// SAFETY: a context is not tied to a thread as long as one at a time uses it, which `&mut` sees to; the pointers in `step`
// are made anew for each call.
unsafe impl Send for Context {}

impl Context {
    /// Memory for `model` at work.
    ///
    /// # Errors
    ///
    /// Why there is none, in words for the operator.
    pub(crate) fn new(model: Model, shape: &Shape) -> Result<Self, String> {
        // SAFETY: it has no preconditions.
        let mut settings = unsafe { sys::llama_context_default_params() };
        settings.n_ctx = shape.seats.saturating_mul(shape.context);
        settings.n_seq_max = shape.seats;
        settings.n_batch = shape.batch;
        settings.n_ubatch = shape.batch.min(512);
        // Likelihoods are wanted of one token of each sequence; room for more would be a vocabulary each.
        settings.n_outputs_max = shape.seats;
        settings.n_outputs_max_per_seq = 1;
        (settings.n_threads, settings.n_threads_batch) =
            (shape.threads.cast_signed(), shape.threads.cast_signed());
        let kind = match shape.cache {
            Cache::F16 => sys::GGML_TYPE_F16,
            Cache::F32 => sys::GGML_TYPE_F32,
            Cache::Q8 => sys::GGML_TYPE_Q8_0,
        };
        (settings.type_k, settings.type_v) = (kind, kind);
        settings.flash_attn_type = match shape.flash_attention {
            Flash::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
            Flash::On => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            Flash::Off => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        };
        settings.no_perf = true;
        // Each sequence has memory of its own: in one for all, each would look through everybody's.
        settings.kv_unified = false;
        super::log::complaint();
        // SAFETY: the model lives, and longer than the context.
        let raw = unsafe { sys::llama_init_from_model(model.raw(), settings) };
        let Some(raw) = NonNull::new(raw) else { return Err(super::complaint()) };
        let step = Step::new(shape.batch as usize);
        let made = Self { raw, model, seats: shape.seats, context: shape.context, step };
        // SAFETY: the context lives.
        if unsafe { sys::llama_get_memory(raw.as_ptr()) }.is_null() {
            return Err("this model keeps nothing from token to token: it writes no text".into());
        }
        Ok(made)
    }

    /// The model.
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// Puts a token into the step; gives its place in it, if there is room. After a `wanted` one somebody asks what follows.
    pub(crate) fn add(&mut self, (seat, position): (u32, u32), token: u32, wanted: bool) -> Option<usize> {
        let known = seat < self.seats && position < self.context && token < self.model.tokens();
        if !known || self.step.tokens.len() == self.step.most {
            return None;
        }
        self.step.tokens.push(token.cast_signed());
        self.step.positions.push(position.cast_signed());
        self.step.seats.push(seat.cast_signed());
        self.step.wanted.push(i8::from(wanted));
        Some(self.step.tokens.len() - 1)
    }

    /// Computes the step.
    ///
    /// # Errors
    ///
    /// The number by which llama.cpp says that it cannot.
    pub(crate) fn compute(&mut self) -> Result<(), i32> {
        let step = &mut self.step;
        if step.tokens.is_empty() {
            return Ok(());
        }
        step.pointers.clear();
        step.pointers.extend(step.seats.iter_mut().map(std::ptr::from_mut));
        let batch = sys::llama_batch {
            n_tokens: step.tokens.len() as i32,
            token: step.tokens.as_mut_ptr(),
            embd: null_mut(),
            pos: step.positions.as_mut_ptr(),
            n_seq_id: step.counts.as_mut_ptr(),
            seq_id: step.pointers.as_mut_ptr(),
            logits: step.wanted.as_mut_ptr(),
        };
        // SAFETY: all lists have as many entries as there are tokens, `counts` at least; each pointer is to the one seat that
        // its count says; `add` has seen to it that seats, positions and tokens are known. Nothing is kept after the call.
        let code = unsafe { sys::llama_decode(self.raw.as_ptr(), batch) };
        step.clear();
        if code == 0 { Ok(()) } else { Err(code) }
    }

    /// The scores of the whole vocabulary for what follows the token at a place of the step that was computed last.
    pub(crate) fn scores(&self, place: usize) -> Option<&[f32]> {
        let count = self.model.tokens() as usize;
        // SAFETY: the context lives; for a place of which nothing is known the answer is null. Rows are brought into order when
        // the first one of a step is asked for, and stay where they are from then on.
        let row = unsafe { sys::llama_get_logits_ith(self.raw.as_ptr(), i32::try_from(place).ok()?) };
        // SAFETY: what is not null is a row with one score for each token, which stays as it is until the next step, for which
        // this borrow must have ended.
        NonNull::new(row).map(|row| unsafe { std::slice::from_raw_parts(row.as_ptr(), count) })
    }

    /// Takes tokens out of the choice for what follows the token at a place.
    pub(crate) fn exclude(&mut self, place: usize, tokens: &[u32]) {
        let Ok(place) = i32::try_from(place) else { return };
        // SAFETY: as in `scores`.
        let Some(row) = NonNull::new(unsafe { sys::llama_get_logits_ith(self.raw.as_ptr(), place) }) else {
            return;
        };
        for token in tokens.iter().filter(|token| **token < self.model.tokens()) {
            // SAFETY: the row has one score for each token, and nobody else looks at it now.
            unsafe { row.add(*token as usize).write(f32::NEG_INFINITY) };
        }
    }

    /// Forgets what stands in a seat from `position` on; false if only all of it can be forgotten.
    pub(crate) fn cut(&mut self, seat: u32, position: u32) -> bool {
        // SAFETY: the context lives, and so does its memory, which there is (see `new`); it knows the seat.
        seat < self.seats
            && unsafe {
                let memory = sys::llama_get_memory(self.raw.as_ptr());
                sys::llama_memory_seq_rm(memory, seat.cast_signed(), position.cast_signed(), -1)
            }
    }
}

impl Step {
    fn new(most: usize) -> Self {
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

    fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.seats.clear();
        self.wanted.clear();
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: nobody else has it, and its model is dropped after this.
        unsafe { sys::llama_free(self.raw.as_ptr()) };
    }
}
