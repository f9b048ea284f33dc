use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use super::step::Step;
use super::{Model, Shape};

/// A model that makes vectors of texts.
pub(crate) struct Vectors {
    raw: NonNull<sys::llama_context>,
    /// Lives as long as `raw`, which uses it.
    model: Arc<Model>,
    texts: u32,
    numbers: usize,
    step: Step,
}

// SAFETY: as of `Context`.
unsafe impl Send for Vectors {}

impl Vectors {
    /// Room to read as many texts, and tokens, together as a step of `shape` has. Without a way of its own to make one vector of
    /// those of all tokens, a model gets the mean.
    ///
    /// # Errors
    ///
    /// Why there is none, in words for the operator.
    pub(crate) fn new(model: Arc<Model>, shape: &Shape) -> Result<Self, String> {
        super::log::complaint();
        let mut raw = context(&model, shape, sys::LLAMA_POOLING_TYPE_UNSPECIFIED)?;
        // SAFETY: the context lives.
        let mut pooling = unsafe { sys::llama_pooling_type(raw.as_ptr()) };
        if pooling == sys::LLAMA_POOLING_TYPE_NONE {
            // SAFETY: nobody else has it.
            unsafe { sys::llama_free(raw.as_ptr()) };
            pooling = sys::LLAMA_POOLING_TYPE_MEAN;
            raw = context(&model, shape, pooling)?;
        }
        // SAFETY: the context and the model live.
        let (most, numbers) =
            unsafe { (sys::llama_n_batch(raw.as_ptr()), sys::llama_model_n_embd_out(model.raw())) };
        let step = Step::new(most as usize);
        let made =
            Self { raw, model, texts: shape.seats, numbers: numbers.max(0).cast_unsigned() as usize, step };
        if pooling == sys::LLAMA_POOLING_TYPE_RANK {
            return Err("this model ranks texts and makes no vectors of them".into());
        }
        Ok(made)
    }

    /// How many numbers a vector has.
    pub(crate) fn numbers(&self) -> u32 {
        self.numbers as u32
    }

    /// Reads texts, each by itself, and appends their vectors, of length 1.
    ///
    /// # Errors
    ///
    /// The number by which llama.cpp says that it cannot.
    pub(crate) fn read(&mut self, texts: &[&[u32]], vectors: &mut Vec<f32>) -> Result<(), i32> {
        const TOO_MUCH: i32 = -1;
        self.step.clear();
        for (seat, text) in (0..).zip(texts) {
            for (position, token) in (0..).zip(*text) {
                let known = seat < self.texts && *token < self.model.tokens();
                let place = known.then(|| self.step.add((seat, position), *token, true)).flatten();
                place.ok_or(TOO_MUCH)?;
            }
        }
        // SAFETY: the context lives; seats and tokens are known to it, and positions are fewer than it takes tokens at a time,
        // which `Step` holds to.
        let computed = unsafe { self.step.compute(self.raw) };
        computed?;
        for seat in 0..texts.len() as i32 {
            // SAFETY: the context lives; what is not null is a vector of so many numbers, which stays until the next step.
            let vector = unsafe {
                let raw = sys::llama_get_embeddings_seq(self.raw.as_ptr(), seat);
                NonNull::new(raw).map(|raw| std::slice::from_raw_parts(raw.as_ptr(), self.numbers))
            };
            let vector = vector.ok_or(TOO_MUCH)?;
            let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
            let scale = if length > 0.0 { (1.0 / length) as f32 } else { 0.0 };
            vectors.extend(vector.iter().map(|number| number * scale));
        }
        // SAFETY: the context lives; a model that keeps nothing has no memory.
        unsafe {
            let memory = sys::llama_get_memory(self.raw.as_ptr());
            if !memory.is_null() {
                sys::llama_memory_clear(memory, false);
            }
        }
        Ok(())
    }
}

fn context(
    model: &Model,
    shape: &Shape,
    pooling: sys::llama_pooling_type,
) -> Result<NonNull<sys::llama_context>, String> {
    // SAFETY: it has no preconditions.
    let mut settings = unsafe { sys::llama_context_default_params() };
    shape.apply(&mut settings);
    settings.embeddings = true;
    settings.pooling_type = pooling;
    settings.n_seq_max = shape.seats;
    // A text is read in one go, and nothing is kept of it.
    (settings.n_batch, settings.n_ubatch, settings.n_ctx) = (shape.batch, shape.batch, shape.batch);
    settings.kv_unified = true;
    // SAFETY: the model lives, and longer than the context, which `Vectors` sees to.
    let raw = unsafe { sys::llama_init_from_model(model.raw(), settings) };
    NonNull::new(raw).ok_or_else(super::complaint)
}

impl Drop for Vectors {
    fn drop(&mut self) {
        // SAFETY: nobody else has it, and its model lives until after this.
        unsafe { sys::llama_free(self.raw.as_ptr()) };
    }
}
