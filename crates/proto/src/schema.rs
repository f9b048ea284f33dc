//! How the messages of `plimsoll.v1` look in JSON: a `static` for each, made from its file.

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its name, for error messages.
    pub name: &'static str,
    /// What it is in JSON.
    pub form: Form,
    /// Members that an object always has with these values, and that the message does not say.
    pub fixed: &'static [(&'static str, &'static str)],
    /// The number of the field that takes members which are not typed; 0 where there is none.
    pub extra: u32,
    /// The fields that are members.
    pub fields: &'static [Field],
}

/// What a message is in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An object with a member for each field.
    Object,
    /// An array: the values of the only field.
    List,
    /// The value of whichever field is set.
    Union,
}

/// A field.
#[derive(Debug)]
pub struct Field {
    /// Its number on the wire.
    pub number: u32,
    /// Its name in JSON.
    pub json: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it holds several.
    pub repeated: bool,
    /// What JSON says where the wire says nothing; empty where the member is left out.
    pub absent: &'static str,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Text.
    String,
    /// JSON text of any value.
    Json,
    /// `true` or `false`.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A number.
    Double,
    /// A number of 32 bits.
    Float,
    /// A message.
    Message(&'static Message),
    /// An object with any names: its entries are this message.
    Map(&'static Message),
}

include!(concat!(env!("OUT_DIR"), "/schema.rs"));
