//! DNS messages (RFC 1035), as far as a question for SRV records (RFC 2782) needs them. What comes is anybody's bytes: every
//! length is checked, and a compressed name only points backwards, so that reading it has an end.

use std::time::Duration;

const TYPE_SRV: u16 = 33;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
const HEADER: usize = 12;
/// Bytes of an answer by UDP that are asked for (DNS Flag Day 2020): what passes everywhere in one piece.
const UDP_BYTES: u16 = 1_232;
/// Bytes that a name may have.
const MOST_NAME: usize = 255;
const NAME_ERROR: u8 = 3;

/// A record of a service: where one of its backends is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Those with the lowest number are used first.
    pub priority: u16,
    /// The host.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// How much it is to get beside others of its priority.
    pub weight: u16,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Records, and how long they are good for.
    Targets(Vec<Target>, Duration),
    /// It does not fit: the question is to be asked by TCP.
    TooLong,
    /// There is no such name.
    NoName,
}

/// Bytes that are no answer to the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what came is not an answer to the question")]
pub(super) struct NotAnAnswer;

/// The question for the SRV records of `name`; `None` where that is no name.
pub(super) fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(64);
    // Recursion is wanted; one question, one additional record.
    for word in [id, 0x0100, 1, 0, 0, 1] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    if message.len() - HEADER > MOST_NAME {
        return None;
    }
    for word in [TYPE_SRV, CLASS_IN] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    // EDNS: the root, how long an answer may be, no flags, nothing more.
    message.push(0);
    for word in [TYPE_OPT, UDP_BYTES, 0, 0, 0] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    Some(message)
}

