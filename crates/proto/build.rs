//! Compiles `proto/` without protoc: messages for prost, descriptors for reflection, and the table of [`schema`].

#![expect(clippy::unwrap_used, reason = "what surprises a build ends it")]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

const FILES: &[&str] = &[
    "plimsoll/v1/inference.proto",
    "plimsoll/v1/engine.proto",
    "plimsoll/v1/peer.proto",
    "grpc/health/v1/health.proto",
    "grpc/reflection/v1/reflection.proto",
    "grpc/reflection/v1alpha/reflection.proto",
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
];

/// Members that OpenAI's API has and a message needs not say, since its type does.
const FIXED: &[(&str, &str, &str)] = &[
    ("ChatResponse", "object", "\"chat.completion\""),
    ("ChatStreamResponse", "object", "\"chat.completion.chunk\""),
    ("CompleteResponse", "object", "\"text_completion\""),
    ("CompleteStreamResponse", "object", "\"text_completion\""),
    ("EmbedResponse", "object", "\"list\""),
    ("Embedding", "object", "\"embedding\""),
    ("ModelsResponse", "object", "\"list\""),
    ("Model", "object", "\"model\""),
];

/// Members that clients of OpenAI's API count on even where there is nothing to say.
const ABSENT: &[(&str, &str, &str)] = &[
    ("ChatChoice", "finish_reason", "null"),
    ("ChatChoiceDelta", "finish_reason", "null"),
    ("CompleteChoice", "finish_reason", "null"),
    ("ChatStreamResponse", "choices", "[]"),
    ("CompleteStreamResponse", "choices", "[]"),
    ("ModelsResponse", "data", "[]"),
    ("RerankResponse", "results", "[]"),
];

fn main() {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let out = PathBuf::from(std::env::var("OUT_DIR").unwrap());
    let files = protox::compile(FILES, [&root]).unwrap_or_else(|error| panic!("{error:?}"));
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec()).unwrap();
    std::fs::write(out.join("schema.rs"), schema(&files)).unwrap();
    prost_build::Config::new().compile_fds(files).unwrap();
}

/// A `static` for each message of the API.
fn schema(files: &FileDescriptorSet) -> String {
    let file = files.file.iter().find(|file| file.name() == "plimsoll/v1/inference.proto").unwrap();
    let mut text = String::new();
    for message in &file.message_type {
        table(&mut text, message.name(), message);
        for entry in &message.nested_type {
            table(&mut text, &format!("{}{}", message.name(), entry.name()), entry);
        }
    }
    text
}

fn table(text: &mut String, name: &str, message: &DescriptorProto) {
    let is_list = message.field.len() == 1 && message.field[0].name() == "values";
    let is_union = !message.oneof_decl.is_empty() && message.field.iter().all(|field| !optional(field));
    let form = match (is_list, is_union && !message.field.is_empty()) {
        (true, _) => "List",
        (_, true) if message.field.iter().all(|field| field.oneof_index.is_some()) => "Union",
        _ => "Object",
    };
    let fixed: Vec<_> =
        FIXED.iter().filter(|(of, ..)| *of == name).map(|(_, key, value)| (key, value)).collect();
    let extra = message.field.iter().find(|field| field.name() == "extra_json").map_or(0, |f| f.number());
    writeln!(text, "/// `{name}` in JSON.").unwrap();
    writeln!(text, "pub static {}: Message = Message {{", constant(name)).unwrap();
    writeln!(text, "    name: {name:?}, form: Form::{form}, fixed: &{fixed:?}, extra: {extra}, fields: &[")
        .unwrap();
    let typed = |field: &&FieldDescriptorProto| !["extra_json", "call"].contains(&field.name());
    for field in message.field.iter().filter(typed) {
        let json = field.name().strip_suffix("_json").unwrap_or(field.name());
        let repeated = field.label() == Label::Repeated;
        let kind = kind(name, message, field);
        let repeated = repeated && !kind.starts_with("Kind::Map");
        let absent = ABSENT.iter().find(|(of, key, _)| *of == name && *key == json).map(|(.., text)| *text);
        let absent = absent.or_else(|| default(field, repeated)).unwrap_or("");
        let number = field.number();
        writeln!(text, "        Field {{ number: {number}, json: {json:?}, kind: {kind}, repeated: {repeated}, absent: {absent:?} }},").unwrap();
    }
    writeln!(text, "    ],\n}};").unwrap();
}

fn optional(field: &FieldDescriptorProto) -> bool {
    field.proto3_optional()
}

/// What a field without presence says when it is not on the wire.
fn default(field: &FieldDescriptorProto, repeated: bool) -> Option<&'static str> {
    if repeated || field.oneof_index.is_some() || field.label() == Label::Repeated {
        return None;
    }
    match field.r#type() {
        Type::String => Some("\"\""),
        Type::Bool => Some("false"),
        Type::Message => None,
        _ => Some("0"),
    }
}

fn kind(name: &str, message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let of = field.type_name().rsplit('.').next().unwrap();
    match field.r#type() {
        Type::String if field.name().ends_with("_json") => "Kind::Json".into(),
        Type::String => "Kind::String".into(),
        Type::Bool => "Kind::Bool".into(),
        Type::Int32 => "Kind::Int32".into(),
        Type::Int64 => "Kind::Int64".into(),
        Type::Double => "Kind::Double".into(),
        Type::Float => "Kind::Float".into(),
        Type::Message if message.nested_type.iter().any(|nested| nested.name() == of) => {
            format!("Kind::Map(&{})", constant(&format!("{name}{of}")))
        }
        Type::Message => format!("Kind::Message(&{})", constant(of)),
        other => panic!("{name}.{}: {other:?} has no form in JSON yet", field.name()),
    }
}

/// `ChatRequest` as `CHAT_REQUEST`.
fn constant(name: &str) -> String {
    let mut constant = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_uppercase() {
            constant.push('_');
        }
        constant.push(letter.to_ascii_uppercase());
    }
    constant
}
