//! Accepts connections and hands each to the core with the fewest.
//!
//! The kernel's hash over listeners of their own (`SO_REUSEPORT`) is uneven with few connections, and a connection
//! stays where it is put.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::core::{Accepted, Seat};
use crate::house::House;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4_096;

/// Opens a listener.
///
/// # Errors
///
/// Where the address is taken or not ours.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A core and the way to it.
pub(crate) struct Door {
    pub(crate) seat: Arc<Seat>,
    pub(crate) core: UnboundedSender<Accepted>,
}

/// Accepts until `closing` says to stop; the listener closes with it.
pub(crate) async fn accept(
    listener: TcpListener,
    doors: Vec<Door>,
    house: Arc<House>,
    mut closing: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let next = AtomicUsize::new(0);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => return Ok(()),
        };
        match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => {
                let door = emptiest(&doors, &next);
                let open: usize = doors.iter().map(|door| door.seat.connections.load(Relaxed)).sum();
                if (open as u64) < house.settings().config.requests.max_connections {
                    // A core that is gone was ended by a bug; the others go on.
                    let _ = door.core.send((stream, door.seat.take()));
                }
            }
            Err(error) => {
                // Out of descriptors, or a client that has left already: neither may end the loop, nor spin it.
                tracing::warn!(%error, "accept failed");
                house.clock.sleep_until(house.clock.now() + Duration::from_millis(20)).await;
            }
        }
    }
}

fn emptiest<'d>(doors: &'d [Door], next: &AtomicUsize) -> &'d Door {
    let start = next.fetch_add(1, Relaxed);
    let count = doors.len();
    let at = |step: usize| &doors[(start + step) % count];
    (1..count).fold(at(0), |best, step| {
        let door = at(step);
        if door.seat.connections.load(Relaxed) < best.seat.connections.load(Relaxed) { door } else { best }
    })
}
