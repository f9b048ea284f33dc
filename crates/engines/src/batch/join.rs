//! Bodies into one.

use bytes::{BufMut, Bytes, BytesMut};
use plimsoll_types::Request;

use super::Joinable;
use super::joinable::{Holds, Hole};

/// One request of several, whose frames are the same. It is the first one's in all but its texts.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn join(parts: &[(&Request, &Joinable)]) -> Request {
    let (first, read) = parts.first().expect("somebody is joined");
    let items: u32 = parts.iter().map(|(_, read)| read.items).sum();
    let joined = rewrite((first, read), |out, number| {
        if read.holes[number].holds == Holds::Top {
            return put_number(out, items);
        }
        out.reserve(parts.iter().map(|(_, read)| read.holes[number].value.len() + 1).sum());
        let mut between = b'[';
        for (request, read) in parts {
            let (text, times) = match &read.holes[number].holds {
                Holds::One(text) => (text, read.items),
                Holds::Texts(texts) => (texts, 1),
                Holds::Top => continue,
            };
            for _ in 0..times {
                out.put_u8(between);
                out.put_slice(&request.body[text.clone()]);
                between = b',';
            }
        }
        out.put_u8(b']');
    });
    let tokens = parts.iter().map(|(request, _)| request.envelope.prompt_tokens);
    with_prompt(joined, tokens.fold(0, u32::saturating_add))
}

/// A request whose holes hold what `fill` puts there, by their numbers.
pub(super) fn rewrite(
    (request, read): (&Request, &Joinable),
    mut fill: impl FnMut(&mut BytesMut, usize),
) -> Request {
    let mut envelope = request.envelope.clone();
    let mut body = BytesMut::with_capacity(request.body.len());
    let mut from = 0;
    for (number, Hole { value, .. }) in read.holes.iter().enumerate() {
        body.put_slice(&request.body[from..value.start]);
        fill(&mut body, number);
        from = value.end;
        if request.envelope.model_at.start >= from {
            let moved = |at: usize| at - from + body.len();
            let model_at = &request.envelope.model_at;
            envelope.model_at = moved(model_at.start)..moved(model_at.end);
        }
    }
    body.put_slice(&request.body[from..]);
    Request { envelope, body: Bytes::from(body) }
}

pub(super) fn with_prompt(mut request: Request, tokens: u32) -> Request {
    request.envelope.prompt_tokens = tokens;
    request
}

pub(super) fn put_number(out: &mut BytesMut, number: impl itoa::Integer) {
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
}
