use super::*;
use proptest::prelude::*;

/// Computes the blocks of a prefix, after those that are there.
fn hold(kv: &mut Kv, names: &[u64]) -> Option<Vec<Block>> {
    let known = kv.prefix(names).blocks as usize;
    let mut blocks: Vec<Block> = names[..known].iter().map(|name| kv.share(*name).unwrap()).collect();
    for name in &names[known..] {
        let Some(block) = kv.take() else {
            give_back(kv, &blocks);
            return None;
        };
        kv.announce(block, *name);
        kv.publish(block);
        blocks.push(block);
    }
    Some(blocks)
}

fn give_back(kv: &mut Kv, blocks: &[Block]) {
    blocks.iter().rev().for_each(|block| kv.give_back(*block));
}

#[test]
fn a_prefix_is_held_once_by_all_who_begin_with_it() {
    let mut kv = Kv::new(10);
    let one = hold(&mut kv, &[1, 2, 3]).unwrap();
    let two = hold(&mut kv, &[1, 2, 4]).unwrap();
    assert_eq!((one[..2] == two[..2], kv.free(), kv.shared()), (true, 6, 2));
    give_back(&mut kv, &one);
    assert_eq!((kv.free(), kv.idle(), kv.shared()), (7, 1, 2));
    give_back(&mut kv, &two);
    assert_eq!((kv.free(), kv.idle(), kv.shared()), (10, 4, 0));
    assert_eq!(kv.prefix(&[1, 2, 3]), Prefix { blocks: 3, idle: 3, single: 0, soon: false });
}

#[test]
fn what_is_idle_for_longest_goes_first_and_the_end_of_a_prefix_before_its_beginning() {
    let mut kv = Kv::new(4);
    for names in [[1, 2], [7, 8]] {
        let blocks = hold(&mut kv, &names).unwrap();
        give_back(&mut kv, &blocks);
    }
    let taken = kv.take().unwrap();
    assert_eq!((kv.prefix(&[1, 2]).blocks, kv.prefix(&[7, 8]).blocks), (1, 2));
    kv.give_back(taken);
    assert_eq!((kv.free(), kv.idle()), (4, 3));
}

#[test]
fn a_block_can_be_shared_from_when_it_has_been_computed() {
    let mut kv = Kv::new(4);
    let block = kv.take().unwrap();
    kv.announce(block, 5);
    assert_eq!((kv.prefix(&[5]).soon, kv.share(5)), (true, None));
    kv.publish(block);
    assert_eq!((kv.prefix(&[5]).blocks, kv.share(5)), (1, Some(block)));
}

#[test]
fn a_block_given_back_before_it_was_computed_is_not_found() {
    let mut kv = Kv::new(4);
    let block = kv.take().unwrap();
    kv.announce(block, 5);
    kv.give_back(block);
    assert_eq!((kv.prefix(&[5]), kv.free(), kv.idle()), (Prefix::default(), 4, 0));
}

#[test]
fn two_who_compute_the_same_keep_a_block_each_and_one_of_them_is_found() {
    let mut kv = Kv::new(4);
    let (one, two) = (kv.take().unwrap(), kv.take().unwrap());
    kv.announce(one, 5);
    kv.announce(two, 5);
    kv.publish(one);
    kv.publish(two);
    kv.give_back(two);
    assert_eq!((kv.free(), kv.idle(), kv.prefix(&[5]).blocks), (3, 0, 1));
    kv.give_back(one);
    assert_eq!((kv.free(), kv.idle()), (4, 1));
}

proptest! {
    #[test]
    fn every_block_is_free_again_when_all_is_given_back(
        capacity in 1_u32..40,
        script in prop::collection::vec((prop::collection::vec(0_u64..4, 0..8), any::<prop::sample::Index>()), 0..80),
    ) {
        let mut kv = Kv::new(capacity);
        let mut holders: Vec<Vec<Block>> = Vec::new();
        for (path, index) in script {
            // Chained names, so that prefixes share them.
            let names: Vec<u64> = path.iter().scan(7_u64, |name, step| {
                *name = (name.wrapping_mul(31) + step + 1).wrapping_mul(0x2545_f491_4f6c_dd1d);
                Some(*name)
            }).collect();
            match hold(&mut kv, &names) {
                Some(blocks) => holders.push(blocks),
                None if holders.is_empty() => prop_assert!(names.len() > capacity as usize),
                None => give_back(&mut kv, &holders.swap_remove(index.index(holders.len()))),
            }
            let mut held: Vec<Block> = holders.concat();
            let holds = held.len();
            held.sort_unstable();
            held.dedup();
            prop_assert_eq!(kv.free(), capacity - held.len() as u32);
            prop_assert!(kv.idle() <= kv.free());
            prop_assert!(kv.shared() as usize >= usize::from(holds > held.len()));
            prop_assert!(kv.shared() as usize <= held.len());
        }
        holders.iter().for_each(|blocks| give_back(&mut kv, blocks));
        prop_assert_eq!((kv.free(), kv.shared()), (capacity, 0));
        let all: Vec<Block> = std::iter::from_fn(|| kv.take()).collect();
        prop_assert_eq!((all.len() as u32, kv.free(), kv.idle()), (capacity, 0, 0));
    }
}
