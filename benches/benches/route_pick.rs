//! How long does a pick take as the fleet grows?

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll_benches::subject::pick;

fn route_pick(c: &mut Criterion) {
    for policy in ["expected_cost", "power_of_two", "round_robin", "least_in_flight"] {
        let mut group = c.benchmark_group(format!("route_pick/{policy}"));
        for backends in [2, 32, 512, 10_000] {
            group.bench_function(BenchmarkId::from_parameter(backends), |b| b.iter(pick(policy, backends)));
        }
    }
}

criterion_group!(benches, route_pick);
criterion_main!(benches);
