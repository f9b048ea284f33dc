//! Reads the published traces, where they are at hand, and holds them to what is known of them.

use std::path::{Path, PathBuf};

use super::*;

/// A published file, which the repository does not hold.
fn published(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces").join(file);
    if !path.exists() {
        println!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}

fn published_trace(file: &str, options: &Options) -> Option<Trace> {
    let (trace, problems) = read(&published(file)?, options).unwrap();
    assert!(problems.is_empty(), "{problems}");
    Some(trace)
}

/// Mean, median, ninth decile, 99th percentile and maximum.
fn figures(trace: &Trace, of: fn(&Arrival) -> u32) -> [u32; 5] {
    let mut lengths: Vec<u32> = trace.arrivals.iter().map(of).collect();
    lengths.sort_unstable();
    let sum: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
    // Between two lengths as numpy does, which the published figures come from.
    let at = |share: f64| {
        let rank = share * (lengths.len() - 1) as f64;
        let (below, above) = (f64::from(lengths[rank as usize]), f64::from(lengths[rank.ceil() as usize]));
        (below + (above - below) * rank.fract()).round_ties_even() as u32
    };
    let mean = (sum as f64 / lengths.len() as f64).round() as u32;
    [mean, at(0.5), at(0.9), at(0.99), at(1.0)]
}

fn assert_figures(trace: &Trace, prompt: [u32; 5], output: [u32; 5]) {
    assert_eq!(figures(trace, |arrival| arrival.prompt_tokens), prompt);
    assert_eq!(figures(trace, |arrival| arrival.output_tokens), output);
}

#[test]
fn the_trace_of_azures_code_service_is_as_published() {
    let file = "azure2023/AzureLLMInferenceTrace_code.csv";
    let Some(trace) = published_trace(file, &Options::default()) else { return };
    assert_eq!((trace.arrivals.len(), trace.duration().as_secs()), (8_819, 3_435));
    assert_figures(&trace, [2_048, 1_469, 5_188, 7_436, 7_437], [28, 13, 55, 251, 1_899]);
    assert_eq!(trace.name, "AzureLLMInferenceTrace_code");
}

#[test]
fn the_trace_of_azures_chat_service_is_as_published() {
    let file = "azure2023/AzureLLMInferenceTrace_conv.csv";
    let Some(trace) = published_trace(file, &Options::default()) else { return };
    assert_eq!((trace.arrivals.len(), trace.duration().as_secs()), (19_366, 3_501));
    assert_figures(&trace, [1_155, 1_020, 2_734, 4_142, 14_050], [211, 129, 424, 601, 1_000]);
}

#[test]
fn mooncakes_conversations_are_as_published_and_share_their_first_block() {
    let options = Options { jitter: Duration::from_secs(3), ..Options::default() };
    let Some(trace) = published_trace("mooncake/conversation_trace.jsonl", &options) else { return };
    assert_eq!((trace.arrivals.len(), trace.duration().as_secs() / 10), (12_031, 353));
    assert_figures(&trace, [12_035, 6_909, 27_367, 85_400, 126_195], [343, 350, 597, 1_119, 2_000]);
    assert!(trace.arrivals.iter().all(|arrival| trace.blocks_of(arrival)[0] == 0));
    let unique: std::collections::HashSet<&u64> = trace.blocks.iter().collect();
    assert_eq!(unique.len(), 182_790);
    let moments: std::collections::HashSet<Duration> = trace.arrivals.iter().map(|a| a.at).collect();
    assert!(moments.len() > 12_000, "{}", moments.len());
}
