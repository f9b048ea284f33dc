//! The step-time constants of the GPUs that can be simulated, read once from `gpus.csv`.

use std::sync::LazyLock;

use plimsoll_types::StepTime;

/// A GPU, what runs on it, and how long its steps take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    /// The GPU's name.
    pub(super) gpu: &'static str,
    /// The size of the dense model.
    pub(super) shape: &'static str,
    /// Over how many such GPUs one model is spread.
    pub(super) tensor_parallel: u32,
    /// The type of its weights.
    pub(super) dtype: &'static str,
    /// How long its steps take.
    pub(super) time: StepTime,
}

/// All rows of the table.
pub(super) static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    lines(include_str!("gpus.csv"))
        .map(|line| row(line).expect("the table is part of the program, and tested"))
        .collect()
});

/// The row for this GPU and model.
pub(super) fn find(gpu: &str, shape: &str, tensor_parallel: u32, dtype: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| {
        (row.gpu, row.shape, row.tensor_parallel, row.dtype) == (gpu, shape, tensor_parallel, dtype)
    })
}

/// The rows of a table: without comments and the names of the columns.
pub(super) fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.starts_with('#')).skip(1)
}

fn row(line: &'static str) -> Option<Row> {
    let mut cells = line.split(',');
    let (gpu, shape) = (cells.next()?, cells.next()?);
    let (tensor_parallel, dtype) = (cells.next()?.parse().ok()?, cells.next()?);
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
    cells.next().is_none().then_some(Row { gpu, shape, tensor_parallel, dtype, time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_both_shapes_on_every_gpu_and_no_row_twice() {
        for gpu in ["H100", "H200", "GB200"] {
            assert!(find(gpu, "8B", 1, "bf16").is_some() && find(gpu, "70B", 4, "bf16").is_some(), "{gpu}");
        }
        for row in ROWS.iter() {
            assert_eq!(find(row.gpu, row.shape, row.tensor_parallel, row.dtype), Some(row));
        }
    }

    #[test]
    fn newer_gpus_are_faster_and_a_70b_model_on_four_writes_fifty_to_a_hundred_tokens_a_second() {
        let rate = |gpu| 1_000.0 / find(gpu, "70B", 4, "bf16").unwrap().time.millis(&[], 1, 1_000);
        let (h100, h200, gb200) = (rate("H100"), rate("H200"), rate("GB200"));
        assert!(50.0 < h100 && h100 < h200 && h200 < gb200 && gb200 < 110.0, "{h100} {h200} {gb200}");
    }
}
