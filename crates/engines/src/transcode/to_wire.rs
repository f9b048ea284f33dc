use std::ops::Range;

use plimsoll_proto::schema::{Field, Form, Kind, Message};
use smallvec::SmallVec;

use super::wire::{BYTES, FIXED32, FIXED64, VARINT, put_bytes, put_length_at, put_tag, put_varint};
use crate::json::{JsonError, Next, Scanner, Str, unescape};

/// What becomes of `null` and of empty arrays, which protobuf cannot tell from what is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// They are kept, as members that are not typed: nothing of a request may be lost.
    Kept,
    /// They are dropped: an answer says nothing with them.
    Dropped,
}

/// Writes `json`, an object, as a `message` behind what `out` holds. Members in `fixed` with exactly these values are
/// said by whoever carries the message, and left out.
///
/// # Errors
///
/// Where `json` is not a JSON object. Text that is not UTF-8 must be refused before.
pub fn to_wire(
    message: &'static Message,
    json: &[u8],
    fixed: &[(&str, &str)],
    nulls: Nulls,
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    let mut writer = Writer { text: json, scanner: Scanner::new(json), nulls, out };
    if writer.scanner.kind()? != Next::Object || !writer.object(message, fixed)? {
        return Err(writer.scanner.error("expected the object of a message"));
    }
    writer.scanner.finish()
}

/// Where members stand that have no field.
type Members = SmallVec<[Range<usize>; 6]>;

struct Writer<'a> {
    text: &'a [u8],
    scanner: Scanner<'a>,
    nulls: Nulls,
    out: &'a mut Vec<u8>,
}

