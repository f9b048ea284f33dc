//! What computes steps: a model on some device, in this process or in another.
//!
//! An [`Executor`] knows a vocabulary and computes; who goes first, what leaves together and which memory holds what is
//! decided by the step scheduler, and what a caller gets to see by [`stepped`](crate::stepped). It is called from one
//! thread that it has for itself, so it may block.

use std::ops::Range;

use bytes::Bytes;
use plimsoll_batching::step::Limits;

/// A number that one sequence bears and no other ever did.
pub type Number = u64;

/// Computes the steps of one model.
pub trait Executor: Send {
    /// Gets ready, at first and after a [`Failed`]: what was known of sequences before is forgotten.
    ///
    /// # Errors
    ///
    /// Where there is nothing that could compute. It will be tried again when somebody asks.
    fn load(&mut self) -> Result<Model, Failed>;

    /// The tokens of a prompt, as the model wants them.
    ///
    /// # Errors
    ///
    /// [`Unread::Refused`] concerns this prompt alone, [`Unread::Failed`] everybody.
    fn read(&mut self, prompt: &Prompt) -> Result<Vec<u32>, Unread>;

    /// Computes all `pieces` and writes one token after each that [`writes`](Piece::writes), in their order.
    ///
    /// # Errors
    ///
    /// Where it cannot go on. All sequences are lost then.
    fn step(&mut self, pieces: &[Piece<'_>], output: &mut Output) -> Result<(), Failed>;

    /// Reads `texts`, each by itself, and appends the vectors that stand for them, one after the other. They are no more, and no
    /// more tokens, than a step may have; nothing of them is kept.
    ///
    /// # Errors
    ///
    /// Where it cannot go on. All sequences are lost then.
    fn embed(&mut self, texts: &[&[u32]], vectors: &mut Vec<f32>) -> Result<(), Failed> {
        let _ = (texts, vectors);
        Err(Failed("the executor makes no vectors"))
    }

    /// What was computed of a sequence is of no use any more, except where blocks are shared: their contents stay until
    /// they are written anew. It may come back, beginning at its first token.
    fn forget(&mut self, number: Number);
}

/// What an executor runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Tokens that prompt and answer may have together.
    pub context: u32,
    /// What it can do at a time.
    pub limits: Limits,
    /// Whether keys and values stand in the blocks that pieces name, so that prompts that begin alike can share them.
    pub paged: bool,
    /// Whether it writes.
    pub writes: bool,
    /// Numbers of the vector that stands for a text; 0 where it makes none.
    pub vector: u32,
}

/// What is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A conversation: the body of the request, with `messages` and maybe `tools`.
    Chat(Bytes),
    /// A text.
    Text(String),
    /// Numbers of tokens.
    Tokens(Vec<u32>),
}

/// How a token is chosen among the likely ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest; the more, the flatter.
    pub temperature: f32,
    /// Among the likeliest that have this share together.
    pub top_p: f32,
    /// Among so many of the likeliest; 0 among all.
    pub top_k: u32,
    /// Decides the draw, for a given sequence of draws.
    pub seed: u64,
    /// Whether it is told how likely the token was, and how likely so many of the likeliest in its place.
    pub likely: Option<u8>,
    /// Whether it goes on to its limit: a token that says that all has been said ends nothing, and is better not chosen.
    pub endless: bool,
}

/// A run of tokens of one sequence that is computed in a step.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Which sequence.
    pub number: Number,
    /// Where the first of the tokens stands in it.
    pub position: u32,
    /// The tokens.
    pub tokens: &'a [u32],
    /// Where keys and values stand from its first token on, if the model is [paged](Model::paged).
    pub blocks: &'a [u32],
    /// Whether a token follows.
    pub writes: bool,
    /// How that is chosen.
    pub sampling: &'a Sampling,
}

/// What a step wrote. It is kept from step to step, so that nothing is allocated for a token.
#[derive(Debug, Default)]
pub struct Output {
    tokens: Vec<Token>,
    text: Vec<u8>,
    likely: Vec<Likely>,
    known: Vec<(usize, u32)>,
}

/// A token that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its number in the vocabulary.
    pub id: u32,
    /// Whether the model says that it has said all.
    pub end: bool,
    bytes: Range<usize>,
    likely: Range<usize>,
}

/// A token that was written or could have been.
#[derive(Debug, Clone, PartialEq)]
pub struct Likely {
    /// The natural logarithm of its share, at a temperature of 1.
    pub logprob: f32,
    bytes: Range<usize>,
}

impl Output {
    /// Adds the token of the next piece that writes. Its text may end within a character; what only says that all has
    /// been said has none.
    pub fn write(&mut self, id: u32, text: &[u8], end: bool) {
        let bytes = self.keep(text);
        let likely = self.likely.len()..self.likely.len();
        self.tokens.push(Token { id, end, bytes, likely });
    }

    /// Tells how likely the token was that was written last, whose text is `text`; said again, of one that could have stood in
    /// its place, the likeliest first.
    pub fn tell(&mut self, text: &[u8], logprob: f32) {
        let bytes = self.keep(text);
        self.likely.push(Likely { logprob, bytes });
        if let Some(token) = self.tokens.last_mut() {
            token.likely.end = self.likely.len();
        }
    }

    /// Tells that so many tokens of a piece, by its index, did not have to be computed: who sat there before began alike.
    pub fn know(&mut self, piece: usize, tokens: u32) {
        self.known.push((piece, tokens));
    }

    /// The pieces of which something did not have to be computed, and how many tokens of each.
    #[must_use]
    pub fn known(&self) -> &[(usize, u32)] {
        &self.known
    }

    fn keep(&mut self, text: &[u8]) -> Range<usize> {
        let from = self.text.len();
        self.text.extend_from_slice(text);
        from..self.text.len()
    }

    /// The tokens, in the order of their pieces.
    #[must_use]
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// What a token says.
    #[must_use]
    pub fn text(&self, token: &Token) -> &[u8] {
        &self.text[token.bytes.clone()]
    }

    /// How likely a token was, and those that could have stood in its place: what they say, and their logarithms. Nothing
    /// where it was not told.
    pub fn likely(&self, token: &Token) -> impl ExactSizeIterator<Item = (&[u8], f32)> {
        let likely = &self.likely[token.likely.clone()];
        likely.iter().map(|likely| (&self.text[likely.bytes.clone()], likely.logprob))
    }

    /// Forgets all, for the next step.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.text.clear();
        self.likely.clear();
        self.known.clear();
    }
}

/// An executor cannot go on. The reason is for callers too: no addresses in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub &'static str);

/// Why a prompt was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is no prompt for this model; the caller is told why.
    #[error("{0}")]
    Refused(String),
    /// The executor cannot go on.
    #[error(transparent)]
    Failed(#[from] Failed),
}
