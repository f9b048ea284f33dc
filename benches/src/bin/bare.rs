//! A reverse proxy that does nothing: hyper on both sides, a thread for each core, the backends in turn. What the
//! gateway takes beyond it is what routing, metrics and a look at bodies cost.
//!
//!   bare --port 9000 --backends 9001,9002 --threads 2

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

type Error = Box<dyn std::error::Error + Send + Sync>;
/// A backend, and connections to it that nobody uses.
type Idle = Rc<(u16, RefCell<Vec<SendRequest<Incoming>>>)>;

/// An answer on its way, which gives its connection back when it is over.
struct Returning {
    body: Incoming,
    connection: Option<SendRequest<Incoming>>,
    idle: Idle,
}

impl Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        self.idle.1.borrow_mut().extend(self.connection.take());
    }
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let port = value("--port").unwrap_or_default().parse()?;
    let backends: Vec<u16> =
        value("--backends").unwrap_or_default().split(',').map(str::parse).collect::<Result<_, _>>()?;
    let threads: usize = value("--threads").map_or(Ok(1), |threads| threads.parse())?;
    let threads: Vec<_> = (0..threads)
        .map(|_| {
            let backends = backends.clone();
            std::thread::spawn(move || run(port, &backends))
        })
        .collect();
    threads.into_iter().try_for_each(|thread| thread.join().expect("what fails is returned"))
}

fn run(port: u16, backends: &[u16]) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(port, backends))
}

/// Listens on a port that other threads listen on too.
async fn serve(port: u16, backends: &[u16]) -> Result<(), Error> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(4_096)?;
    let listener = TcpListener::from_std(socket.into())?;
    let idle: Rc<[Idle]> = backends.iter().map(|port| Rc::new((*port, RefCell::default()))).collect();
    let turn = Rc::new(Cell::new(0));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (idle, turn) = (Rc::clone(&idle), Rc::clone(&turn));
        let service = service_fn(move |request| {
            turn.set((turn.get() + 1) % idle.len());
            forward(request, Rc::clone(&idle[turn.get()]))
        });
        spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn forward(request: Request<Incoming>, idle: Idle) -> Result<Response<Returning>, Error> {
    let mut connection = connection(&idle).await?;
    let (head, body) = connection.send_request(request).await?.into_parts();
    Ok(Response::from_parts(head, Returning { body, connection: Some(connection), idle }))
}

/// A connection that nobody uses, or a new one.
async fn connection(idle: &Idle) -> Result<SendRequest<Incoming>, Error> {
    loop {
        // The borrow must end before anything is waited for.
        let known = idle.1.borrow_mut().pop();
        let Some(mut known) = known else { break };
        if known.ready().await.is_ok() {
            return Ok(known);
        }
    }
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, idle.0)).await?;
    stream.set_nodelay(true)?;
    let (connection, driver) = handshake(TokioIo::new(stream)).await?;
    spawn_local(driver);
    Ok(connection)
}
