use std::sync::Arc;

use plimsoll_batching::step::{Admission, Limits};
use plimsoll_engines::executor::{Executor, Failed, Model, Number, Output, Piece, Prompt, Unread};

use crate::loading::{self, Stamp};
use crate::native::{self, Context, Vectors};
use crate::options::Options;
use crate::sampling::{self, Sampler};
use crate::seats::{Seats, Work};
use crate::template::Template;

/// Tokens of a block, by which the use of memory is told.
const BLOCK: u32 = 16;
const ABSENT: Failed = Failed("the model is not loaded; the log says why");
const CONFUSED: Failed = Failed("llama.cpp was asked for something that it does not have");

/// A model that llama.cpp runs in this process.
pub struct Llama {
    options: Options,
    running: Option<Running>,
    /// The file that could not be loaded last time: as long as it is the same, it is not tried again.
    failed: Option<Stamp>,
}

/// A model that is loaded.
struct Running {
    model: Arc<native::Model>,
    /// Where it writes.
    context: Option<Context>,
    /// Where it makes vectors.
    vectors: Option<Vectors>,
    template: Template,
    seats: Seats,
    sampler: Sampler,
    /// What the pieces of a step cost, each with its index.
    works: Vec<(Work, usize)>,
    /// The places in a step after which a token is wanted, each with its piece.
    wanted: Vec<(usize, usize)>,
    /// Tokens that say that all has been said.
    ends: Vec<u32>,
    /// What a token says.
    said: Vec<u8>,
}

impl Llama {
    /// The model of `options`. It is loaded when it is first asked for something.
    ///
    /// # Errors
    ///
    /// Where there is no such file, or it is none that llama.cpp reads, in words for the operator.
    pub fn new(options: Options) -> Result<Self, String> {
        loading::check(&options.file)?;
        Ok(Self { options, running: None, failed: None })
    }
}

/// What the scheduler is told of a model that was made for so many tokens of context.
fn told(options: &Options, trained: u32) -> Model {
    let context = options.context_of(trained);
    let limits = Limits {
        step_tokens: options.batch,
        chunk_tokens: u32::MAX,
        sequences: options.slots,
        kv_blocks: options.slots * context.div_ceil(BLOCK),
        block_tokens: BLOCK,
        // Who has a slot has its memory: there is nothing to foresee.
        admission: Admission::WhileItFits,
    };
    Model { name: options.name.clone(), context, limits, paged: false, writes: true, vector: 0 }
}

impl Running {
    fn begin(options: &Options) -> Result<(Self, Model), String> {
        let model = loading::model(options)?;
        let template = Template::new(model.template(), model.borders())
            .map_err(|why| format!("{}: {why}", options.file.display()))?;
        let ends = (0..model.tokens()).filter(|token| model.ends(*token)).collect();
        let (context, vectors) = (loading::context(&model, options)?, loading::vectors(&model, options)?);
        let told = Model {
            writes: context.is_some(),
            vector: vectors.as_ref().map_or(0, Vectors::numbers),
            ..told(options, model.trained_context())
        };
        let seats = Seats::new(options.slots as usize, model.can_go_back());
        let running = Self {
            model,
            context,
            vectors,
            template,
            seats,
            sampler: Sampler::default(),
            works: Vec::with_capacity(options.slots as usize),
            wanted: Vec::with_capacity(options.slots as usize),
            ends,
            said: Vec::with_capacity(64),
        };
        Ok((running, told))
    }

    fn read(&self, prompt: &Prompt) -> Result<Vec<u32>, String> {
        let model = &*self.model;
        match prompt {
            Prompt::Chat(body) => {
                let text = self.template.write(body)?;
                let (first, _) = model.borders();
                // A template may write what reading adds by itself.
                let twice = model.begins_by_itself() && !first.is_empty();
                let text = if twice { text.strip_prefix(&*first).unwrap_or(&text) } else { &text };
                Ok(model.read(text))
            }
            Prompt::Text(text) => Ok(model.read(text)),
            Prompt::Tokens(tokens) => match tokens.iter().find(|token| **token >= model.tokens()) {
                Some(token) => {
                    Err(format!("{token} is no token of this model, which has {}", model.tokens()))
                }
                None => Ok(tokens.clone()),
            },
        }
    }

