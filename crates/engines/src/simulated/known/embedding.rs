//! `/v1/embeddings`

use plimsoll_types::Usage;
use serde::Serialize;

use super::{Answered, Known, list, listed, reading};
use crate::simulated::ask::{Fields, Input, Wrong, inputs};
use crate::simulated::dialect::Origin;
use crate::simulated::vector::embed;

/// Numbers of a vector where the caller does not say.
const DIMENSIONS: u64 = 1_024;

pub(super) fn embedding(fields: &Fields, origin: &Origin) -> Result<Answered, Wrong> {
    let base64 = is_base64(fields)?;
    let dimensions = dimensions(fields)?.unwrap_or(DIMENSIONS) as usize;
    let inputs = inputs(fields, "input")?;
    let work = reading(inputs.iter().map(Input::prompt), "input")?;
    let vectors = inputs.iter().map(|input| embed(&input.text(), dimensions));
    Ok(list(items(vectors, base64), origin, work))
}

/// The answer that gives these vectors.
pub(crate) fn answer(vectors: impl Iterator<Item = Vec<f32>>, base64: bool, told: (&Origin, Usage)) -> Known {
    listed(items(vectors, base64), told.0, told.1)
}

/// Whether the caller wants vectors as text.
pub(crate) fn is_base64(fields: &Fields) -> Result<bool, Wrong> {
    match fields.text("encoding_format")? {
        None | Some("float") => Ok(false),
        Some("base64") => Ok(true),
        Some(_) => Err(Wrong::field("encoding_format", "must be float or base64")),
    }
}

/// How many numbers a vector is to have, if the caller says.
pub(crate) fn dimensions(fields: &Fields) -> Result<Option<u64>, Wrong> {
    fields.whole("dimensions", 1..=4_096)
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Embedding,
}

fn items(vectors: impl Iterator<Item = Vec<f32>>, base64: bool) -> Vec<Item> {
    let item =
        |(index, vector)| Item { object: "embedding", index, embedding: Embedding::new(vector, base64) };
    vectors.enumerate().map(item).collect()
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
