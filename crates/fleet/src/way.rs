use std::rc::Rc;
use std::sync::Arc;

use plimsoll_engines::orca::Listen;
use plimsoll_engines::{Connected, Failure, grpc, openai};
use plimsoll_types::Clock;

/// How a backend is asked for what is not for callers.
#[derive(Clone)]
pub enum Way {
    /// By `GET`.
    Http(Arc<openai::Backend>),
    /// By methods of gRPC.
    Grpc(Arc<grpc::Backend>),
}

/// The same, with connections of its own.
pub(crate) enum Asked {
    Http(Rc<openai::OpenAi>),
    Grpc(Rc<grpc::Grpc>),
}

impl Way {
    pub(crate) fn open(&self, clock: &Arc<dyn Clock>) -> Asked {
        match self {
            Self::Http(backend) => Asked::Http(backend.engine(clock)),
            Self::Grpc(backend) => Asked::Grpc(backend.engine(clock)),
        }
    }

    /// Lets `listener` hear what the backend says of its load in answers to callers.
    pub(crate) fn listen(&self, listener: &Arc<dyn Listen>) {
        match self {
            Self::Http(backend) => backend.listen(listener),
            Self::Grpc(backend) => backend.listen(listener),
        }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http(this), Self::Http(other)) => Arc::ptr_eq(this, other),
            (Self::Grpc(this), Self::Grpc(other)) => Arc::ptr_eq(this, other),
            _ => false,
        }
    }
}

impl Asked {
    pub(crate) async fn connect(&self) -> Result<Connected, Failure> {
        match self {
            Self::Http(engine) => engine.connect().await,
            Self::Grpc(engine) => engine.connect().await,
        }
    }

    /// The status with which it says whether it is well. gRPC has a method for that, and needs no path.
    pub(crate) async fn health_over(&self, connected: Connected, path: &str) -> Result<u16, Failure> {
        match self {
            Self::Http(engine) => engine.status_over(connected, path).await,
            Self::Grpc(engine) => engine.health_over(connected).await,
        }
    }
}
