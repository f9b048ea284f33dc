use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};

use llama_cpp_sys_2 as sys;

thread_local! {
    static LAST: RefCell<Line> = const { RefCell::new(Line { text: String::new(), level: 0, complaint: None }) };
}

/// What llama.cpp says, which may come in pieces.
struct Line {
    text: String,
    level: sys::ggml_log_level,
    complaint: Option<String>,
}

/// From now on what llama.cpp says goes where all else is logged.
pub(super) fn redirect() {
    // SAFETY: `take` lives as long as the process and reads no user data.
    unsafe { sys::llama_log_set(Some(take), std::ptr::null_mut()) };
}

/// What was first complained of on this thread since this was asked last: what follows only says that it failed.
pub(super) fn complaint() -> Option<String> {
    LAST.with_borrow_mut(|line| line.complaint.take())
}

unsafe extern "C" fn take(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: ggml passes a string that ends with a zero and lives through the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    // A thread that ends may have lost its line; its last words are nobody's loss.
    let _ = LAST.try_with(|line| line.borrow_mut().take(level, &text));
}

impl Line {
    fn take(&mut self, level: sys::ggml_log_level, text: &str) {
        if level != sys::GGML_LOG_LEVEL_CONT {
            self.text.clear();
            self.level = level;
        }
        self.text.push_str(text);
        if !self.text.ends_with('\n') {
            return;
        }
        let said = self.text.trim_end();
        match self.level {
            // What it cannot do becomes our own error where it matters.
            sys::GGML_LOG_LEVEL_ERROR => {
                tracing::warn!("llama.cpp: {said}");
                self.complaint.get_or_insert_with(|| said.to_owned());
            }
            sys::GGML_LOG_LEVEL_WARN => tracing::info!("llama.cpp: {said}"),
            _ => tracing::debug!("llama.cpp: {said}"),
        }
        self.text.clear();
    }
}