/// Each method that gives a `bool` says whether the value fitted; where it did not, what it wrote is worthless, and
/// its caller goes back to before it.
impl Writer<'_> {
    fn object(&mut self, message: &'static Message, fixed: &[(&str, &str)]) -> Result<bool, JsonError> {
        let (mut extra, mut seen, mut first) = (Members::new(), 0_u64, true);
        self.scanner.enter_object()?;
        while let Some(key) = self.scanner.next_key(&mut first)? {
            let index = message.fields.iter().position(|field| self.scanner.says(&key, field.json));
            let fits = match index {
                // A member that stands twice is kept twice, so that whoever reads the message refuses it.
                Some(index) if seen & (1 << index) != 0 => false,
                Some(index) => {
                    seen |= 1 << index;
                    self.attempt(|writer| writer.member(&message.fields[index]))?
                }
                None => self.is_fixed(&key, message.fixed)? || self.is_fixed(&key, fixed)?,
            };
            if fits {
                continue;
            }
            let (nothing, from) = (self.scanner.kind()? == Next::Null, key.raw.start - 1);
            self.scanner.skip()?;
            if !(nothing && self.nulls == Nulls::Dropped) {
                extra.push(from..self.scanner.position());
            }
        }
        if extra.is_empty() {
            return Ok(true);
        }
        self.extra(message.extra, &extra);
        Ok(message.extra != 0)
    }

    /// Writes an object of these members.
    fn extra(&mut self, number: u32, members: &[Range<usize>]) {
        let length = members.iter().map(|member| member.len() + 1).sum::<usize>() + 1;
        put_tag(self.out, number, BYTES);
        put_varint(self.out, length as u64);
        for (index, member) in members.iter().enumerate() {
            self.out.push(if index == 0 { b'{' } else { b',' });
            self.out.extend_from_slice(&self.text[member.clone()]);
        }
        self.out.push(b'}');
    }

    /// Goes back to before `write` where the value did not fit.
    fn attempt(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<bool, JsonError>,
    ) -> Result<bool, JsonError> {
        let (length, scanner) = (self.out.len(), self.scanner.clone());
        let fits = write(self)?;
        if !fits {
            self.out.truncate(length);
            self.scanner = scanner;
        }
        Ok(fits)
    }

    fn is_fixed(&mut self, key: &Str, fixed: &[(&str, &str)]) -> Result<bool, JsonError> {
        let Some((_, value)) = fixed.iter().find(|(name, _)| self.scanner.says(key, name)) else {
            return Ok(false);
        };
        self.attempt(|writer| Ok(writer.raw()? == value.as_bytes()))
    }

    /// The text of the next value.
    fn raw(&mut self) -> Result<&[u8], JsonError> {
        self.scanner.kind()?;
        let from = self.scanner.position();
        self.scanner.skip()?;
        Ok(&self.text[from..self.scanner.position()])
    }

    fn member(&mut self, field: &'static Field) -> Result<bool, JsonError> {
        if self.nulls == Nulls::Dropped && self.scanner.kind()? == Next::Null {
            self.scanner.pass()?;
            return Ok(true);
        }
        if !field.repeated {
            return self.value(field);
        }
        let before = self.out.len();
        let fits = self.array(field)?;
        Ok(fits && (self.out.len() > before || self.nulls == Nulls::Dropped))
    }

    fn array(&mut self, field: &'static Field) -> Result<bool, JsonError> {
        if self.scanner.kind()? != Next::Array {
            return Ok(false);
        }
        self.scanner.enter_array()?;
        let (packed, mut first, before) = (is_packed(field.kind), true, self.out.len());
        if packed {
            put_tag(self.out, field.number, BYTES);
            self.out.push(0);
        }
        let start = self.out.len();
        while self.scanner.next_item(&mut first)? {
            if !(if packed { self.number(field.kind)? } else { self.value(field)? }) {
                return Ok(false);
            }
        }
        if packed && self.out.len() == start {
            self.out.truncate(before);
        } else if packed {
            put_length_at(self.out, start);
        }
        Ok(true)
    }

    fn value(&mut self, field: &'static Field) -> Result<bool, JsonError> {
        match field.kind {
            Kind::String | Kind::Json => {
                put_tag(self.out, field.number, BYTES);
                if matches!(field.kind, Kind::String) { self.string() } else { self.json() }
            }
            Kind::Message(message) => {
                put_tag(self.out, field.number, BYTES);
                self.nested(|writer| writer.message(message))
            }
            Kind::Map(entry) => self.map(field.number, entry),
            Kind::Double => self.tagged_number(field, FIXED64),
            Kind::Float => self.tagged_number(field, FIXED32),
            Kind::Bool | Kind::Int32 | Kind::Int64 => self.tagged_number(field, VARINT),
        }
    }

    fn tagged_number(&mut self, field: &Field, wire_type: u32) -> Result<bool, JsonError> {
        put_tag(self.out, field.number, wire_type);
        self.number(field.kind)
    }

    fn nested(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<bool, JsonError>,
    ) -> Result<bool, JsonError> {
        self.out.push(0);
        let start = self.out.len();
        let fits = write(self)?;
        if fits {
            put_length_at(self.out, start);
        }
        Ok(fits)
    }

    fn message(&mut self, message: &'static Message) -> Result<bool, JsonError> {
        match message.form {
            Form::Object if self.scanner.kind()? == Next::Object => self.object(message, &[]),
            Form::Object => Ok(false),
            Form::List => self.array(&message.fields[0]),
            Form::Union => {
                for field in message.fields {
                    if self.attempt(|writer| writer.value(field))? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    fn map(&mut self, number: u32, entry: &'static Message) -> Result<bool, JsonError> {
        if self.scanner.kind()? != Next::Object {
            return Ok(false);
        }
        let (mut first, before) = (true, self.out.len());
        self.scanner.enter_object()?;
        while let Some(key) = self.scanner.next_key(&mut first)? {
            put_tag(self.out, number, BYTES);
            let fits = self.nested(|writer| {
                put_tag(writer.out, entry.fields[0].number, BYTES);
                Ok(writer.text_of(&key) && writer.value(&entry.fields[1])?)
            })?;
            if !fits {
                return Ok(false);
            }
        }
        Ok(self.out.len() > before || self.nulls == Nulls::Dropped)
    }

    fn string(&mut self) -> Result<bool, JsonError> {
        if self.scanner.kind()? != Next::String {
            return Ok(false);
        }
        let text = self.scanner.string()?;
        Ok(self.text_of(&text))
    }

    /// What `text` says. A lone half of a surrogate pair is legal in JSON and cannot be said in UTF-8.
    fn text_of(&mut self, text: &Str) -> bool {
        if !text.escaped {
            put_bytes(self.out, &self.text[text.raw.clone()]);
            return true;
        }
        self.out.push(0);
        let start = self.out.len();
        let said = unescape(&self.text[text.raw.clone()], self.out);
        put_length_at(self.out, start);
        said
    }

    fn json(&mut self) -> Result<bool, JsonError> {
        self.scanner.kind()?;
        let from = self.scanner.position();
        self.scanner.skip()?;
        put_bytes(self.out, &self.text[from..self.scanner.position()]);
        Ok(true)
    }

    fn number(&mut self, kind: Kind) -> Result<bool, JsonError> {
        let next = self.scanner.kind()?;
        if let Kind::Bool = kind {
            if next != Next::Bool {
                return Ok(false);
            }
            let value = self.scanner.boolean()?;
            self.out.push(u8::from(value));
            return Ok(true);
        }
        if next != Next::Number {
            return Ok(false);
        }
        let from = self.scanner.position();
        self.scanner.skip()?;
        let text = std::str::from_utf8(&self.text[from..self.scanner.position()]).unwrap_or("");
        Ok(put_number(self.out, kind, text))
    }
}

fn is_packed(kind: Kind) -> bool {
    !matches!(kind, Kind::String | Kind::Json | Kind::Message(_) | Kind::Map(_))
}

/// Whether `text`, a number of JSON, is a number of `kind`, and comes out as the same number again.
fn put_number(out: &mut Vec<u8>, kind: Kind, text: &str) -> bool {
    // Whole numbers beyond what a float holds exactly would come out as others.
    let exact = |most: f64, value: f64| text.contains(['.', 'e', 'E']) || value.abs() < most;
    match kind {
        Kind::Int64 | Kind::Int32 => match text.parse::<i64>() {
            Ok(0) if text.starts_with('-') => false,
            Ok(value) if matches!(kind, Kind::Int64) || i32::try_from(value).is_ok() => {
                put_varint(out, value as u64);
                true
            }
            _ => false,
        },
        Kind::Double => match text.parse::<f64>() {
            Ok(value) if value.is_finite() && exact((1_u64 << 53) as f64, value) => {
                out.extend_from_slice(&value.to_le_bytes());
                true
            }
            _ => false,
        },
        Kind::Float => match text.parse::<f32>() {
            Ok(value) if value.is_finite() && exact(f64::from(1 << 24), f64::from(value)) => {
                out.extend_from_slice(&value.to_le_bytes());
                true
            }
            _ => false,
        },
        _ => false,
    }
}
