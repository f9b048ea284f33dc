use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::ptr::{NonNull, null};

use llama_cpp_sys_2 as sys;

/// A model and its vocabulary.
pub(crate) struct Model {
    raw: NonNull<sys::llama_model>,
    vocab: NonNull<sys::llama_vocab>,
    tokens: u32,
}

// SAFETY: a model is not tied to the thread that loaded it.
unsafe impl Send for Model {}
// SAFETY: what is asked of it here reads and changes nothing.
unsafe impl Sync for Model {}

impl Model {
    /// Loads `file`, so many layers of it onto a GPU if there is one.
    ///
    /// # Errors
    ///
    /// Why it cannot be loaded, in words for the operator.
    pub(crate) fn load(file: &Path, gpu_layers: u32) -> Result<Self, String> {
        super::begin();
        let name = file.display();
        let path = CString::new(file.as_os_str().as_encoded_bytes())
            .map_err(|_| format!("{name}: a zero byte stands in the name"))?;
        // SAFETY: it has no preconditions.
        let mut settings = unsafe { sys::llama_model_default_params() };
        settings.n_gpu_layers = gpu_layers.cast_signed();
        super::log::complaint();
        // SAFETY: the path ends with a zero and lives through the call; the settings are llama.cpp's own.
        let raw = unsafe { sys::llama_model_load_from_file(path.as_ptr(), settings) };
        let raw = NonNull::new(raw)
            .ok_or_else(|| format!("{name}: llama.cpp cannot load it: {}", super::complaint()))?;
        // SAFETY: the model lives; its vocabulary lives as long as it does.
        let vocab = unsafe { sys::llama_model_get_vocab(raw.as_ptr()) };
        let vocab = NonNull::new(vocab.cast_mut()).expect("a model has a vocabulary, if an empty one");
        // SAFETY: the vocabulary lives.
        let tokens = unsafe { sys::llama_vocab_n_tokens(vocab.as_ptr()) }.max(0).cast_unsigned();
        let model = Self { raw, vocab, tokens };
        // SAFETY: the model lives.
        if tokens == 0 || !unsafe { sys::llama_model_has_decoder(raw.as_ptr()) } {
            return Err(format!("{name}: it writes no text, and so is of no use here"));
        }
        Ok(model)
    }

    pub(super) fn raw(&self) -> *mut sys::llama_model {
        self.raw.as_ptr()
    }

    /// How many tokens its vocabulary has.
    pub(crate) fn tokens(&self) -> u32 {
        self.tokens
    }

    /// For how many tokens of context it was made.
    pub(crate) fn trained_context(&self) -> u32 {
        // SAFETY: the model lives.
        unsafe { sys::llama_model_n_ctx_train(self.raw()) }.max(0).cast_unsigned()
    }

    /// Whether it reads texts and writes none.
    pub(crate) fn only_reads(&self) -> bool {
        let architecture = self.described("general.architecture").unwrap_or_default();
        self.described(&format!("{architecture}.attention.causal")).as_deref() == Some("false")
    }

    /// What the file says of the model under a key.
    fn described(&self, key: &str) -> Option<String> {
        let (key, mut value) = (CString::new(key).ok()?, [0; 128]);
        // SAFETY: the model lives, the key ends with a zero, and the buffer is as long as is said.
        let length = unsafe {
            sys::llama_model_meta_val_str(self.raw(), key.as_ptr(), value.as_mut_ptr(), value.len())
        };
        // SAFETY: what was written ends with a zero, within the buffer.
        (length >= 0).then(|| unsafe { CStr::from_ptr(value.as_ptr()) }.to_string_lossy().into_owned())
    }

    /// Whether the last tokens of a sequence can be taken back, and others follow the first.
    pub(crate) fn can_go_back(&self) -> bool {
        // SAFETY: the model lives.
        unsafe {
            !sys::llama_model_is_recurrent(self.raw())
                && !sys::llama_model_is_hybrid(self.raw())
                && sys::llama_model_n_swa(self.raw()) == 0
        }
    }

    /// Whether keys and values may stand in the memory of another device.
    pub(crate) fn may_be_elsewhere() -> bool {
        // SAFETY: it has no preconditions.
        unsafe { sys::llama_supports_gpu_offload() }
    }

