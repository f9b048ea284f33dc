use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

/// A DNS server on this machine, which knows the SRV records of whatever it is asked for.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    records: Arc<Mutex<Vec<Record>>>,
}

/// Priority, weight and port of a backend on this machine.
pub(crate) type Record = (u16, u16, u16);

impl Dns {
    pub(crate) async fn start(records: &[Record]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let records = Arc::new(Mutex::new(records.to_vec()));
        let known = Arc::clone(&records);
        tokio::spawn(async move {
            let mut asked = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut asked).await {
                let said = answer(&asked[..length], &known.lock().unwrap());
                let _ = socket.send_to(&said, from).await;
            }
        });
        Self { address, records }
    }

    /// From now on it knows these.
    pub(crate) fn says(&self, records: &[Record]) {
        *self.records.lock().unwrap() = records.to_vec();
    }
}

/// The question and, behind it, the records, good for a second each.
fn answer(asked: &[u8], records: &[Record]) -> Vec<u8> {
    let name = 12 + asked[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let mut said =
        [&asked[..2], &[0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0], &asked[12..name + 4]].concat();
    for (priority, weight, port) in records {
        said.extend_from_slice(&[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 1, 0, 17]);
        [priority, weight, port].into_iter().for_each(|word| said.extend_from_slice(&word.to_be_bytes()));
        said.extend_from_slice(b"\x09localhost\0");
    }
    said
}
