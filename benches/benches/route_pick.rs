//! How long does a pick take as the fleet grows?

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll_routing::{Config, Fleet, RequestShape, Router};
use plimsoll_types::{BackendSpec, Instant, ServedModel};

fn fleet(backends: usize, policy: &'static str) -> Fleet {
    let spec = |index: usize| BackendSpec {
        name: format!("b{index}"),
        models: vec![ServedModel::plain("m")],
        max_in_flight: u32::MAX,
        ..BackendSpec::default()
    };
    Fleet::new((0..backends).map(spec).collect(), Config { policy, ..Config::default() }, None)
}

fn route_pick(c: &mut Criterion) {
    for policy in ["power_of_two", "round_robin", "least_in_flight"] {
        let mut group = c.benchmark_group(format!("route_pick/{policy}"));
        for backends in [2, 32, 1_024] {
            let fleet = fleet(backends, policy);
            let pool = Arc::clone(fleet.pool("m").expect("a bench needs a pool"));
            let mut router = Router::new(1);
            let request = RequestShape { prompt_tokens: 500, now: Instant::from_nanos(1_000_000) };
            group.bench_function(BenchmarkId::from_parameter(backends), |b| {
                b.iter(|| router.pick(&pool, black_box(&request), &[], &fleet.config).is_ok());
            });
        }
    }
}

criterion_group!(benches, route_pick);
criterion_main!(benches);