    fn step(&mut self, pieces: &[Piece<'_>], output: &mut Output) -> Result<(), Failed> {
        self.seat(pieces, output)?;
        let context = self.context.as_mut().ok_or(CONFUSED)?;
        self.wanted.clear();
        for (work, index) in &self.works {
            let place = add(context, *work, &pieces[*index])?;
            self.wanted.extend(place.map(|place| (place, *index)));
        }
        context.compute().map_err(|code| {
            let tokens: usize = pieces.iter().map(|piece| piece.tokens.len()).sum();
            tracing::error!(code, tokens, "llama.cpp cannot compute a step");
            Failed("llama.cpp could not compute a step")
        })?;
        // What was written is told in the order of the pieces.
        self.wanted.sort_unstable_by_key(|(_, index)| *index);
        for (place, index) in &self.wanted {
            let Piece { sampling, position, tokens, .. } = &pieces[*index];
            if sampling.endless {
                context.exclude(*place, &self.ends);
            }
            let scores = context.scores(*place).ok_or(CONFUSED)?;
            let token = self.sampler.choose(scores, sampling, position + tokens.len() as u32);
            let model = &*self.model;
            model.say(token, &mut self.said);
            output.write(token, &self.said, model.ends(token));
            if let Some(count) = sampling.likely {
                let whole = sampling::whole(scores);
                output.tell(&self.said, scores[token as usize] - whole);
                for other in self.sampler.likeliest(scores, count.into()) {
                    model.say(other, &mut self.said);
                    output.tell(&self.said, scores[other as usize] - whole);
                }
            }
        }
        Ok(())
    }

    /// Finds out what the pieces cost, and brings them into the order of their seats: llama.cpp computes together what follows
    /// each other so, and would take a round for each that does not.
    fn seat(&mut self, pieces: &[Piece<'_>], output: &mut Output) -> Result<(), Failed> {
        self.works.clear();
        for (index, piece) in pieces.iter().enumerate() {
            let work = self.seats.take(piece).ok_or(CONFUSED)?;
            if work.known > 0 {
                output.know(index, work.known as u32);
            }
            self.works.push((work, index));
        }
        self.works.sort_unstable_by_key(|(work, _)| work.seat);
        Ok(())
    }
}

/// Puts into the step what of a piece is not there yet; gives the place after which a token is wanted.
fn add(context: &mut Context, work: Work, piece: &Piece<'_>) -> Result<Option<usize>, Failed> {
    let (seat, from) = (work.seat as u32, piece.position + work.known as u32);
    if work.cut && !context.cut(seat, from) {
        return Err(CONFUSED);
    }
    let mut place = None;
    let last = piece.tokens.len() - 1;
    for (position, (at, token)) in (from..).zip(piece.tokens.iter().enumerate().skip(work.known)) {
        let wanted = piece.writes && at == last;
        let added = context.add((seat, position), *token, wanted).ok_or(CONFUSED)?;
        place = wanted.then_some(added);
    }
    Ok(place)
}

impl Executor for Llama {
    fn load(&mut self) -> Result<Model, Failed> {
        // What was loaded goes first: memory may not suffice for both.
        self.running = None;
        let stamp = Stamp::of(&self.options.file);
        if self.failed.as_ref() == Some(&stamp) {
            return Err(ABSENT);
        }
        let (running, model) = Running::begin(&self.options).map_err(|why| {
            tracing::error!("{why}");
            self.failed = Some(stamp);
            ABSENT
        })?;
        let Options { file, threads, slots, .. } = &self.options;
        let (file, name, context) = (file.display(), &model.name, model.context);
        tracing::info!(%file, model = name, slots, context, threads, "llama.cpp has loaded a model");
        self.running = Some(running);
        Ok(model)
    }

    fn read(&mut self, prompt: &Prompt) -> Result<Vec<u32>, Unread> {
        let running = self.running.as_ref().ok_or(ABSENT)?;
        running.read(prompt).map_err(Unread::Refused)
    }

    fn step(&mut self, pieces: &[Piece<'_>], output: &mut Output) -> Result<(), Failed> {
        self.running.as_mut().ok_or(ABSENT)?.step(pieces, output)
    }

    fn embed(&mut self, texts: &[&[u32]], vectors: &mut Vec<f32>) -> Result<(), Failed> {
        let running = self.running.as_mut().ok_or(ABSENT)?;
        let reader = running.vectors.as_mut().ok_or(CONFUSED)?;
        reader.read(texts, vectors).map_err(|code| {
            tracing::error!(code, texts = texts.len(), "llama.cpp cannot read texts");
            Failed("llama.cpp could not read texts")
        })
    }

    fn forget(&mut self, number: Number) {
        let Some(running) = &mut self.running else { return };
        if let (Some(seat), Some(context)) = (running.seats.leave(number), &mut running.context) {
            context.cut(seat as u32, 0);
        }
    }
}
