//! A million blocks of prompts are indexed in 64 MiB: counted by an allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use plimsoll_routing::affinity::{Cache, Index};
use plimsoll_types::Instant;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

struct Counting;

fn more(bytes: usize) {
    let held = HELD.fetch_add(bytes, Relaxed) + bytes;
    MOST.fetch_max(held, Relaxed);
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write; this one passes everything on")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        HELD.fetch_sub(layout.size(), Relaxed);
        more(size);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_million_blocks_take_at_most_64_mib() {
    const BLOCKS: usize = 1_000_000;
    const BACKENDS: usize = 400;
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    let index = Index::new(BLOCKS);
    let caches: Vec<Cache> = (0..BACKENDS).map(|slot| index.join(slot, BLOCKS / BACKENDS).unwrap()).collect();
    let mut number = 0_u64;
    let mut prompt = [0; 50];
    for round in 0..BLOCKS / prompt.len() {
        prompt.fill_with(|| {
            number += 1;
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        caches[round % BACKENDS].insert(&prompt, Instant::ORIGIN);
        if round % 2_000 == 0 {
            let held = HELD.load(Relaxed) - before;
            println!("{:>8} blocks: {:>5.1} MiB", index.blocks(), held as f64 / f64::from(1 << 20));
        }
    }
    let (held, most) = (HELD.load(Relaxed) - before, MOST.load(Relaxed) - before);
    println!("{BLOCKS} blocks: {} bytes a block, {} at most", held / BLOCKS, most / BLOCKS);
    assert_eq!((index.blocks(), index.refused()), (BLOCKS, 0));
    assert!(most <= 64 << 20, "{most} bytes");
    drop(caches);
    assert_eq!(index.blocks(), 0);
}
