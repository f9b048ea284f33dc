use super::super::{Options, read_from};
use super::*;

fn trace() -> Trace {
    let text = "at_s,prompt_tokens,output_tokens,tenant,blocks\n0,20,5,a,1;2\n2,40,6,b,1;3;4\n3,100,7,a,\n10,9,9,b,5\n";
    read_from("t", text.as_bytes(), &Options::default()).unwrap().0
}

fn seconds(trace: &Trace) -> Vec<f64> {
    trace.arrivals.iter().map(|arrival| arrival.at.as_secs_f64()).collect()
}

#[test]
fn a_slice_begins_at_zero_and_keeps_its_blocks() {
    let part = slice(trace(), Duration::from_secs(2), Some(Duration::from_secs(8)));
    assert_eq!(seconds(&part), [0.0, 1.0]);
    assert_eq!(part.blocks_of(&part.arrivals[0]), [1, 3, 4]);
    assert_eq!(seconds(&slice(trace(), Duration::from_secs(3), None)), [0.0, 7.0]);
}

#[test]
fn twice_the_rate_is_half_the_time() {
    assert_eq!(seconds(&scale(trace(), 2.0)), [0.0, 1.0, 1.5, 5.0]);
    assert_eq!(scale(trace(), 0.0), trace());
    assert_eq!(first(trace(), 2).arrivals.len(), 2);
}

#[test]
fn copies_raise_the_rate_and_share_nothing_with_each_other() {
    let whole = replicate(trace(), 3, 1).unwrap();
    assert_eq!(whole.arrivals.len(), 12);
    assert!(whole.arrivals.is_sorted_by_key(|arrival| arrival.at));
    // A period is the trace and the gap after its end, so that the beginning does not fall on the end.
    assert!(whole.duration() < Duration::from_secs(14));
    let firsts: Vec<u64> =
        whole.arrivals.iter().filter_map(|a| whole.blocks_of(a).first().copied()).collect();
    for id in &firsts {
        let alike = firsts.iter().filter(|other| *other == id).count();
        assert!(alike == 2 || alike == 1, "{id} is shared by {alike}");
    }
    assert_eq!(replicate(trace(), 1, 1).unwrap(), trace());
    assert_eq!(replicate(trace(), 3, 1).unwrap(), whole);
}

#[test]
fn a_prompt_that_is_cut_loses_the_blocks_beyond() {
    let cut = cap(trace(), 30, 6);
    let lengths: Vec<_> =
        cut.arrivals.iter().map(|a| (a.prompt_tokens, a.output_tokens, cut.blocks_of(a).len())).collect();
    assert_eq!(lengths, [(20, 5, 2), (30, 6, 2), (30, 6, 0), (9, 6, 1)]);
}

#[test]
fn tenants_can_be_chosen_and_drawn_anew() {
    assert_eq!(seconds(&only_tenants(trace(), &["b".into()])), [2.0, 10.0]);
    let mut long = trace();
    long.arrivals = vec![long.arrivals[0]; 10_000];
    let shared = share_tenants(long, &[("x".into(), 1.0), ("y".into(), 3.0)], 7);
    let first = shared.arrivals.iter().filter(|arrival| arrival.tenant == 0).count();
    assert!(shared.tenants == ["x", "y"] && first.abs_diff(2_500) < 150, "{first}");
    assert_eq!(share_regions(trace(), &[], 1), trace());
}
