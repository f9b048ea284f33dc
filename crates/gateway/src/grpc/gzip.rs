//! Messages as gzip.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use plimsoll_types::ServeError;

/// Unpacks a message of at most `limit` bytes.
///
/// # Errors
///
/// Where it is not gzip, or unpacks to more.
pub(super) fn unpacked(message: &[u8], limit: u64) -> Result<Bytes, ServeError> {
    let mut out = Vec::new();
    // One byte more than may be tells a bomb from a message that is just as long as it may be.
    let mut reader = GzDecoder::new(message).take(limit + 1);
    reader
        .read_to_end(&mut out)
        .map_err(|_| ServeError::invalid("a message is not the gzip that it claims to be"))?;
    if out.len() as u64 > limit {
        return Err(ServeError::TooLarge { limit });
    }
    Ok(out.into())
}

/// Packs all that stands in `out` behind `start`, a message with its five bytes.
pub(super) fn pack(out: &mut Vec<u8>, start: usize) {
    const PREFIX: usize = plimsoll_engines::grpc::PREFIX;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(&out[start + PREFIX..]).and_then(|()| encoder.finish());
    let Ok(packed) = packed else { return };
    out.truncate(start);
    out.push(1);
    out.extend_from_slice(&u32::try_from(packed.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&packed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_engines::grpc::put_frame;

    #[test]
    fn what_is_packed_unpacks_and_a_bomb_does_not() {
        let (mut out, text) = (b"before".to_vec(), vec![b'a'; 10_000]);
        put_frame(&mut out, &text);
        pack(&mut out, 6);
        assert_eq!((&out[..6], out[6]), (&b"before"[..], 1));
        assert!(out.len() < 200);
        assert_eq!(unpacked(&out[11..], 10_000).unwrap(), text);
        assert_eq!(unpacked(&out[11..], 9_999), Err(ServeError::TooLarge { limit: 9_999 }));
        assert!(unpacked(b"no gzip", 10).is_err());
    }
}
