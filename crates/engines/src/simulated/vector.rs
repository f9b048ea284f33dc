//! Vectors that stand for texts: texts with words in common lie near each other, and nothing else is claimed.

use super::random::{Draw, mix, mix_bytes};

/// Numbers that each word adds to.
const SPREAD: u64 = 16;
/// How much of a vector is decided by the text as a whole, so that no text is without a direction.
const WHOLE: f64 = 0.05;

/// The vector of `text`, of length 1.
pub(super) fn embed(text: &str, dimensions: usize) -> Vec<f32> {
    let mut draw = Draw::new(mix_bytes(1, text.as_bytes()));
    let mut vector: Vec<f64> = (0..dimensions).map(|_| WHOLE * (draw.unit() - 0.5)).collect();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let hash = mix_bytes(2, word.to_lowercase().as_bytes());
        for turn in 0..SPREAD {
            let place = mix(hash, turn);
            vector[(place >> 1) as usize % dimensions] += if place & 1 == 0 { 1.0 } else { -1.0 };
        }
    }
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    vector.iter().map(|x| (x / length) as f32).collect()
}

/// How near two texts are, from 0 to 1.
pub(super) fn similarity(a: &str, b: &str) -> f64 {
    const DIMENSIONS: usize = 512;
    let (a, b) = (embed(a, DIMENSIONS), embed(b, DIMENSIONS));
    let cosine: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a * b)).sum();
    cosine.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_has_length_one_and_depends_on_the_text_alone() {
        for (text, dimensions) in [("a harbour at night", 1_024), ("", 8), ("?", 1), ("漢字", 64)] {
            let vector = embed(text, dimensions);
            let length: f32 = vector.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-4, "{text} {length}");
            assert_eq!(vector, embed(text, dimensions));
        }
        assert_ne!(embed("a", 64), embed("b", 64));
    }

    #[test]
    fn texts_with_words_in_common_are_nearer() {
        let query = "what is the capital of France";
        let (near, far) = ("Paris is the capital of France.", "Bananas ripen on a window sill");
        assert!(similarity(query, near) > 0.4 && similarity(query, far) < 0.2);
        assert!(similarity(query, query) > 0.999);
    }
}
