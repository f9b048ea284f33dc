//! From a file to a model at work, and why there is none, in words for the operator.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::native::{Context, Model, Shape, Vectors};
use crate::options::Options;

/// By which one sees whether a file has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(Option<(u64, SystemTime)>);

impl Stamp {
    pub(crate) fn of(file: &Path) -> Self {
        Self(fs::metadata(file).ok().and_then(|about| Some((about.len(), about.modified().ok()?))))
    }
}

/// Whether `file` may hold a model.
pub(crate) fn check(file: &Path) -> Result<(), String> {
    let mut magic = [0; 4];
    match File::open(file).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) if magic == *b"GGUF" => Ok(()),
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(format!("{}: {error}", file.display())),
        _ => Err(format!(
            "{}: is no GGUF file; llama.cpp's convert_hf_to_gguf.py makes one of a model of Hugging Face",
            file.display()
        )),
    }
}

/// The model of `options`.
pub(crate) fn model(options: &Options) -> Result<Arc<Model>, String> {
    check(&options.file)?;
    Model::load(&options.file, options.gpu_layers).map(Arc::new)
}

/// Memory for `model` at work, if it writes.
pub(crate) fn context(model: &Arc<Model>, options: &Options) -> Result<Option<Context>, String> {
    if model.only_reads() {
        return Ok(None);
    }
    let context = options.context_of(model.trained_context());
    let (slots, file) = (options.slots, options.file.display());
    let all = u64::from(slots) * u64::from(context);
    let needed = options.cache.bytes(all * model.kept_numbers());
    // Asked for more than there is, the system may say yes and end the process when it is used.
    if let Some(free) = free_memory().filter(|free| needed > *free && !Model::may_be_elsewhere()) {
        return Err(format!(
            "{file}: {slots} slots of {context} tokens need {} MiB for keys and values, and {} MiB are free: lower slots or \
             context, or say cache=q8_0",
            needed >> 20,
            free >> 20
        ));
    }
    Context::new(Arc::clone(model), &shape(model, options)).map(Some).map_err(|why| {
        format!(
            "{file}: llama.cpp makes no room for {slots} slots of {context} tokens, which slots and context lower: {why}"
        )
    })
}

/// Room for the vectors of texts, if `model` makes them.
pub(crate) fn vectors(model: &Arc<Model>, options: &Options) -> Result<Option<Vectors>, String> {
    if !model.only_reads() && !options.embeddings {
        return Ok(None);
    }
    let made = Vectors::new(Arc::clone(model), &shape(model, options));
    made.map(Some).map_err(|why| format!("{}: no embeddings: {why}", options.file.display()))
}

fn shape(model: &Model, options: &Options) -> Shape {
    Shape {
        seats: options.slots,
        context: options.context_of(model.trained_context()),
        batch: options.batch,
        threads: options.threads,
        cache: options.cache,
        flash_attention: options.flash_attention,
    }
}

/// Bytes of memory that may be used, if the system says so.
fn free_memory() -> Option<u64> {
    let said = fs::read_to_string("/proc/meminfo").ok()?;
    let line = said.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_model_is_refused_with_its_name() {
        assert!(check(Path::new("/no/such.gguf")).unwrap_err().starts_with("/no/such.gguf: "));
        let manifest = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert!(check(manifest).unwrap_err().contains("is no GGUF file"));
    }

    #[test]
    fn a_file_that_stays_as_it_is_has_the_same_stamp() {
        let manifest = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert_eq!(Stamp::of(manifest), Stamp::of(manifest));
        assert_ne!(Stamp::of(manifest), Stamp::of(Path::new("/no/such.gguf")));
    }
}
