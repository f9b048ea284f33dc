use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

/// The hash of the block at the end of a path, as a chain of hashes would have it.
fn blocks(path: &[u8]) -> Vec<u64> {
    let mut hash = 7_u64;
    let chained = path.iter().map(|step| {
        hash = (hash ^ u64::from(*step)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
        hash
    });
    chained.collect()
}

fn depths(index: &Index, blocks: &[u64], now: Instant) -> (BTreeMap<usize, usize>, usize) {
    let mut depths = BTreeMap::new();
    let everywhere = index.matched(blocks, now, |slot, depth| {
        depths.insert(slot, depth);
    });
    (depths, everywhere)
}

#[test]
fn each_owner_has_its_depth() {
    let index = Index::new(10_000);
    let caches: Vec<Cache> = [5, 7].map(|slot| index.join(slot, 100).unwrap()).into();
    let prompt = blocks(&[1; 40]);
    assert_eq!(caches[0].insert(&prompt[..30], at(0)), 0);
    assert_eq!(caches[1].insert(&prompt[..11], at(0)), 0);
    assert_eq!(caches[1].insert(&prompt[..12], at(0)), 11);
    assert_eq!(depths(&index, &prompt, at(0)), (BTreeMap::from([(5, 30), (7, 12)]), 0));
    assert_eq!(depths(&index, &prompt[..20], at(0)).0, BTreeMap::from([(5, 20), (7, 12)]));
    caches[0].remove(&prompt[8..]);
    assert_eq!(depths(&index, &prompt, at(0)).0, BTreeMap::from([(5, 8), (7, 12)]));
    drop(caches);
    assert_eq!((depths(&index, &prompt, at(0)).0.len(), index.blocks()), (0, 0));
}

#[test]
fn a_prefix_that_everyone_has_draws_nobody() {
    let index = Index::new(10_000);
    let caches: Vec<Cache> = (0..32).map(|slot| index.join(slot, 100).unwrap()).collect();
    let system = blocks(&[1; 10]);
    for (slot, cache) in (0..).zip(&caches) {
        let mut path = vec![1; 10];
        path.extend([slot; 5]);
        cache.insert(&blocks(&path), at(1));
    }
    assert_eq!(depths(&index, &system, at(1)), (BTreeMap::new(), 10));
    let path = [[1; 10].as_slice(), &[3; 5], &[9; 5]].concat();
    assert_eq!(depths(&index, &blocks(&path), at(1)), (BTreeMap::from([(3, 15)]), 10));
    assert_eq!(depths(&index, &system, at(200)), (BTreeMap::new(), 0), "and is forgotten when nobody asks");
}

#[test]
fn what_is_used_stays_and_the_end_of_a_prompt_goes_first() {
    let index = Index::new(10_000);
    let cache = index.join(0, 20).unwrap();
    let (used, idle) = (blocks(&[1; 8]), blocks(&[2; 8]));
    cache.insert(&idle, at(0));
    cache.insert(&used, at(0));
    for other in 10..14 {
        cache.insert(&used, at(0));
        cache.insert(&blocks(&[other; 2]), at(0));
    }
    assert_eq!(depths(&index, &used, at(0)).0[&0], 8);
    assert_eq!(depths(&index, &idle, at(0)).0[&0], 4);
    assert_eq!(cache.held(), (20, 20));
}

#[test]
fn what_a_backend_says_of_its_cache_paces_ours() {
    let index = Index::new(10_000);
    let cache = index.join(0, 100).unwrap();
    let prompt = blocks(&[1; 40]);
    cache.insert(&prompt, at(0));
    (0..20).for_each(|_| cache.evict(1.0 / 80.0));
    cache.evict(4.0 / 32.0);
    assert_eq!(depths(&index, &prompt, at(0)).0[&0], 28);
    cache.clear();
    assert_eq!((index.blocks(), cache.held()), (0, (0, 100)));
    cache.evict(1.0);
    assert_eq!(cache.insert(&prompt, at(0)), 0);
}

#[test]
fn a_prompt_longer_than_a_cache_is_there_as_far_as_it_fits() {
    let index = Index::new(10_000);
    let cache = index.join(0, 20).unwrap();
    cache.insert(&blocks(&[2; 40]), at(0));
    assert_eq!(cache.held(), (20, 20));
    let none = index.join(1, 0).unwrap();
    assert_eq!(none.insert(&blocks(&[1; 40]), at(0)), 0);
}

#[test]
fn a_full_index_refuses_and_says_so() {
    let index = Index::new(1);
    let cache = index.join(0, 10_000).unwrap();
    let long: Vec<u8> = (0..2_000).map(|step| (step % 251) as u8).collect();
    cache.insert(&blocks(&long), at(0));
    assert_eq!((index.blocks(), index.refused()), (1_280, 720));
}

#[test]
fn seats_are_given_back() {
    let index = Index::new(1);
    for slot in 0..3 * usize::from(SEATS) {
        drop(index.join(slot, 1).unwrap());
    }
    let all: Vec<Option<Cache>> = (0..=usize::from(SEATS)).map(|slot| index.join(slot, 0)).collect();
    assert!(all[usize::from(SEATS)].is_none());
}

#[test]
fn cores_may_share_it() {
    let index = Index::new(100_000);
    let cache = index.join(0, 500).unwrap();
    std::thread::scope(|scope| {
        for core in 0..4_u8 {
            let (index, cache) = (&index, &cache);
            scope.spawn(move || {
                for round in 0..200_u8 {
                    let prompt = blocks(&[core, round, 1, 2, 3, 4, 5, 6, 7, 8]);
                    cache.insert(&prompt, at(0));
                    depths(index, &prompt, at(0));
                    cache.remove(&prompt[9..]);
                }
            });
        }
    });
    let (held, room) = cache.held();
    assert!(held <= room && index.blocks() <= room, "{held} {}", index.blocks());
}

proptest! {
    /// While nothing is evicted, the index knows what a list of all that was sent knows.
    #[test]
    fn it_knows_what_was_sent_where(
        sent in proptest::collection::vec((0_usize..8, proptest::collection::vec(0_u8..3, 0..12)), 0..40),
        cleared in 0_usize..8,
        asked in proptest::collection::vec(0_u8..3, 0..14),
    ) {
        let index = Index::new(10_000);
        let caches: Vec<Cache> = (0..8).map(|slot| index.join(slot, 1_000).unwrap()).collect();
        let mut expected = BTreeMap::new();
        for (slot, path) in &sent {
            caches[*slot].insert(&blocks(path), at(0));
            let common = path.iter().zip(&asked).take_while(|(a, b)| a == b).count();
            let depth = expected.entry(*slot).or_insert(0);
            *depth = common.max(*depth);
        }
        caches[cleared].clear();
        expected.remove(&cleared);
        expected.retain(|_, depth| *depth > 0);
        prop_assert_eq!(depths(&index, &blocks(&asked), at(0)), (expected, 0));
    }

    /// Whatever happens, a cache holds no more than it has room for, and the last prompt is there.
    #[test]
    fn an_emulated_cache_never_overflows(
        room in 12_usize..60,
        sent in proptest::collection::vec(proptest::collection::vec(0_u8..3, 1..12), 1..200),
    ) {
        let index = Index::new(10_000);
        let cache = index.join(3, room).unwrap();
        for path in &sent {
            let prompt = blocks(path);
            cache.insert(&prompt, at(0));
            let (held, _) = cache.held();
            prop_assert!(held <= room && index.blocks() <= held);
            prop_assert!(depths(&index, &prompt[..1], at(0)).0.contains_key(&3));
        }
    }
}
