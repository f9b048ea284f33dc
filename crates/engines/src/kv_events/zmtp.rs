//! ZeroMQ's protocol on the wire (ZMTP 3.0 without encryption), as far as events need it: a subscriber, and a client
//! that asks for what it missed.
//!
//! A message is some frames, of which the last two are the sequence number and the payload, whatever stands before
//! them: a topic, an empty frame, or both.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes that a frame may have: a batch of ten thousand blocks with their tokens is a few hundred kilobytes.
const MOST: u64 = 16 << 20;
/// Frames that a message may have.
const MOST_FRAMES: usize = 8;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// A connection to a publisher, or to one who replays.
pub struct Peer<S> {
    stream: S,
    read: BytesMut,
}

struct Frame {
    flags: u8,
    body: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Subscribes to all that is published from now on.
    ///
    /// # Errors
    ///
    /// Where the other side speaks something else or goes.
    pub async fn subscribe(stream: S) -> io::Result<Self> {
        let mut peer = Self::greet(stream, b"SUB").await?;
        peer.stream.write_all(&[0, 1, 1]).await?;
        Ok(peer)
    }

    /// Asks for what was published from `sequence` on, as far as it is kept.
    ///
    /// # Errors
    ///
    /// Where the other side speaks something else or goes.
    pub async fn replay(stream: S, sequence: u64) -> io::Result<Self> {
        let mut peer = Self::greet(stream, b"DEALER").await?;
        let question = [[MORE, 0, 0, 8].as_slice(), &sequence.to_be_bytes()].concat();
        peer.stream.write_all(&question).await?;
        Ok(peer)
    }

    /// The next message: its sequence number and its payload. `None` where a replay has come to its end.
    ///
    /// # Errors
    ///
    /// Where the other side goes, or what it sends is not of this protocol.
    pub async fn next(&mut self) -> io::Result<Option<(u64, Bytes)>> {
        let mut frames: Vec<Bytes> = Vec::new();
        loop {
            let frame = self.frame().await?;
            if frame.flags & COMMAND != 0 {
                continue;
            }
            frames.push(frame.body);
            if frames.len() > MOST_FRAMES {
                return Err(wrong("a message of too many frames"));
            }
            if frame.flags & MORE == 0 {
                break;
            }
        }
        let [.., number, payload] = frames.as_slice() else {
            return Err(wrong("a message without a sequence number"));
        };
        let number: [u8; 8] =
            number[..].try_into().map_err(|_| wrong("a sequence number of eight bytes was due"))?;
        let number = u64::from_be_bytes(number);
        Ok((number != u64::MAX).then(|| (number, payload.clone())))
    }

