//! Chooses the next token by how likely each is.
//!
//! A draw depends on the seed and the position alone, never on who else is in a step.
//!
//! Hot path: nothing is allocated once the vocabulary has been drawn from.

use plimsoll_engines::executor::Sampling;

/// Tokens that are looked at first where the likeliest are wanted that have some share together.
const FIRST: usize = 64;

/// Chooses tokens; what it needs for that is kept from draw to draw.
#[derive(Debug, Default)]
pub struct Sampler {
    likely: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    /// How likely it is: a score, then a weight.
    weight: f32,
}

impl Sampler {
    /// The token at `position`, where the scores of the whole vocabulary are `scores`.
    pub fn choose(&mut self, scores: &[f32], sampling: &Sampling, position: u32) -> u32 {
        if sampling.temperature <= 0.0 || sampling.top_k == 1 {
            return likeliest(scores);
        }
        let candidates =
            (0..).zip(scores).map(|(id, score)| Candidate { id, weight: score / sampling.temperature });
        self.likely.clear();
        self.likely.extend(candidates);
        let kept = sampling.top_k as usize;
        if (1..self.likely.len()).contains(&kept) {
            self.likely.select_nth_unstable_by(kept - 1, likelier);
            self.likely.truncate(kept);
        }
        self.weigh();
        if sampling.top_p < 1.0 {
            self.keep_share(sampling.top_p);
        }
        self.draw(uniform(sampling.seed, position))
    }

    /// So many of the likeliest tokens, the likeliest first.
    pub fn likeliest(&mut self, scores: &[f32], count: usize) -> impl Iterator<Item = u32> {
        let candidates = (0..).zip(scores).map(|(id, score)| Candidate { id, weight: *score });
        self.likely.clear();
        self.likely.extend(candidates);
        let count = count.min(self.likely.len());
        if (1..self.likely.len()).contains(&count) {
            self.likely.select_nth_unstable_by(count - 1, likelier);
        }
        self.likely[..count].sort_unstable_by(likelier);
        self.likely[..count].iter().map(|candidate| candidate.id)
    }

    /// Turns scores into weights, the likeliest of which is 1.
    fn weigh(&mut self) {
        let most = self.likely.iter().map(|candidate| candidate.weight).fold(f32::NEG_INFINITY, f32::max);
        self.likely.iter_mut().for_each(|candidate| candidate.weight = (candidate.weight - most).exp());
    }

    /// Keeps the fewest of the likeliest that have `share` of all together, one at least.
    fn keep_share(&mut self, share: f32) {
        let wanted = share * self.total();
        let mut look = FIRST;
        loop {
            let looked = look.min(self.likely.len());
            if looked < self.likely.len() {
                self.likely.select_nth_unstable_by(looked, likelier);
            }
            self.likely[..looked].sort_unstable_by(likelier);
            let mut sum = 0.0;
            let enough = self.likely[..looked].iter().position(|candidate| {
                sum += candidate.weight;
                sum >= wanted
            });
            if let Some(last) = enough.or((looked == self.likely.len()).then_some(looked - 1)) {
                return self.likely.truncate(last + 1);
            }
            look *= 8;
        }
    }

    fn total(&self) -> f32 {
        self.likely.iter().map(|candidate| candidate.weight).sum()
    }

    /// The candidate at `share` of all weights.
    fn draw(&self, share: f32) -> u32 {
        let mut left = share * self.total();
        let drawn = self.likely.iter().find(|candidate| {
            left -= candidate.weight;
            left < 0.0
        });
        // Rounding may leave a little after the last one.
        drawn.or(self.likely.last()).map_or(0, |candidate| candidate.id)
    }
}

fn likelier(one: &Candidate, other: &Candidate) -> std::cmp::Ordering {
    other.weight.total_cmp(&one.weight).then(one.id.cmp(&other.id))
}

/// The token with the highest score, the first of equals.
#[must_use]
pub fn likeliest(scores: &[f32]) -> u32 {
    const LANES: usize = 16;
    // Lanes that do not wait for each other: the vocabulary is long.
    let mut most = [f32::NEG_INFINITY; LANES];
    let chunks = scores.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (most, score) in most.iter_mut().zip(chunk) {
            *most = most.max(*score);
        }
    }
    let highest = most.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter().position(|score| *score == highest).unwrap_or(0) as u32
}

/// What is taken from a score to make it the logarithm of a share.
#[must_use]
pub fn whole(scores: &[f32]) -> f32 {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|score| f64::from(score - most).exp()).sum();
    most + sum.ln() as f32
}

