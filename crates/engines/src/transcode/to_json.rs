use plimsoll_proto::schema::{Field, Form, Kind, Message};
use smallvec::SmallVec;

use super::Malformed;
use super::wire::{Reader, Value};
use crate::json::{Scanner, Str};

/// Members that an object gets from whoever carries its message, with their JSON text.
pub type Fixed<'a> = &'a [(&'static str, &'a str)];

/// Writes the bytes of a `message` as a JSON object behind what `out` holds. It begins with the members in `fixed`.
///
/// # Errors
///
/// Where the bytes are not such a message, or hold what JSON cannot say.
pub fn to_json(
    message: &'static Message,
    bytes: &[u8],
    fixed: Fixed<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    object(message, bytes, fixed, out)
}

/// The fields of one message that are members, in the order of the table.
struct Fields<'a> {
    found: SmallVec<[(usize, Value<'a>); 12]>,
    extra: Option<&'a [u8]>,
}

fn fields<'a>(message: &'static Message, bytes: &'a [u8]) -> Result<Fields<'a>, Malformed> {
    let mut fields = Fields { found: SmallVec::new(), extra: None };
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next().map_err(|what| wrong(message, what))? {
        match (message.fields.iter().position(|field| field.number == number), value) {
            (Some(index), value) => fields.found.push((index, value)),
            (None, Value::Bytes(bytes)) if number == message.extra => fields.extra = Some(bytes),
            // A field of a later version, or one that is no member.
            (None, _) => {}
        }
    }
    if !fields.found.is_sorted_by_key(|(index, _)| *index) {
        fields.found.sort_by_key(|(index, _)| *index);
    }
    Ok(fields)
}

fn wrong(message: &Message, what: &'static str) -> Malformed {
    Malformed { message: message.name, what }
}

fn object(
    message: &'static Message,
    bytes: &[u8],
    fixed: Fixed<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let Fields { found, extra } = fields(message, bytes)?;
    let begin = out.len();
    let own = message.fixed.iter().filter(|(name, _)| !says(extra, name));
    for (name, text) in fixed.iter().chain(own) {
        key(out, begin, name);
        out.extend_from_slice(text.as_bytes());
    }
    let mut rest = &found[..];
    for (index, field) in message.fields.iter().enumerate() {
        let run = rest.iter().take_while(|(of, _)| *of == index).count();
        let (values, others) = rest.split_at(run);
        rest = others;
        if !values.is_empty() {
            key(out, begin, field.json);
            member(field, values, out)?;
        } else if !field.absent.is_empty() && !says(extra, field.json) {
            key(out, begin, field.json);
            out.extend_from_slice(field.absent.as_bytes());
        }
    }
    if let Some(extra) = extra {
        let taken = |scanner: &Scanner<'_>, key: &Str| {
            let typed = found.iter().map(|(index, _)| message.fields[*index].json);
            typed.chain(fixed.iter().map(|(name, _)| *name)).find(|name| scanner.says(key, name))
        };
        let members = members_of(message, extra, taken)?;
        if !members.is_empty() {
            out.push(if out.len() == begin { b'{' } else { b',' });
            out.extend_from_slice(members);
        }
    }
    if out.len() == begin {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(())
}

/// Writes a key with what stands before it.
fn key(out: &mut Vec<u8>, begin: usize, name: &str) {
    out.push(if out.len() == begin { b'{' } else { b',' });
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Whether a member whose value did not fit its place stands among the extra ones.
fn says(extra: Option<&[u8]>, name: &str) -> bool {
    let Some(extra) = extra else { return false };
    let (mut scanner, mut first) = (Scanner::new(extra), true);
    if scanner.enter_object().is_err() {
        return false;
    }
    while let Ok(Some(key)) = scanner.next_key(&mut first) {
        if scanner.says(&key, name) {
            return true;
        }
        if scanner.skip().is_err() {
            return false;
        }
    }
    false
}

/// What stands between the braces of `extra`, which must be one object without a member whose name is `taken`.
fn members_of<'a>(
    message: &Message,
    extra: &'a [u8],
    taken: impl Fn(&Scanner<'_>, &Str) -> Option<&'static str>,
) -> Result<&'a [u8], Malformed> {
    const NO_OBJECT: &str = "extra_json is not the text of a JSON object, or is nested too deep";
    if std::str::from_utf8(extra).is_err() {
        return Err(wrong(message, "extra_json is not UTF-8"));
    }
    let (mut scanner, mut first) = (Scanner::new(extra), true);
    let mut walk = || {
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            if let Some(name) = taken(&scanner, &key) {
                return Ok(Some(name));
            }
            scanner.skip()?;
        }
        scanner.finish().map(|()| None)
    };
    match walk() {
        Ok(None) => {
            let trimmed = extra.trim_ascii();
            Ok(trimmed[1..trimmed.len() - 1].trim_ascii())
        }
        Ok(Some(name)) => Err(Malformed {
            message: name,
            what: "stands in extra_json and is said already by a field or the method",
        }),
        Err(_) => Err(wrong(message, NO_OBJECT)),
    }
}

