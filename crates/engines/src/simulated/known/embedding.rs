//! `/v1/embeddings`

use serde::Serialize;

use super::{Answered, list, reading};
use crate::simulated::ask::{Fields, Input, Wrong, inputs};
use crate::simulated::dialect::Origin;
use crate::simulated::vector::embed;

/// Numbers of a vector where the caller does not say.
const DIMENSIONS: u64 = 1_024;

pub(super) fn embedding(fields: &Fields, origin: &Origin) -> Result<Answered, Wrong> {
    #[derive(Serialize)]
    struct Item {
        object: &'static str,
        index: usize,
        embedding: Embedding,
    }
    let base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(Wrong::field("encoding_format", "must be float or base64")),
    };
    let dimensions = fields.whole("dimensions", 1..=4_096)?.unwrap_or(DIMENSIONS) as usize;
    let inputs = inputs(fields, "input")?;
    let work = reading(inputs.iter().map(Input::prompt), "input")?;
    let item = |(index, input): (usize, &Input<'_>)| {
        let embedding = Embedding::new(embed(&input.text(), dimensions), base64);
        Item { object: "embedding", index, embedding }
    };
    let data = inputs.iter().enumerate().map(item).collect();
    Ok(list(data, origin, work))
}

#[derive(Serialize)]
#[serde(untagged)]
enum Embedding {
    Floats(Vec<f32>),
    Base64(String),
}

impl Embedding {
    fn new(vector: Vec<f32>, base64: bool) -> Self {
        if base64 {
            Self::Base64(self::base64(&vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()))
        } else {
            Self::Floats(vector)
        }
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_written_with_its_padding() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("\0~ÿ", "AH7Dvw=="),
        ];
        for (bytes, expected) in cases {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
    }
}
