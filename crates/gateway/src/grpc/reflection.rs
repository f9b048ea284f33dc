//! `grpc.reflection`: what services there are, for tools such as `buf curl`. Off unless the operator says so.

use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use plimsoll_engines::grpc::{Code, Frames, Status, TooLong, put_frame};
use plimsoll_proto::DESCRIPTORS;
use plimsoll_proto::grpc::reflection::v1::server_reflection_request::MessageRequest as Ask;
use plimsoll_proto::grpc::reflection::v1::server_reflection_response::MessageResponse as Said;
use plimsoll_proto::grpc::reflection::v1::{
    ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest,
    ServerReflectionResponse, ServiceResponse,
};
use plimsoll_types::Sleep;
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

use super::{trailers, well};
use crate::body::BrokenOff;
use crate::core::Core;
use crate::house::Settings;

/// Bytes that a question may have.
const MAX_QUESTION: usize = 16 << 10;

pub(super) fn is_asked(path: &str) -> bool {
    // The two have the same messages.
    ["v1", "v1alpha"].iter().any(|version| {
        path.strip_prefix("/grpc.reflection.").and_then(|rest| rest.strip_prefix(version))
            == Some(".ServerReflection/ServerReflectionInfo")
    })
}

/// Questions as they come, and their answers.
pub(crate) struct Reflection {
    questions: Incoming,
    frames: Frames,
    late: Sleep,
    over: bool,
}

impl Reflection {
    pub(super) fn new(core: &Core, settings: &Settings, questions: Incoming) -> Self {
        // A tool asks and goes; nobody holds a drain up with questions.
        let late = core.clock.sleep_until(core.clock.now() + settings.config.requests.body_timeout);
        Self { questions, frames: Frames::new(MAX_QUESTION), late, over: false }
    }

    /// Gives the next answer.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.over {
            return Poll::Ready(None);
        }
        loop {
            let end = match self.frames.take() {
                Ok(Some(message)) => match ServerReflectionRequest::decode(&message.bytes[..]) {
                    Ok(question) if !message.compressed => {
                        let mut frame = Vec::new();
                        put_frame(&mut frame, &answer(question).encode_to_vec());
                        return Poll::Ready(Some(Ok(Frame::data(frame.into()))));
                    }
                    _ => trailers(&Status::new(Code::InvalidArgument, "the question cannot be read")),
                },
                Err(TooLong) => trailers(&Status::new(Code::ResourceExhausted, "the question is too long")),
                Ok(None) => match Pin::new(&mut self.questions).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Ok(data) = frame.into_data() {
                            self.frames.push(&data);
                        }
                        continue;
                    }
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(BrokenOff))),
                    Poll::Ready(None) => well(),
                    Poll::Pending => {
                        ready!(self.late.as_mut().poll(cx));
                        trailers(&Status::new(Code::DeadlineExceeded, "no question came in time"))
                    }
                },
            };
            self.over = true;
            return Poll::Ready(Some(Ok(Frame::trailers(end))));
        }
    }
}

/// A file of `proto/`, or one that it imports.
struct File {
    name: String,
    imports: Vec<String>,
    symbols: Vec<String>,
    services: Vec<String>,
    bytes: Vec<u8>,
}

static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("it was written when this was built");
    set.file.iter().map(File::of).collect()
});

impl File {
    fn of(file: &FileDescriptorProto) -> Self {
        let package = file.package();
        let services: Vec<String> =
            file.service.iter().map(|service| format!("{package}.{}", service.name())).collect();
        let mut symbols = services.clone();
        for (service, name) in file.service.iter().zip(&services) {
            symbols.extend(service.method.iter().map(|method| format!("{name}.{}", method.name())));
        }
        symbols.extend(file.enum_type.iter().map(|one| format!("{package}.{}", one.name())));
        file.message_type.iter().for_each(|message| declare(package, message, &mut symbols));
        Self {
            name: file.name().to_owned(),
            imports: file.dependency.clone(),
            symbols,
            services,
            bytes: file.encode_to_vec(),
        }
    }
}

fn declare(within: &str, message: &DescriptorProto, symbols: &mut Vec<String>) {
    let name = format!("{within}.{}", message.name());
    symbols.extend(message.enum_type.iter().map(|one| format!("{name}.{}", one.name())));
    symbols.extend(message.field.iter().map(|field| format!("{name}.{}", field.name())));
    message.nested_type.iter().for_each(|nested| declare(&name, nested, symbols));
    symbols.push(name);
}

fn answer(question: ServerReflectionRequest) -> ServerReflectionResponse {
    let said = match &question.message_request {
        Some(Ask::FileByFilename(name)) => file(|file| file.name == *name),
        Some(Ask::FileContainingSymbol(symbol)) => file(|file| file.symbols.contains(symbol)),
        Some(Ask::ListServices(_)) => Said::ListServicesResponse(ListServiceResponse {
            service: FILES
                .iter()
                .flat_map(|file| &file.services)
                .map(|name| ServiceResponse { name: name.clone() })
                .collect(),
        }),
        // There are no extensions.
        Some(Ask::FileContainingExtension(_) | Ask::AllExtensionNumbersOfType(_)) => unknown(),
        None => error(Code::InvalidArgument, "the question asks nothing"),
    };
    ServerReflectionResponse {
        valid_host: question.host.clone(),
        original_request: Some(question),
        message_response: Some(said),
    }
}

/// A file and all that it imports, so that whoever asks need not ask again.
fn file(is_meant: impl Fn(&File) -> bool) -> Said {
    let Some(file) = FILES.iter().find(|file| is_meant(file)) else { return unknown() };
    let mut needed = vec![file];
    let mut at = 0;
    while let Some(file) = needed.get(at) {
        for import in FILES.iter().filter(|other| file.imports.contains(&other.name)) {
            if !needed.iter().any(|known| known.name == import.name) {
                needed.push(import);
            }
        }
        at += 1;
    }
    let file_descriptor_proto = needed.iter().map(|file| file.bytes.clone()).collect();
    Said::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto })
}

fn unknown() -> Said {
    error(Code::NotFound, "not known here")
}

fn error(code: Code, why: &str) -> Said {
    Said::ErrorResponse(ErrorResponse { error_code: code as i32, error_message: why.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(question: Ask) -> Said {
        let question = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        answer(question).message_response.unwrap()
    }

    #[test]
    fn a_symbol_leads_to_its_file_and_all_that_it_needs() {
        let symbols = [
            "plimsoll.v1.InferenceService",
            "plimsoll.v1.InferenceService.ChatStream",
            "plimsoll.v1.ChatRequest.LogitBiasEntry",
            "grpc.health.v1.HealthCheckResponse.ServingStatus",
        ];
        for symbol in symbols {
            assert!(
                matches!(ask(Ask::FileContainingSymbol(symbol.into())), Said::FileDescriptorResponse(_)),
                "{symbol}"
            );
        }
        let Said::FileDescriptorResponse(files) = ask(Ask::FileByFilename("google/rpc/status.proto".into()))
        else {
            panic!("the file is known")
        };
        assert_eq!(files.file_descriptor_proto.len(), 2);
        assert!(matches!(ask(Ask::FileContainingSymbol("plimsoll.v1.No".into())), Said::ErrorResponse(_)));
    }

    #[test]
    fn both_versions_are_asked_and_nothing_else() {
        assert!(is_asked("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"));
        assert!(is_asked("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"));
        assert!(!is_asked("/grpc.reflection.v2.ServerReflection/ServerReflectionInfo"));
    }
}
