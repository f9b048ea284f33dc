use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use super::Model;
use super::step::Step;
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

impl Shape {
    /// What is so for any context.
    pub(super) fn apply(&self, settings: &mut sys::llama_context_params) {
        (settings.n_threads, settings.n_threads_batch) =
            (self.threads.cast_signed(), self.threads.cast_signed());
        let kind = match self.cache {
            Cache::F16 => sys::GGML_TYPE_F16,
            Cache::F32 => sys::GGML_TYPE_F32,
            Cache::Q8 => sys::GGML_TYPE_Q8_0,
        };
        (settings.type_k, settings.type_v) = (kind, kind);
        settings.flash_attn_type = match self.flash_attention {
            Flash::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
            Flash::On => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            Flash::Off => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        };
        settings.no_perf = true;
    }
}

/// The memory of a model at work, and the step that is being put together.
pub(crate) struct Context {
    raw: NonNull<sys::llama_context>,
    /// Lives as long as `raw`, which uses it.
    model: Arc<Model>,
    seats: u32,
    context: u32,
    step: Step,
}

// SAFETY: a context is not tied to a thread as long as one at a time uses it: it is not `Sync`.
unsafe impl Send for Context {}

impl Context {
    /// Memory for `model` at work.
    ///
    /// # Errors
    ///
    /// Why there is none, in words for the operator.
    pub(crate) fn new(model: Arc<Model>, shape: &Shape) -> Result<Self, String> {
        // SAFETY: it has no preconditions.
        let mut settings = unsafe { sys::llama_context_default_params() };
        settings.n_ctx = shape.seats.saturating_mul(shape.context);
        settings.n_seq_max = shape.seats;
        settings.n_batch = shape.batch;
        settings.n_ubatch = shape.batch.min(512);
        // Likelihoods are wanted of one token of each sequence; room for more would be a vocabulary each.
        settings.n_outputs_max = shape.seats;
        settings.n_outputs_max_per_seq = 1;
        shape.apply(&mut settings);
        // Each sequence has memory of its own: in one for all, each would look through everybody's.
        settings.kv_unified = false;
        super::log::complaint();
        // SAFETY: the model lives, and longer than the context.
        let raw = unsafe { sys::llama_init_from_model(model.raw(), settings) };
        let Some(raw) = NonNull::new(raw) else { return Err(super::complaint()) };
        // SAFETY: the context lives.
        let step = Step::new(unsafe { sys::llama_n_batch(raw.as_ptr()) } as usize);
        let made = Self { raw, model, seats: shape.seats, context: shape.context, step };
        // SAFETY: the context lives.
        if unsafe { sys::llama_get_memory(raw.as_ptr()) }.is_null() {
            return Err("this model keeps nothing from token to token: it writes no text".into());
        }
        Ok(made)
    }

    /// Puts a token into the step; gives its place in it, if there is room. After a `wanted` one somebody asks what follows.
    pub(crate) fn add(&mut self, (seat, position): (u32, u32), token: u32, wanted: bool) -> Option<usize> {
        let known = seat < self.seats && position < self.context && token < self.model.tokens();
        if known { self.step.add((seat, position), token, wanted) } else { None }
    }

    /// Computes the step.
    ///
    /// # Errors
    ///
    /// The number by which llama.cpp says that it cannot.
    pub(crate) fn compute(&mut self) -> Result<(), i32> {
        // SAFETY: `add` has seen to it that seats, positions and tokens are known to the context, which lives.
        unsafe { self.step.compute(self.raw) }
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

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: nobody else has it, and its model lives until after this.
        unsafe { sys::llama_free(self.raw.as_ptr()) };
    }
}
