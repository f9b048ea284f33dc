//! The GPUs that can be simulated, read once from `gpus.csv`.

use std::sync::LazyLock;

use plimsoll_batching::step::{Admission, Limits};
use plimsoll_types::StepTime;

use super::tokens::BLOCK;

/// Tokens of one step (vLLM's `max_num_batched_tokens` on large GPUs).
const STEP_TOKENS: u32 = 8_192;
/// Sequences that a GPU works on at a time (vLLM's `max_num_seqs`). More wait.
pub(super) const SEQUENCES: u32 = 256;

/// A kind of GPU, the model that runs on it, how long its steps take and how much it keeps in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuModel {
    /// The name of the GPU.
    pub accelerator: &'static str,
    /// The size of the dense model.
    pub shape: &'static str,
    /// Over how many such GPUs one model is spread; together they count as one.
    pub tensor_parallel: u32,
    /// The type of the weights.
    pub dtype: &'static str,
    /// Tokens whose keys and values memory holds.
    pub kv_tokens: u32,
    /// How long steps take.
    pub time: StepTime,
}

impl GpuModel {
    /// What it can do at a time, as vLLM V1 would have it. For the account of its memory this process needs 32 bytes
    /// and a few for each block that was ever used: 29 MB for the whole embedded fleet, once all of it is full.
    ///
    /// The admission is vLLM's too: an engine does not know how long an answer will be, and one that did would never
    /// have to preempt.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            step_tokens: STEP_TOKENS,
            sequences: SEQUENCES,
            kv_blocks: self.kv_tokens / BLOCK,
            block_tokens: BLOCK,
            admission: Admission::WhileItFits,
            ..Limits::default()
        }
    }
}

/// The models of GPUs that can be simulated, in the order of the table.
#[must_use]
pub fn gpu_models() -> &'static [GpuModel] {
    static MODELS: LazyLock<Vec<GpuModel>> = LazyLock::new(|| {
        lines(include_str!("gpus.csv"))
            .map(|line| read(line).expect("the table is part of the program, and tested"))
            .collect()
    });
    &MODELS
}

/// The names of all rows of the table, with commas between: for messages.
#[must_use]
pub fn known_gpu_models() -> String {
    let name =
        |gpu: &GpuModel| format!("{} {} x{} {}", gpu.accelerator, gpu.shape, gpu.tensor_parallel, gpu.dtype);
    gpu_models().iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The GPU of this name with a model of this shape, spread and type on it.
#[must_use]
pub fn gpu_model(
    accelerator: &str,
    shape: &str,
    tensor_parallel: u32,
    dtype: &str,
) -> Option<&'static GpuModel> {
    gpu_models().iter().find(|model| {
        (model.accelerator, model.shape, model.tensor_parallel, model.dtype)
            == (accelerator, shape, tensor_parallel, dtype)
    })
}

/// The rows of a table: without comments and the names of the columns.
pub(super) fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.starts_with('#')).skip(1)
}

fn read(line: &'static str) -> Option<GpuModel> {
    let mut cells = line.split(',');
    let (accelerator, shape) = (cells.next()?, cells.next()?);
    let (tensor_parallel, dtype) = (cells.next()?.parse().ok()?, cells.next()?);
    let kv_tokens = cells.next()?.parse().ok()?;
    let mut number = || cells.next()?.parse::<f64>().ok();
    let time = StepTime {
        host: number()?,
        alpha: number()?,
        beta: number()?,
        p: number()?,
        d0: number()?,
        d1: number()?,
        d2: number()?,
        e0: number()?,
        e1: number()?,
        e2: number()?,
    };
    cells.next().is_none().then_some(GpuModel { accelerator, shape, tensor_parallel, dtype, kv_tokens, time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_both_shapes_on_every_gpu_and_no_row_twice() {
        for gpu in ["A100", "H100", "H200", "GB200"] {
            for (shape, spread) in [("8B", 1), ("70B", 4)] {
                assert!(gpu_model(gpu, shape, spread, "bf16").is_some(), "{gpu} {shape}");
            }
        }
        for model in gpu_models() {
            let GpuModel { accelerator, shape, tensor_parallel, dtype, .. } = *model;
            assert_eq!(gpu_model(accelerator, shape, tensor_parallel, dtype), Some(model));
        }
    }

    #[test]
    fn newer_gpus_are_faster_and_a_70b_model_on_four_writes_fifty_to_a_hundred_tokens_a_second() {
        let rate = |gpu| 1_000.0 / gpu_model(gpu, "70B", 4, "bf16").unwrap().time.millis(&[], 1, 1_000);
        let (h100, h200, gb200) = (rate("H100"), rate("H200"), rate("GB200"));
        assert!(50.0 < h100 && h100 < h200 && h200 < gb200 && gb200 < 110.0, "{h100} {h200} {gb200}");
    }

    #[test]
    fn memory_holds_what_the_weights_leave() {
        for model in gpu_models() {
            let gigabytes = match model.accelerator {
                "A100" | "H100" => 80.0,
                "H200" => 141.0,
                _ => 186.0,
            };
            let (weights, token) = match (model.shape, model.dtype) {
                ("8B", "bf16") => (16.06, 131_072.0),
                ("8B", _) => (9.08, 131_072.0),
                ("70B", "bf16") => (141.1, 327_680.0),
                ("70B", _) => (72.65, 327_680.0),
                _ => (65.52, 262_144.0),
            };
            let room = 0.9 * gigabytes * f64::from(model.tensor_parallel) - weights;
            let off = f64::from(model.kv_tokens) * token / (room * 1e9) - 1.0;
            assert!(off.abs() < 1e-3, "{model:?} {off}");
        }
    }
}
