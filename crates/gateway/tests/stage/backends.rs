use std::future::Future;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::call::{Background, Call, Health, Wire};
use super::{unique, within};

/// Scripted backends of one model. Whatever they are asked comes to the test as a [`Call`], in the order of arrival,
/// so that a script need not know whom the gateway picks.
pub(crate) struct Backends {
    pub(crate) names: Vec<String>,
    pub(crate) addresses: Vec<SocketAddr>,
    scheme: &'static str,
    /// More keys of each in the configuration, with a comma before each.
    more: String,
    path: String,
    calls: UnboundedReceiver<Call>,
    told: UnboundedSender<Call>,
    background: Vec<Background>,
    listeners: Vec<JoinHandle<()>>,
    /// Sockets that are bound and do not listen: whoever connects is refused.
    refusing: Vec<Socket>,
}

impl Backends {
    /// So many backends.
    pub(crate) async fn start(count: usize) -> Self {
        Self::with(count, 0, None).await
    }

    /// A backend that refuses connections, and after it one that does not.
    pub(crate) async fn with_one_refusing() -> Self {
        Self::with(1, 1, None).await
    }

    /// One backend, which refuses connections.
    pub(crate) async fn refusing() -> Self {
        Self::with(0, 1, None).await
    }

    /// A backend with TLS.
    pub(crate) async fn secure(acceptor: TlsAcceptor) -> Self {
        Self::with(1, 0, Some(acceptor)).await
    }

    async fn with(count: usize, refusing: usize, tls: Option<TlsAcceptor>) -> Self {
        let (told, calls) = unbounded_channel();
        let (mut addresses, mut sockets) = (Vec::new(), Vec::new());
        let (mut background, mut listeners) = (Vec::new(), Vec::new());
        for _ in 0..refusing {
            let socket = bound(SocketAddr::from(([127, 0, 0, 1], 0)));
            addresses.push(socket.local_addr().unwrap().as_socket().unwrap());
            sockets.push(socket);
        }
        for index in refusing..refusing + count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let (one, tls) = (Background::default(), tls.clone());
            let accept = accept(listener, index, (told.clone(), one.clone()), tls);
            listeners.push(tokio::spawn(accept));
            background.push(one);
        }
        Self {
            names: addresses.iter().map(|_| format!("backend-{}", unique())).collect(),
            addresses,
            scheme: if tls.is_some() { "https" } else { "http" },
            more: String::new(),
            path: String::new(),
            calls,
            told,
            background,
            listeners,
            refusing: sockets,
        }
    }

    /// Closes the door of backend `index`: whoever connects from now on is refused.
    pub(crate) async fn close(&mut self, index: usize) {
        self.listeners[index].abort();
        let _ = (&mut self.listeners[index]).await;
        // Its port stays its own: somebody else could get it else.
        self.refusing.push(bound(self.addresses[index]));
    }

    /// Opens it again.
    pub(crate) fn open(&mut self, index: usize) {
        let socket = bound(self.addresses[index]);
        socket.listen(64).unwrap();
        socket.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        let told = (self.told.clone(), self.background[index].clone());
        self.listeners[index] = tokio::spawn(accept(listener, index, told, None));
    }

    /// From now on backend `index` has these metrics.
    pub(crate) fn says(&self, index: usize, metrics: &str) {
        self.background[index].says(metrics);
    }

    /// From now on backend `index` is like that when it is probed.
    pub(crate) fn is(&self, index: usize, health: Health) {
        self.background[index].is(health);
    }

    /// The same, with more keys in the configuration of each.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.more = format!(", {more}");
        self
    }

    /// The same, with something after the port in the address of each.
    pub(crate) fn at(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// How they stand in a configuration file, as servers of `model`.
    pub(crate) fn yaml(&self, model: &str) -> String {
        let (scheme, path, more) = (self.scheme, &self.path, &self.more);
        let one = |(name, address): (&String, &SocketAddr)| {
            let url = format!("{scheme}://{address}{path}");
            format!("  - {{name: {name}, url: \"{url}\", models: [{model}]{more}}}\n")
        };
        let all: String = self.names.iter().zip(&self.addresses).map(one).collect();
        format!("backends:\n{all}")
    }

    /// The next call at any of them.
    pub(crate) async fn next(&mut self) -> Call {
        within("a call of the gateway", self.calls.recv()).await.expect("backends outlive the test")
    }

    /// Whether no call has come that was not taken.
    pub(crate) fn are_idle(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }

    /// Answers all calls from now on by `script`.
    pub(crate) fn play<F>(mut self, script: impl Fn(Call) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut calls = std::mem::replace(&mut self.calls, unbounded_channel().1);
        tokio::spawn(async move {
            while let Some(call) = calls.recv().await {
                tokio::spawn(script(call));
            }
        });
        self
    }
}

/// A socket at `address` that does not listen.
fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

async fn accept(
    listener: TcpListener,
    backend: usize,
    told: (UnboundedSender<Call>, Background),
    tls: Option<TlsAcceptor>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        tcp.set_nodelay(true).unwrap();
        let (told, tls) = (told.clone(), tls.clone());
        tokio::spawn(async move {
            let wire: Box<dyn Wire> = match tls {
                None => Box::new(tcp),
                // A gateway that does not trust the certificate leaves here.
                Some(tls) => match tls.accept(tcp).await {
                    Ok(tls) => Box::new(tls),
                    Err(_) => return,
                },
            };
            Call::read(wire, (backend, unique()), told).await;
        });
    }
}
