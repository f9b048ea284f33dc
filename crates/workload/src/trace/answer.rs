/// What comes back for a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answer {
    /// A stream of tokens.
    #[default]
    Stream,
    /// A text that comes as a whole when its last token is written.
    Whole,
    /// An embedding: it comes when the prompt is read, and no token is written.
    Embedding,
}

impl Answer {
    /// Their names, the default first.
    pub const NAMES: &[&str] = &["stream", "whole", "embedding"];

    /// The answer of this name; a stream if there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "whole" => Self::Whole,
            "embedding" => Self::Embedding,
            _ => Self::Stream,
        }
    }
}