/// A number from 0 to 1, exclusive, that `seed` and `position` decide.
fn uniform(seed: u64, position: u32) -> f32 {
    // The finisher of SplitMix64, twice, so that neighbouring seeds and positions have nothing in common.
    let bits = finish(finish(seed).wrapping_add(u64::from(position).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    (bits >> 40) as f32 / (1_u64 << 24) as f32
}

fn finish(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOT: Sampling =
        Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, seed: 0, likely: None, endless: false };

    /// How often each of the tokens is drawn from `scores`.
    fn drawn(scores: &[f32], sampling: Sampling) -> Vec<u32> {
        let (mut sampler, mut counts) = (Sampler::default(), vec![0; scores.len()]);
        for seed in 0..2_000 {
            counts[sampler.choose(scores, &Sampling { seed, ..sampling }, 7) as usize] += 1;
        }
        counts
    }

    #[test]
    fn at_temperature_zero_the_likeliest_is_taken_and_of_equals_the_first() {
        let mut scores = vec![0.5; 100];
        (scores[41], scores[97]) = (3.0, 3.0);
        assert_eq!(likeliest(&scores), 41);
        scores[98] = 3.5;
        assert_eq!(Sampler::default().choose(&scores, &Sampling { temperature: 0.0, ..HOT }, 1), 98);
        assert_eq!(Sampler::default().choose(&scores, &Sampling { top_k: 1, ..HOT }, 1), 98);
    }

    #[test]
    fn draws_follow_the_scores_and_the_temperature() {
        let scores = [0.0, 1.0_f32, 2.0];
        let counts = drawn(&scores, HOT);
        let whole: f32 = scores.iter().map(|score| score.exp()).sum();
        for (count, score) in counts.iter().zip(scores) {
            let expected = 2_000.0 * score.exp() / whole;
            assert!((*count as f32 - expected).abs() < 80.0, "{counts:?}");
        }
        let cold = drawn(&scores, Sampling { temperature: 0.1, ..HOT });
        assert!(cold[2] > 1_980, "{cold:?}");
    }

    #[test]
    fn only_the_likeliest_are_drawn_where_their_number_or_their_share_is_bounded() {
        let mut scores: Vec<f32> = (0..500).map(|at| (at as f32 * 0.7).sin()).collect();
        (scores[200], scores[300], scores[400]) = (9.0, 8.0, 7.0);
        let only = |sampling: Sampling| {
            let counts = drawn(&scores, sampling);
            counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(id, _)| id).collect::<Vec<_>>()
        };
        assert_eq!(only(Sampling { top_k: 2, ..HOT }), [200, 300]);
        assert_eq!(only(Sampling { top_p: 0.5, ..HOT }), [200]);
        assert_eq!(only(Sampling { top_p: 0.0, ..HOT }), [200]);
        assert!(only(Sampling { top_p: 0.99, ..HOT }).len() > FIRST);
    }

    #[test]
    fn shares_add_up_and_the_likeliest_come_first() {
        let scores: Vec<f32> = (0..200).map(|at| (at as f32 * 0.37).sin() * 9.0).collect();
        let whole = whole(&scores);
        let sum: f32 = scores.iter().map(|score| (score - whole).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-4, "{sum}");
        let mut sampler = Sampler::default();
        let first: Vec<u32> = sampler.likeliest(&scores, 20).collect();
        assert_eq!((first.len(), first[0]), (20, likeliest(&scores)));
        assert!(first.windows(2).all(|pair| scores[pair[0] as usize] >= scores[pair[1] as usize]));
        assert_eq!(sampler.likeliest(&scores, 0).count(), 0);
        assert_eq!(sampler.likeliest(&scores[..5], 20).count(), 5);
    }

    #[test]
    fn a_draw_is_decided_by_seed_and_position_alone() {
        let scores: Vec<f32> = (0..50).map(|at| (at as f32).cos()).collect();
        let text = |seed: u64| {
            let mut sampler = Sampler::default();
            (0..20).map(|at| sampler.choose(&scores, &Sampling { seed, ..HOT }, at)).collect::<Vec<_>>()
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        let mut disturbed = Sampler::default();
        disturbed.choose(&scores, &Sampling { top_k: 3, ..HOT }, 3);
        assert_eq!(disturbed.choose(&scores, &Sampling { seed: 1, ..HOT }, 0), text(1)[0]);
    }
}
