//! How long does a pick take as the fleet grows?

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll_benches::subject::{pick, pick_with_prompt};

fn route_pick(c: &mut Criterion) {
    for policy in ["expected_cost", "power_of_two", "round_robin", "least_in_flight"] {
        let mut group = c.benchmark_group(format!("route_pick/{policy}"));
        for backends in [2, 32, 512, 10_000] {
            group.bench_function(BenchmarkId::from_parameter(backends), |b| b.iter(pick(policy, backends)));
        }
    }
    for policy in ["expected_cost", "prefix_affinity", "prefix_hash"] {
        let mut group = c.benchmark_group(format!("route_pick_with_prompt/{policy}"));
        for backends in [32, 512, 10_000] {
            let id = BenchmarkId::from_parameter(backends);
            group.bench_function(id, |b| b.iter(pick_with_prompt(policy, backends)));
        }
    }
}

criterion_group!(benches, route_pick);
criterion_main!(benches);