    async fn greet(stream: S, socket: &[u8]) -> io::Result<Self> {
        let mut peer = Self { stream, read: BytesMut::new() };
        let mut greeting = [0; 64];
        (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
        greeting[12..16].copy_from_slice(b"NULL");
        peer.stream.write_all(&greeting).await?;
        peer.fill(64).await?;
        let theirs = peer.read.split_to(64);
        if theirs[0] != 0xff || theirs[9] != 0x7f || theirs[10] < 3 {
            return Err(wrong("the other side does not speak ZMTP 3"));
        }
        if theirs[12..32] != greeting[12..32] {
            return Err(wrong("the other side wants encryption or a password"));
        }
        let length = (socket.len() as u32).to_be_bytes();
        let ready = [b"\x05READY\x0bSocket-Type".as_slice(), &length, socket].concat();
        peer.stream.write_all(&[&[COMMAND, ready.len() as u8], ready.as_slice()].concat()).await?;
        let answer = peer.frame().await?;
        if answer.flags & COMMAND == 0 || !answer.body.starts_with(b"\x05READY") {
            return Err(wrong("the other side is not ready"));
        }
        Ok(peer)
    }

    async fn frame(&mut self) -> io::Result<Frame> {
        self.fill(2).await?;
        let flags = self.read[0];
        if flags > MORE | LONG | COMMAND {
            return Err(wrong("an unknown kind of frame"));
        }
        let (head, length) = if flags & LONG == 0 {
            (2, u64::from(self.read[1]))
        } else {
            self.fill(9).await?;
            (9, (&self.read[1..9]).get_u64())
        };
        if length > MOST {
            return Err(wrong("a frame that is too long"));
        }
        let length = length as usize;
        self.fill(head + length).await?;
        self.read.advance(head);
        Ok(Frame { flags, body: self.read.split_to(length).freeze() })
    }

    /// Reads until so many bytes are there. Cancelling it loses nothing.
    async fn fill(&mut self, bytes: usize) -> io::Result<()> {
        while self.read.len() < bytes {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};

    /// What libzmq 4.3 says first, and that it is ready.
    fn libzmq(socket: &[u8]) -> Vec<u8> {
        let mut greeting = vec![0; 64];
        greeting[..12].copy_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1]);
        greeting[12..16].copy_from_slice(b"NULL");
        let length = (socket.len() as u32).to_be_bytes();
        let ready = [b"\x05READY\x0bSocket-Type".as_slice(), &length, socket].concat();
        [greeting, vec![4, ready.len() as u8], ready].concat()
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    async fn says(socket: &[u8], rest: &[u8]) -> (DuplexStream, DuplexStream) {
        let (ours, mut theirs) = duplex(1 << 20);
        theirs.write_all(&libzmq(socket)).await.unwrap();
        theirs.write_all(rest).await.unwrap();
        (ours, theirs)
    }

    #[test]
    fn what_is_published_arrives_whatever_the_size_of_its_frames() {
        block_on(async {
            let short = b"\x01\x02kv\x01\x08\0\0\0\0\0\0\0\x07\x00\x03abc";
            let command = b"\x04\x07\x04PING\0\0";
            let long = [b"\x01\x00\x01\x08\0\0\0\0\0\0\0\x08\x02\0\0\0\0\0\0\x01\x2c".as_slice(), &[9; 300]]
                .concat();
            let (ours, mut theirs) = says(b"PUB", &[short.as_slice(), command, &long].concat()).await;
            let mut peer = Peer::subscribe(ours).await.unwrap();
            assert_eq!(peer.next().await.unwrap(), Some((7, Bytes::from_static(b"abc"))));
            assert_eq!(peer.next().await.unwrap(), Some((8, Bytes::from(vec![9; 300]))));
            let mut said = vec![0; 64 + 2 + 6 + 12 + 4 + 3 + 3];
            theirs.read_exact(&mut said).await.unwrap();
            assert_eq!(said[64..], *b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB\0\x01\x01");
            drop(theirs);
            assert_eq!(peer.next().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        });
    }

    #[test]
    fn a_replay_has_an_end() {
        block_on(async {
            let one = b"\x01\x00\x01\x08\0\0\0\0\0\0\0\x05\x00\x01x";
            let end = b"\x01\x00\x01\x08\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00";
            let (ours, _theirs) = says(b"ROUTER", &[one.as_slice(), end].concat()).await;
            let mut peer = Peer::replay(ours, 5).await.unwrap();
            assert_eq!(peer.next().await.unwrap(), Some((5, Bytes::from_static(b"x"))));
            assert_eq!(peer.next().await.unwrap(), None);
        });
    }

    #[test]
    fn what_is_not_of_this_protocol_is_refused() {
        block_on(async {
            let (ours, mut theirs) = duplex(1_024);
            theirs.write_all(&[b'H'; 64]).await.unwrap();
            assert!(Peer::subscribe(ours).await.is_err());
            for bad in [
                b"\x02\0\0\x01\0\0\0\0\0".as_slice(),
                b"\x80\x00",
                b"\x00\x01x",
                b"\x01\x02no\x00\x01x",
                &[1, 0].repeat(20),
            ] {
                let (ours, theirs) = says(b"PUB", bad).await;
                drop(theirs);
                let mut peer = Peer::subscribe(ours).await;
                let refused = match &mut peer {
                    Ok(peer) => peer.next().await.is_err(),
                    Err(_) => true,
                };
                assert!(refused, "{bad:?}");
            }
        });
    }
}