fn member(field: &'static Field, values: &[(usize, Value<'_>)], out: &mut Vec<u8>) -> Result<(), Malformed> {
    if let Kind::Map(entry) = field.kind {
        return map(entry, values, out);
    }
    if field.repeated {
        return list(field, values, out);
    }
    match (field.kind, values) {
        (Kind::Message(message), [_, _, ..]) => {
            // What stands twice is one message in two parts, as protobuf has it.
            let parts = values.iter().filter_map(|(_, value)| match value {
                Value::Bytes(bytes) => Some(*bytes),
                _ => None,
            });
            let whole = parts.collect::<Vec<_>>().concat();
            self::message(message, &whole, out)
        }
        (_, [.., (_, last)]) => value(field, *last, out),
        (_, []) => Ok(()),
    }
}

fn list(field: &'static Field, values: &[(usize, Value<'_>)], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(b'[');
    let begin = out.len();
    let comma = |out: &mut Vec<u8>| {
        if out.len() > begin {
            out.push(b',');
        }
    };
    for (_, one) in values {
        let Value::Bytes(bytes) = one else {
            comma(out);
            value(field, *one, out)?;
            continue;
        };
        if matches!(field.kind, Kind::String | Kind::Json | Kind::Message(_)) {
            comma(out);
            value(field, *one, out)?;
            continue;
        }
        let mut packed = Reader::new(bytes);
        while !packed.is_empty() {
            let next = match field.kind {
                Kind::Double => packed.fixed64().map(Value::Fixed64),
                Kind::Float => packed.fixed32().map(Value::Fixed32),
                _ => packed.varint().map(Value::Varint),
            };
            comma(out);
            value(field, next.map_err(|what| Malformed { message: field.json, what })?, out)?;
        }
    }
    out.push(b']');
    Ok(())
}

fn map(entry: &'static Message, values: &[(usize, Value<'_>)], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(b'{');
    for (at, (_, one)) in values.iter().enumerate() {
        let Value::Bytes(bytes) = one else { return Err(wrong(entry, "is not an entry")) };
        if at > 0 {
            out.push(b',');
        }
        let Fields { found, .. } = fields(entry, bytes)?;
        for (index, field) in entry.fields.iter().enumerate() {
            match found.iter().rfind(|(of, _)| *of == index) {
                Some((_, one)) => value(field, *one, out)?,
                None => out.extend_from_slice(field.absent.as_bytes()),
            }
            if index == 0 {
                out.push(b':');
            }
        }
    }
    out.push(b'}');
    Ok(())
}

fn message(message: &'static Message, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    match message.form {
        Form::Object => object(message, bytes, &[], out),
        Form::List => list(&message.fields[0], &fields(message, bytes)?.found, out),
        Form::Union => {
            let (mut reader, mut last) = (Reader::new(bytes), None);
            while let Some((number, value)) = reader.next().map_err(|what| wrong(message, what))? {
                let field = message.fields.iter().find(|field| field.number == number);
                last = field.map(|field| (field, value)).or(last);
            }
            match last {
                Some((field, one)) => value(field, one, out),
                None => {
                    out.extend_from_slice(b"null");
                    Ok(())
                }
            }
        }
    }
}

fn value(field: &'static Field, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let wrong = |what| Err(Malformed { message: field.json, what });
    match (field.kind, value) {
        (Kind::String, Value::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => {
                serde_json::to_writer(out, text).expect("a text can be written to memory");
                Ok(())
            }
            Err(_) => wrong("is not UTF-8"),
        },
        (Kind::Json, Value::Bytes(bytes)) => {
            let mut scanner = Scanner::new(bytes);
            let whole =
                std::str::from_utf8(bytes).is_ok() && scanner.skip().is_ok() && scanner.finish().is_ok();
            if !whole {
                return wrong("is not the text of a JSON value");
            }
            out.extend_from_slice(bytes.trim_ascii());
            Ok(())
        }
        (Kind::Message(of), Value::Bytes(bytes)) => message(of, bytes, out),
        (Kind::Bool, Value::Varint(value)) => {
            out.extend_from_slice(if value == 0 { b"false" } else { b"true" });
            Ok(())
        }
        (Kind::Int64, Value::Varint(value)) => {
            out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
            Ok(())
        }
        (Kind::Int32, Value::Varint(value)) => {
            out.extend_from_slice(itoa::Buffer::new().format(value as i32).as_bytes());
            Ok(())
        }
        (Kind::Double, Value::Fixed64(bits)) => match f64::from_bits(bits) {
            value if value.is_finite() => float(value, value, out),
            _ => wrong("is not a number that JSON has"),
        },
        (Kind::Float, Value::Fixed32(bits)) => match f32::from_bits(bits) {
            value if value.is_finite() => float(value, f64::from(value), out),
            _ => wrong("is not a number that JSON has"),
        },
        _ => wrong("has the wrong type"),
    }
}

/// Whole numbers are written as such, which every reader takes for a float too.
fn float(short: impl serde::Serialize, value: f64, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let whole = value.fract() == 0.0
        && value.abs() <= (1_u64 << 53) as f64
        && !(value == 0.0 && value.is_sign_negative());
    if whole {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        serde_json::to_writer(out, &short).expect("a finite number can be written to memory");
    }
    Ok(())
}
