//! Protobuf's wire format: tags, varints, lengths.

/// A value as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Wire types.
pub(crate) const VARINT: u32 = 0;
pub(crate) const FIXED64: u32 = 1;
pub(crate) const BYTES: u32 = 2;
pub(crate) const FIXED32: u32 = 5;

/// The fields of a message, in the order of the wire.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field and its value.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, &'static str> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
        let value = match (tag & 7) as u32 {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => Value::Fixed64(self.fixed64()?),
            BYTES => Value::Bytes(self.bytes()?),
            FIXED32 => Value::Fixed32(self.fixed32()?),
            _ => return Err("has a field of a type that no message here has"),
        };
        Ok(Some((number.ok_or("has a field without a number")?, value)))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0;
        for shift in 0..10 {
            let (byte, rest) = self.rest.split_first().ok_or(CUT)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("has a number that is too long")
    }

    pub(crate) fn fixed64(&mut self) -> Result<u64, &'static str> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(CUT)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    pub(crate) fn fixed32(&mut self) -> Result<u32, &'static str> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(CUT)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn bytes(&mut self) -> Result<&'a [u8], &'static str> {
        let length = usize::try_from(self.varint()?).map_err(|_| CUT)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(CUT)?;
        self.rest = rest;
        Ok(bytes)
    }
}

const CUT: &str = "is cut short";

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u32) {
    put_varint(out, u64::from(number << 3 | wire_type));
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Puts the length before all that was written since the byte that was left for it at `start - 1`.
pub(crate) fn put_length_at(out: &mut Vec<u8>, start: usize) {
    let mut length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return;
    }
    let (mut text, mut digits) = ([0; 10], 0);
    while length >= 0x80 {
        text[digits] = (length & 0x7f) as u8 | 0x80;
        length >>= 7;
        digits += 1;
    }
    text[digits] = length as u8;
    out.splice(start - 1..start, text[..=digits].iter().copied());
}