/// What `message` answers to the question `asked`.
pub(super) fn answer(asked: &[u8], message: &[u8]) -> Result<Answer, NotAnAnswer> {
    let mut reader = Reader { message, at: 0 };
    let (id, flags) = (reader.word()?, reader.word()?);
    let (questions, answers) = (reader.word()?, reader.word()?);
    reader.skip(4)?;
    let mut before = Reader { message: asked, at: HEADER };
    let ours = (before.name()?.to_ascii_lowercase(), before.word()?, before.word()?);
    let answers_it = id.to_be_bytes() == asked[..2] && flags >> 15 == 1 && questions == 1;
    if !answers_it || (reader.name()?.to_ascii_lowercase(), reader.word()?, reader.word()?) != ours {
        return Err(NotAnAnswer);
    }
    if flags & 0x0200 != 0 {
        return Ok(Answer::TooLong);
    }
    match (flags & 0xf) as u8 {
        0 => reader.targets(answers),
        NAME_ERROR => Ok(Answer::NoName),
        _ => Err(NotAnAnswer),
    }
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl Reader<'_> {
    /// The records of the answer that are targets. Others, such as the alias of the name, stand between them.
    fn targets(&mut self, answers: u16) -> Result<Answer, NotAnAnswer> {
        let (mut targets, mut good_for) = (Vec::new(), u32::MAX);
        for _ in 0..answers {
            self.name()?;
            let (kind, class) = (self.word()?, self.word()?);
            let seconds = u32::from(self.word()?) << 16 | u32::from(self.word()?);
            let length = usize::from(self.word()?);
            let end = self.at + length;
            if (kind, class) == (TYPE_SRV, CLASS_IN) {
                good_for = good_for.min(seconds);
                let (priority, weight, port) = (self.word()?, self.word()?, self.word()?);
                let host = self.name()?;
                // The root says that the service is not there at all.
                if is_host(&host) {
                    targets.push(Target { priority, host, port, weight });
                }
            }
            self.at = end;
        }
        Ok(Answer::Targets(targets, Duration::from_secs(good_for.into())))
    }

    fn bytes(&mut self, length: usize) -> Result<&[u8], NotAnAnswer> {
        let bytes = self.message.get(self.at..self.at + length).ok_or(NotAnAnswer)?;
        self.at += length;
        Ok(bytes)
    }

    fn skip(&mut self, length: usize) -> Result<(), NotAnAnswer> {
        self.bytes(length).map(|_| ())
    }

    fn word(&mut self) -> Result<u16, NotAnAnswer> {
        let bytes = self.bytes(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name, with dots between its labels. The reader goes on behind it, wherever it points to.
    fn name(&mut self) -> Result<String, NotAnAnswer> {
        let (mut name, mut after, mut begin) = (String::new(), None, self.at);
        loop {
            let length = self.bytes(1)?[0];
            match length {
                0 => break,
                1..=63 => {
                    let label = self.bytes(length.into())?;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.extend(label.iter().map(|byte| char::from(*byte)));
                }
                192.. => {
                    let to = usize::from(length & 0x3f) << 8 | usize::from(self.bytes(1)?[0]);
                    after.get_or_insert(self.at);
                    if to >= begin {
                        return Err(NotAnAnswer);
                    }
                    (self.at, begin) = (to, to);
                }
                _ => return Err(NotAnAnswer),
            }
            if name.len() > MOST_NAME {
                return Err(NotAnAnswer);
            }
        }
        self.at = after.unwrap_or(self.at);
        Ok(name)
    }
}

/// Whether it may stand in an address.
fn is_host(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: &str = "_llm._tcp.pool.test";

    /// The answer of a server to `asked`: these targets, good for so long; their hosts are below the name's own domain.
    pub(in super::super) fn answer_of(
        asked: &[u8],
        targets: &[(u16, u16, u16, &str)],
        seconds: u32,
    ) -> Vec<u8> {
        let end = HEADER + asked[HEADER..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let mut message = asked[..end].to_vec();
        message[2..4].copy_from_slice(&0x8180_u16.to_be_bytes());
        message[6..8].copy_from_slice(&(targets.len() as u16).to_be_bytes());
        message[10..12].copy_from_slice(&[0, 0]);
        for (priority, weight, port, host) in targets {
            message.extend_from_slice(&[0xc0, HEADER as u8]);
            [TYPE_SRV, CLASS_IN].iter().for_each(|word| message.extend_from_slice(&word.to_be_bytes()));
            message.extend_from_slice(&seconds.to_be_bytes());
            let mut data: Vec<u8> =
                [priority, weight, port].iter().flat_map(|word| word.to_be_bytes()).collect();
            host.split('.').filter(|label| !label.is_empty()).for_each(|label| {
                data.push(label.len() as u8);
                data.extend_from_slice(label.as_bytes());
            });
            data.push(0);
            message.extend_from_slice(&(data.len() as u16).to_be_bytes());
            message.extend_from_slice(&data);
        }
        message
    }

    fn target(priority: u16, weight: u16, port: u16, host: &str) -> Target {
        Target { priority, host: host.into(), port, weight }
    }

    #[test]
    fn records_are_read_with_the_least_time_that_they_are_good_for() {
        let asked = question(7, NAME).unwrap();
        let said = answer_of(&asked, &[(0, 10, 8_000, "a.pool.test"), (1, 0, 8_001, "b.pool.test")], 30);
        let targets = vec![target(0, 10, 8_000, "a.pool.test"), target(1, 0, 8_001, "b.pool.test")];
        assert_eq!(answer(&asked, &said), Ok(Answer::Targets(targets, Duration::from_secs(30))));
    }

    #[test]
    fn a_name_may_point_back_and_not_to_itself() {
        let asked = question(7, NAME).unwrap();
        let mut said = answer_of(&asked, &[(0, 1, 80, "a")], 5);
        // In the place of the root after `a`: the name that was asked for, behind `_llm._tcp`.
        said.pop();
        let pool = (HEADER + 10) as u8;
        said.extend_from_slice(&[0xc0, pool]);
        let length = said.len() - 2 - 2 - 6 - 1;
        said[length - 1] += 1;
        let Ok(Answer::Targets(targets, _)) = answer(&asked, &said) else { panic!("{said:?}") };
        assert_eq!(targets, [target(0, 1, 80, "a.pool.test")]);
        let here = (said.len() - 2) as u8;
        *said.last_mut().unwrap() = here;
        assert_eq!(answer(&asked, &said), Err(NotAnAnswer));
    }

    #[test]
    fn what_answers_another_question_is_not_believed() {
        let asked = question(7, NAME).unwrap();
        let good = answer_of(&asked, &[(0, 1, 80, "a")], 5);
        let other = question(7, "_llm._tcp.fool.test").unwrap();
        assert_eq!(answer(&other, &good), Err(NotAnAnswer));
        assert_eq!(answer(&question(8, NAME).unwrap(), &good), Err(NotAnAnswer));
        assert_eq!(answer(&asked, &asked), Err(NotAnAnswer), "a question is no answer");
        let shouted = answer_of(&question(7, &NAME.to_uppercase()).unwrap(), &[], 5);
        assert!(answer(&asked, &shouted).is_ok(), "names have no case");
    }

    #[test]
    fn what_is_cut_or_missing_is_said_to_be_so() {
        let asked = question(7, NAME).unwrap();
        let mut said = answer_of(&asked, &[(0, 1, 80, "a"), (0, 1, 80, "")], 5);
        let Ok(Answer::Targets(targets, _)) = answer(&asked, &said) else { panic!("{said:?}") };
        assert_eq!(targets.len(), 1, "the root is no host");
        said[3] |= NAME_ERROR;
        assert_eq!(answer(&asked, &said), Ok(Answer::NoName));
        said[2] |= 0x02;
        assert_eq!(answer(&asked, &said), Ok(Answer::TooLong));
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        for bad in ["", "a..b", &"x".repeat(64), &"abc.".repeat(70)] {
            assert_eq!(question(1, bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_fatal(mut tail in prop::collection::vec(any::<u8>(), 0..80), cut in 0_usize..120, at in 0_usize..80) {
            let asked = question(7, NAME).unwrap();
            let mut said = answer_of(&asked, &[(0, 1, 80, "a.b"), (1, 2, 81, "c.d")], 5);
            let length = said.len();
            said.truncate(length.saturating_sub(cut));
            if let Some(byte) = said.get_mut(at + HEADER) {
                *byte ^= 0xc1;
            }
            said.append(&mut tail);
            let _ = answer(&asked, &said);
        }
    }
}
