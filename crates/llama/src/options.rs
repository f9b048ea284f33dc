//! What is run and how, as it stands behind `llama:` in an address: a file, and maybe options as in a query.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Tokens of context where neither the options nor the model say less.
const USUAL_CONTEXT: u32 = 4_096;

/// Tokens of all slots: more is a slip of the pen, and llama.cpp would try.
const MOST_TOKENS: u64 = 1 << 24;

/// What is run, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The model, a GGUF file.
    pub file: PathBuf,
    /// What callers call it.
    pub name: String,
    /// Sequences that are computed together, each with memory of its own.
    pub slots: u32,
    /// Tokens that prompt and answer may have together; 0 means what the model was made for, up to 4096.
    pub context: u32,
    /// Tokens of one step.
    pub batch: u32,
    /// Threads that compute what no GPU does.
    pub threads: u32,
    /// Layers that a GPU computes, if llama.cpp was built for one.
    pub gpu_layers: u32,
    /// How keys and values are kept.
    pub cache: Cache,
    /// Whether attention is computed in one go.
    pub flash_attention: Flash,
    /// Whether a model that writes makes vectors of texts too.
    pub embeddings: bool,
}

/// The type of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// 16 bits.
    F16,
    /// 32 bits: twice the memory, and who else is computed decides nothing.
    F32,
    /// 8 bits and a scale; needs flash attention.
    Q8,
}

/// Whether attention is computed in one go, without a table of all scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flash {
    /// Where the device can.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Cache {
    /// Bytes of so many numbers.
    #[must_use]
    pub fn bytes(self, numbers: u64) -> u64 {
        match self {
            Self::F16 => numbers * 2,
            Self::F32 => numbers * 4,
            // 32 numbers share a scale of 16 bits.
            Self::Q8 => numbers.div_ceil(32) * 34,
        }
    }
}

impl FromStr for Cache {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "f16" => Ok(Self::F16),
            "f32" => Ok(Self::F32),
            "q8_0" => Ok(Self::Q8),
            _ => Err("is none of f16, f32, q8_0"),
        }
    }
}

impl FromStr for Flash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err("is none of auto, on, off"),
        }
    }
}

impl Options {
    /// Reads `model.gguf?slots=32&context=8192`.
    ///
    /// # Errors
    ///
    /// What is wrong, in words for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (file, said) = text.split_once('?').unwrap_or((text, ""));
        if file.is_empty() {
            return Err("must name a GGUF file, as in llama:model.gguf".into());
        }
        let mut options = Self::of(Path::new(file));
        for option in said.split('&').filter(|option| !option.is_empty()) {
            let (key, value) =
                option.split_once('=').ok_or_else(|| format!("{option:?} is no option, such as slots=8"))?;
            options.set(key, value).map_err(|why| format!("{key}: {why}"))?;
        }
        if options.cache == Cache::Q8 && options.flash_attention == Flash::Off {
            return Err("cache: q8_0 needs flash attention, which is off".into());
        }
        if u64::from(options.slots) * u64::from(options.context) > MOST_TOKENS {
            let Self { slots, context, .. } = options;
            return Err(format!(
                "context: {slots} slots of {context} tokens are more than {MOST_TOKENS} in all"
            ));
        }
        if options.batch < options.slots {
            let Self { batch, slots, .. } = options;
            return Err(format!("batch: {batch} tokens of a step are fewer than its {slots} slots"));
        }
        Ok(options)
    }

    fn of(file: &Path) -> Self {
        let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Self {
            file: file.to_owned(),
            name,
            slots: 8,
            context: 0,
            batch: 512,
            threads: spare_cores(),
            gpu_layers: MOST_LAYERS,
            cache: Cache::F16,
            flash_attention: Flash::Auto,
            embeddings: false,
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "name" if value.is_empty() => return Err("is empty".into()),
            "name" => value.clone_into(&mut self.name),
            // More, llama.cpp does not know.
            "slots" => self.slots = whole(value, 1..=256)?,
            "context" => self.context = whole(value, 0..=1 << 20)?,
            "batch" => self.batch = whole(value, 1..=1 << 16)?,
            "threads" => self.threads = whole(value, 1..=512)?,
            "gpu_layers" => self.gpu_layers = whole(value, 0..=MOST_LAYERS)?,
            "cache" => self.cache = value.parse()?,
            "flash_attention" => self.flash_attention = value.parse()?,
            "embeddings" => match value {
                "on" => self.embeddings = true,
                "off" => self.embeddings = false,
                _ => return Err("is none of on, off".into()),
            },
            _ => return Err(format!("is not an option; there are {}", KNOWN.join(", "))),
        }
        Ok(())
    }

    /// Tokens of context of a model that was made for `trained`.
    #[must_use]
    pub fn context_of(&self, trained: u32) -> u32 {
        if self.context > 0 { self.context } else { trained.clamp(1, USUAL_CONTEXT) }
    }
}

/// More than any model has.
const MOST_LAYERS: u32 = 10_000;

const KNOWN: [&str; 9] =
    ["name", "slots", "context", "batch", "threads", "gpu_layers", "cache", "flash_attention", "embeddings"];

/// One core is left to those who serve.
fn spare_cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).clamp(1, 512) as u32)
}

fn whole(value: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{value:?} is not a whole number from {} to {}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_alone_is_enough_and_gives_the_model_its_name() {
        let options = Options::parse("/models/Llama-3.gguf").unwrap();
        assert_eq!((options.file.to_str(), options.name.as_str()), (Some("/models/Llama-3.gguf"), "Llama-3"));
        assert_eq!(
            (options.slots, options.context_of(131_072), options.context_of(2_048)),
            (8, 4_096, 2_048)
        );
    }

    #[test]
    fn options_stand_behind_a_question_mark() {
        let options =
            Options::parse("m.gguf?name=tiny&slots=32&context=512&threads=2&cache=f32&flash_attention=off")
                .unwrap();
        assert_eq!((options.name.as_str(), options.slots, options.threads), ("tiny", 32, 2));
        assert_eq!((options.cache, options.flash_attention), (Cache::F32, Flash::Off));
        assert_eq!(options.context_of(8_192), 512);
    }

    #[test]
    fn a_wrong_option_is_named_with_what_it_may_be() {
        let why = |text: &str| Options::parse(text).unwrap_err();
        assert_eq!(why("?slots=2"), "must name a GGUF file, as in llama:model.gguf");
        assert_eq!(why("m.gguf?slots=0"), "slots: \"0\" is not a whole number from 1 to 256");
        assert_eq!(why("m.gguf?cache=f8"), "cache: is none of f16, f32, q8_0");
        assert_eq!(why("m.gguf?slots"), "\"slots\" is no option, such as slots=8");
        assert_eq!(why("m.gguf?slots=9&batch=8"), "batch: 8 tokens of a step are fewer than its 9 slots");
        assert!(why("m.gguf?cache=q8_0&flash_attention=off").contains("needs flash attention"));
        assert!(why("m.gguf?slots=256&context=1048576").contains("more than 16777216 in all"));
        for known in KNOWN {
            assert!(why("m.gguf?slot=2").contains(known), "{known}");
            assert!(!why(&format!("m.gguf?{known}=")).contains("is not an option"), "{known}");
        }
    }
}