    /// About how many numbers it keeps of each token, where that is the same for all; 0 where it is not known.
    pub(crate) fn kept_numbers(&self) -> u64 {
        if !self.can_go_back() {
            return 0;
        }
        // SAFETY: the model lives.
        let [width, heads, kept_heads, layers] = unsafe {
            [
                sys::llama_model_n_embd(self.raw()),
                sys::llama_model_n_head(self.raw()),
                sys::llama_model_n_head_kv(self.raw()),
                sys::llama_model_n_layer(self.raw()),
            ]
        }
        .map(|number| u64::from(number.max(0).cast_unsigned()));
        2 * layers * kept_heads * width.checked_div(heads).unwrap_or(0)
    }

    /// How it wants conversations to be written down: a template in Jinja.
    pub(crate) fn template(&self) -> Option<String> {
        // SAFETY: the model lives; without a name its default template is meant.
        let template = unsafe { sys::llama_model_chat_template(self.raw(), null()) };
        // SAFETY: what is not null ends with a zero and lives as long as the model.
        text(template)
    }

    /// The tokens of `text`, with those that the model wants before and after any text. Words for special tokens are those.
    pub(crate) fn read(&self, text: &str) -> Vec<u32> {
        // More tokens than bytes there are only by those before and after.
        let mut ids: Vec<sys::llama_token> = vec![0; text.len() + 8];
        loop {
            // SAFETY: text and ids are as long as is said, and the vocabulary lives.
            let count = unsafe {
                let (length, room) = (text.len() as i32, ids.len() as i32);
                let text = text.as_ptr().cast::<c_char>();
                sys::llama_tokenize(self.vocab.as_ptr(), text, length, ids.as_mut_ptr(), room, true, true)
            };
            if count >= 0 {
                ids.truncate(count.cast_unsigned() as usize);
                return ids.into_iter().map(i32::cast_unsigned).collect();
            }
            ids.resize(count.unsigned_abs() as usize, 0);
        }
    }

    /// What a token says, in place of what `out` holds. Special tokens say nothing.
    pub(crate) fn say(&self, token: u32, out: &mut Vec<u8>) {
        out.resize(out.capacity().max(32), 0);
        loop {
            let (id, room) = (token.cast_signed(), out.len() as i32);
            // SAFETY: `out` is as long as is said, the vocabulary lives, and the token is one of its own.
            let length = unsafe {
                sys::llama_token_to_piece(self.vocab.as_ptr(), id, out.as_mut_ptr().cast(), room, 0, false)
            };
            if length >= 0 {
                return out.truncate(length.cast_unsigned() as usize);
            }
            out.resize(length.unsigned_abs() as usize, 0);
        }
    }

    /// Whether a token says that all has been said.
    pub(crate) fn ends(&self, token: u32) -> bool {
        // SAFETY: the vocabulary lives, and the token is one of its own.
        unsafe { sys::llama_vocab_is_eog(self.vocab.as_ptr(), token.cast_signed()) }
    }

    /// How the tokens that stand before and after a text are written, if there are such.
    pub(crate) fn borders(&self) -> (String, String) {
        // SAFETY: the vocabulary lives.
        let (first, last) =
            unsafe { (sys::llama_vocab_bos(self.vocab.as_ptr()), sys::llama_vocab_eos(self.vocab.as_ptr())) };
        let written = |token: sys::llama_token| {
            if !(0..self.tokens.cast_signed()).contains(&token) {
                return String::new();
            }
            // SAFETY: the vocabulary lives, and the token is one of its own.
            text(unsafe { sys::llama_vocab_get_text(self.vocab.as_ptr(), token) }).unwrap_or_default()
        };
        (written(first), written(last))
    }

    /// Whether a text gets the first of its borders by itself.
    pub(crate) fn begins_by_itself(&self) -> bool {
        // SAFETY: the vocabulary lives.
        unsafe { sys::llama_vocab_get_add_bos(self.vocab.as_ptr()) }
    }
}

/// A string of the model's, which ends with a zero and lives at least as long as this call.
fn text(raw: *const c_char) -> Option<String> {
    if raw.is_null() {
        return None;
    }
    // SAFETY: it ends with a zero; only strings of a model that lives come here.
    Some(unsafe { CStr::from_ptr(raw) }.to_string_lossy().into_owned())
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: nobody else has it, and a context that uses it has been dropped before (see `Context`).
        unsafe { sys::llama_model_free(self.raw()) };
    }
}
