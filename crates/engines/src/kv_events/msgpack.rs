//! MessagePack, as far as events need it. Nothing is allocated, and no length is believed before its bytes are there.

use super::Malformed;

/// A value, or the beginning of one that holds others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Nil,
    Bool,
    Whole(i128),
    Float(f64),
    Text(&'a [u8]),
    Bytes,
    Array(u32),
    Map(u32),
}

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn value(&mut self) -> Result<Value<'a>, Malformed> {
        let [mark] = self.take()?;
        Ok(match mark {
            0x00..=0x7f => Value::Whole(mark.into()),
            0x80..=0x8f => Value::Map((mark & 0x0f).into()),
            0x90..=0x9f => Value::Array((mark & 0x0f).into()),
            0xa0..=0xbf => Value::Text(self.bytes((mark & 0x1f).into())?),
            0xc0 => Value::Nil,
            0xc2 | 0xc3 => Value::Bool,
            0xc4..=0xc6 => {
                self.length(mark - 0xc4).and_then(|length| self.bytes(length)).map(|_| Value::Bytes)?
            }
            0xc7..=0xc9 => {
                let length = self.length(mark - 0xc7)?;
                self.bytes(length.saturating_add(1)).map(|_| Value::Bytes)?
            }
            0xca => Value::Float(f32::from_be_bytes(self.take()?).into()),
            0xcb => Value::Float(f64::from_be_bytes(self.take()?)),
            0xcc => Value::Whole(u8::from_be_bytes(self.take()?).into()),
            0xcd => Value::Whole(u16::from_be_bytes(self.take()?).into()),
            0xce => Value::Whole(u32::from_be_bytes(self.take()?).into()),
            0xcf => Value::Whole(u64::from_be_bytes(self.take()?).into()),
            0xd0 => Value::Whole(i8::from_be_bytes(self.take()?).into()),
            0xd1 => Value::Whole(i16::from_be_bytes(self.take()?).into()),
            0xd2 => Value::Whole(i32::from_be_bytes(self.take()?).into()),
            0xd3 => Value::Whole(i64::from_be_bytes(self.take()?).into()),
            0xd4..=0xd8 => self.bytes((1 << (mark - 0xd4)) + 1).map(|_| Value::Bytes)?,
            0xd9..=0xdb => self.length(mark - 0xd9).and_then(|length| self.bytes(length)).map(Value::Text)?,
            0xdc | 0xdd => Value::Array(self.length(mark - 0xdc + 1)?),
            0xde | 0xdf => Value::Map(self.length(mark - 0xde + 1)?),
            0xe0..=0xff => Value::Whole((mark as i8).into()),
            0xc1 => return Err(Malformed("a byte that begins no value")),
        })
    }

    /// Passes a value with all that it holds, however deep: each turn takes a byte at least.
    pub(super) fn skip(&mut self) -> Result<(), Malformed> {
        let mut due = 1_u64;
        while due > 0 {
            due -= 1;
            due += match self.value()? {
                Value::Array(items) => items.into(),
                Value::Map(members) => 2 * u64::from(members),
                _ => 0,
            };
        }
        Ok(())
    }

    pub(super) fn array(&mut self) -> Result<u32, Malformed> {
        match self.value()? {
            Value::Array(items) => Ok(items),
            _ => Err(Malformed("an array was due")),
        }
    }

    /// Passes an array and says how many items it has; none for nil.
    pub(super) fn counted(&mut self) -> Result<u32, Malformed> {
        match self.value()? {
            Value::Array(items) => (0..items).try_for_each(|_| self.skip()).map(|()| items),
            Value::Nil => Ok(0),
            _ => Err(Malformed("an array was due")),
        }
    }

    /// A text; empty for nil.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Malformed> {
        match self.value()? {
            Value::Text(text) => Ok(text),
            Value::Nil => Ok(b""),
            _ => Err(Malformed("a text was due")),
        }
    }

    /// A whole number; zero for nil.
    pub(super) fn whole(&mut self) -> Result<i128, Malformed> {
        match self.value()? {
            Value::Whole(number) => Ok(number),
            Value::Nil => Ok(0),
            _ => Err(Malformed("a whole number was due")),
        }
    }

    pub(super) fn size(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.whole()?).map_err(|_| Malformed("a size that cannot be"))
    }

    /// A length of one, two or four bytes.
    fn length(&mut self, power: u8) -> Result<u32, Malformed> {
        Ok(match power {
            0 => u8::from_be_bytes(self.take()?).into(),
            1 => u16::from_be_bytes(self.take()?).into(),
            _ => u32::from_be_bytes(self.take()?),
        })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed("it breaks off"))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn bytes(&mut self, length: u32) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length as usize).ok_or(Malformed("it breaks off"))?;
        self.rest = rest;
        Ok(taken)
    }
}
