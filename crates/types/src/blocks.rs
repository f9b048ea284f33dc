//! What a prompt begins with, in numbers that can be compared. Hot path: no allocation, no lock, no await.

use std::sync::Arc;

use rapidhash::v3::rapidhash_v3;

/// Bytes of a prompt that make a block.
///
/// About 128 tokens: eight blocks of most engines. What is lost by it is half a block for each prompt, some 3 ms of
/// prefill; half the size would cost twice the memory of an index and twice the look-ups at a dispatch.
pub const BLOCK_BYTES: usize = 512;

/// Tokens of a block, roughly: as many blocks as a cache for so many tokens holds of prompts.
pub const BLOCK_TOKENS: u64 = 128;

/// Blocks of a prompt that are hashed: a megabyte. What is beyond them is counted only.
pub const MAX_BLOCKS: usize = 2_048;

/// The blocks of a prompt: hash `i` stands for everything up to the end of block `i`.
///
/// Two prompts with the same hash at `i` begin with the same `(i + 1) * BLOCK_BYTES` bytes, for the same model and
/// salt. The hashes are the same on every machine, so gateways can tell each other of them. A prompt shorter than a
/// block has none, and costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocks {
    hashes: Option<Arc<[u64]>>,
    bytes: u32,
}

/// No blocks: of a prompt that is too short, or of which nobody asks.
static NONE: Blocks = Blocks { hashes: None, bytes: 0 };

impl Blocks {
    /// No blocks.
    #[must_use]
    pub fn none() -> &'static Self {
        &NONE
    }

    /// Blocks with these hashes, of a prompt of so many bytes.
    #[must_use]
    pub fn new(hashes: &[u64], bytes: u32) -> Self {
        Self { hashes: (!hashes.is_empty()).then(|| hashes.into()), bytes }
    }

    /// The hashes, from the first block on.
    #[must_use]
    pub fn hashes(&self) -> &[u64] {
        self.hashes.as_deref().unwrap_or_default()
    }

    /// Bytes of the whole prompt, those that make no block included.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// The share of the prompt that the first `depth` blocks are, from 0 to 1.
    #[must_use]
    pub fn share(&self, depth: usize) -> f32 {
        (depth * BLOCK_BYTES) as f32 / self.bytes.max(1) as f32
    }
}

/// Where prompts begin that may share what an engine has cached: those of one model and one salt.
#[must_use]
pub fn seed(parts: &[&[u8]]) -> u64 {
    parts.iter().fold(0, |seed, part| chained(seed, rapidhash_v3(part)))
}

/// Hashes a prompt that comes in pieces, block by block, where the pieces stand.
///
/// How the bytes are cut into pieces makes no difference.
pub struct Chain<'a> {
    hashes: &'a mut Vec<u64>,
    last: u64,
    /// The beginning of a block that did not come in one piece.
    part: [u8; BLOCK_BYTES],
    filled: usize,
    bytes: usize,
}

impl<'a> Chain<'a> {
    /// A chain from `seed` on, whose hashes go into `hashes`: cleared before, and worth keeping for the next prompt.
    #[must_use]
    pub fn new(seed: u64, hashes: &'a mut Vec<u64>) -> Self {
        hashes.clear();
        Self { hashes, last: seed, part: [0; BLOCK_BYTES], filled: 0, bytes: 0 }
    }

    /// Takes the next bytes of the prompt.
    pub fn add(&mut self, mut piece: &[u8]) {
        self.bytes += piece.len();
        if self.hashes.len() == MAX_BLOCKS {
            return;
        }
        if self.filled > 0 {
            let (begin, rest) = piece.split_at(piece.len().min(BLOCK_BYTES - self.filled));
            self.part[self.filled..self.filled + begin.len()].copy_from_slice(begin);
            self.filled += begin.len();
            piece = rest;
            if self.filled < BLOCK_BYTES {
                return;
            }
            let part = self.part;
            self.block(&part);
            self.filled = 0;
        }
        let (blocks, rest) = piece.as_chunks::<BLOCK_BYTES>();
        blocks.iter().for_each(|block| self.block(block));
        self.part[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    /// Bytes taken in.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        u32::try_from(self.bytes).unwrap_or(u32::MAX)
    }

    fn block(&mut self, block: &[u8; BLOCK_BYTES]) {
        if self.hashes.len() < MAX_BLOCKS {
            self.last = chained(self.last, rapidhash_v3(block));
            self.hashes.push(self.last);
        }
    }
}

/// The hash of what ends with a block, from that of what ends before it. Blocks are hashed each by itself, so that a
/// processor can work at several.
const fn chained(before: u64, block: u64) -> u64 {
    let product = (before ^ 0x9e37_79b9_7f4a_7c15) as u128 * (block ^ 0xd1b5_4a32_d192_ed03) as u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(seed: u64, pieces: &[&[u8]]) -> Vec<u64> {
        let mut hashes = Vec::new();
        let mut chain = Chain::new(seed, &mut hashes);
        pieces.iter().for_each(|piece| chain.add(piece));
        hashes
    }

    fn prompt(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[test]
    fn how_a_prompt_is_cut_makes_no_difference() {
        let prompt = prompt(5_000);
        let whole = hashes(7, &[&prompt]);
        assert_eq!(whole.len(), 5_000 / BLOCK_BYTES);
        for cut in [1, 7, 100, 511, 512, 513, 1_300] {
            let pieces: Vec<&[u8]> = prompt.chunks(cut).collect();
            assert_eq!(hashes(7, &pieces), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_hash_stands_for_all_that_came_before() {
        let same = prompt(4_096);
        let mut other = same.clone();
        other[700] ^= 1;
        let (a, b) = (hashes(7, &[&same]), hashes(7, &[&other]));
        assert_eq!(a[0], b[0]);
        assert!(a[1..].iter().zip(&b[1..]).all(|(a, b)| a != b));
        assert!(a.iter().zip(&hashes(8, &[&same])).all(|(a, b)| a != b), "another salt shares nothing");
    }

    #[test]
    fn what_is_beyond_the_last_block_is_counted() {
        let long = prompt(MAX_BLOCKS * BLOCK_BYTES + 5_000);
        let mut hashes = Vec::new();
        let mut chain = Chain::new(1, &mut hashes);
        long.chunks(10_000).for_each(|piece| chain.add(piece));
        assert_eq!(chain.bytes() as usize, long.len());
        assert_eq!(hashes.len(), MAX_BLOCKS);
    }

    #[test]
    fn hashes_are_the_same_on_every_machine() {
        let of = hashes(seed(&[b"model", b"", b"salt"]), &[&prompt(1_024)]);
        assert_eq!(
            of,
            [13_531_121_124_638_200_350, 9_060_575_221_001_244_796],
            "gateways of one major version share these"
        );
    }

    #[test]
    fn a_prompt_shorter_than_a_block_has_none() {
        assert_eq!(hashes(1, &[&prompt(511)]), []);
        let blocks = Blocks::new(&[], 511);
        assert_eq!((blocks.hashes(), blocks.share(0)), (&[][..], 0.0));
        assert_eq!(Blocks::new(&[1, 2], 2_048).share(1), 0.25);
    }
}
