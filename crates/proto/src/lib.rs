//! What is generated from `proto/`, and nothing else: no protoc, nothing checked in.
//!
//! Three things come out of the same files when the crate is built: messages for [prost], the descriptors that
//! reflection gives away, and [`schema`], the table by which `plimsoll_engines::transcode` turns messages into OpenAI's
//! JSON and back without knowing any of them.
//!
//! [prost]: https://docs.rs/prost

pub mod schema;

/// `google.protobuf.FileDescriptorSet` of all files, what they import included.
pub static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! generated {
    ($package:literal) => {
        #[allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all, reason = "generated")]
        mod generated {
            include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
        }
        pub use generated::*;
    };
}

/// OpenAI's API as messages.
pub mod plimsoll {
    /// Version 1.
    pub mod v1 {
        generated!("plimsoll.v1");
    }
}

/// Protocols that every gRPC server speaks.
pub mod grpc {
    /// Whether services can be called.
    pub mod health {
        /// Version 1.
        pub mod v1 {
            generated!("grpc.health.v1");
        }
    }
    /// What services there are.
    pub mod reflection {
        /// Version 1. Its alpha has the same messages under another name.
        pub mod v1 {
            generated!("grpc.reflection.v1");
        }
    }
}

/// How gRPC tells of errors.
pub mod google {
    /// Statuses and their details.
    pub mod rpc {
        generated!("google.rpc");
    }
}
