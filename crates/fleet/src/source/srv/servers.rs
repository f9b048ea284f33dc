//! Asks DNS servers for the records of a service.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::message::{Answer, answer, question};
use super::{LookUp, Target};
use crate::watch::within;

/// How long one server may take, and how often it is asked by UDP within that.
const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: u32 = 2;
/// Bytes of a message by UDP; more than was asked for comes from nobody honest.
const MOST_BYTES: usize = 4_096;
/// Where the system says which servers there are.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Servers of it that are asked, as the system's own resolver has it.
const MOST_SERVERS: usize = 3;
const PORT: u16 = 53;

/// DNS servers, asked one after the other until one answers.
#[derive(Clone)]
pub struct Servers {
    /// Where they are; those of the system where there are none.
    pub addresses: Vec<SocketAddr>,
    /// How long they are waited for.
    pub clock: Arc<dyn Clock>,
}

impl LookUp for Servers {
    async fn look_up(&self, name: &str) -> io::Result<(Vec<Target>, Duration)> {
        let mut last = io::Error::other("no DNS server is known");
        for server in self.addresses() {
            let id = RandomState::new().build_hasher().finish() as u16;
            let asked = question(id, name).ok_or_else(|| io::Error::other("that is no name"))?;
            match self.ask(server, &asked).await {
                Ok(Answer::Targets(targets, good_for)) => return Ok((targets, good_for)),
                Ok(Answer::NoName) => return Err(io::Error::other("there is no such name")),
                Ok(Answer::TooLong) => last = io::Error::other("the answer is too long"),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Servers {
    fn addresses(&self) -> Vec<SocketAddr> {
        if !self.addresses.is_empty() {
            return self.addresses.clone();
        }
        // Read each time: where it changes, as in a container that moves, nobody has to be told.
        listed(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default())
    }

    async fn ask(&self, server: SocketAddr, asked: &[u8]) -> io::Result<Answer> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        for _ in 0..TRIES {
            match within(&*self.clock, PATIENCE / TRIES, by_udp(server, asked)).await {
                Some(Ok(Answer::TooLong)) => {
                    return within(&*self.clock, PATIENCE, by_tcp(server, asked))
                        .await
                        .unwrap_or_else(|| Err(late()));
                }
                Some(answered) => return answered,
                None => {}
            }
        }
        Err(late())
    }
}

async fn by_udp(server: SocketAddr, asked: &[u8]) -> io::Result<Answer> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A port of its own for each question, and only the server's word counts: who guesses must guess both.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(asked).await?;
    let mut bytes = [0; MOST_BYTES];
    loop {
        let length = socket.recv(&mut bytes).await?;
        // What answers something else may be late or forged: the answer may come yet.
        if let Ok(answer) = answer(asked, &bytes[..length]) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, asked: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = asked.len() as u16;
    stream.write_all(&[&length.to_be_bytes()[..], asked].concat()).await?;
    let mut bytes = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut bytes).await?;
    answer(asked, &bytes).map_err(io::Error::other)
}

/// The servers that a file in the form of `resolv.conf` names.
fn listed(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        Some(SocketAddr::new(address.parse().ok()?, PORT))
    };
    text.lines().filter_map(server).take(MOST_SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::answer_of;
    use super::*;
    use plimsoll_types::TokioClock;
    use tokio::net::TcpListener;

    const NAME: &str = "_llm._tcp.pool.test";

    /// A server that answers so, by UDP and TCP; an answer by UDP that is too long is cut.
    async fn server(targets: &'static [(u16, u16, u16, &'static str)], fits: bool) -> SocketAddr {
        let (address, tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = tcp.local_addr().unwrap();
            // The port may be taken there.
            if let Ok(udp) = UdpSocket::bind(address).await {
                break (address, tcp, udp);
            }
        };
        tokio::spawn(async move {
            let mut bytes = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut bytes).await {
                let mut said = answer_of(&bytes[..length], if fits { targets } else { &[] }, 30);
                said[2] |= u8::from(!fits) << 1;
                // Somebody else's answer comes first.
                let _ = udp.send_to(&answer_of(&question(1, "_x._tcp.test").unwrap(), &[], 1), from).await;
                let _ = udp.send_to(&said, from).await;
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let mut asked = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut asked).await.unwrap();
                let said = answer_of(&asked, targets, 30);
                stream.write_u16(said.len() as u16).await.unwrap();
                stream.write_all(&said).await.unwrap();
            }
        });
        address
    }

    fn servers(addresses: Vec<SocketAddr>) -> Servers {
        Servers { addresses, clock: Arc::new(TokioClock::start()) }
    }

    #[tokio::test]
    async fn a_server_is_asked_by_udp_and_by_tcp_where_its_answer_is_long() {
        for fits in [true, false] {
            let address = server(&[(0, 5, 8_000, "a.test"), (1, 5, 8_000, "b.test")], fits).await;
            let (targets, good_for) = servers(vec![address]).look_up(NAME).await.unwrap();
            let hosts: Vec<&str> = targets.iter().map(|target| target.host.as_str()).collect();
            assert_eq!((hosts, good_for), (vec!["a.test", "b.test"], Duration::from_secs(30)));
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_the_next_server_is_asked() {
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let there = server(&[(0, 5, 8_000, "a.test")], true).await;
        assert!(servers(vec![gone, there]).look_up(NAME).await.is_ok());
        assert!(servers(vec![gone]).look_up(NAME).await.is_err());
    }

    #[test]
    fn the_system_names_its_servers_in_lines() {
        let text = "# none\nsearch test\nnameserver 10.0.0.2\nnameserver ::1 # here\nnameserver x\n";
        assert_eq!(listed(text), ["10.0.0.2:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
    }
}
