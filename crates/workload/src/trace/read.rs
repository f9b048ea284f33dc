//! Reads a trace of any known form, which is recognised by what the file holds, not by its name.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use super::builder::Builder;
use super::{Error, Problems, Trace, azure, lines, mooncake, plain, servegen, shape};

/// Reads one line into the trace, or says why it cannot.
pub(super) type LineReader = Box<dyn FnMut(&str, &mut Builder) -> Result<(), String>>;

/// A form of trace whose requests stand one on each line.
pub(super) struct Form {
    /// Whether a line is of this form.
    pub(super) recognises: fn(&str) -> bool,
    /// A reader for a file, from its first line.
    pub(super) start: fn() -> LineReader,
}

/// Every form that a file can have.
const FORMS: &[Form] = &[azure::FORM, mooncake::FORM, plain::CSV, plain::JSON];
/// How far into a file a form is looked for: whatever has twenty broken lines first is not read.
const LOOKED_AT: usize = 20;

/// What to make of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The model of requests whose line names none.
    pub model: String,
    /// Decides what is drawn.
    pub seed: u64,
    /// Each request is moved later by a time up to this, for traces whose timestamps stand on a grid.
    pub jitter: Duration,
    /// Where in the source to begin.
    pub from: Duration,
    /// How much of the source to take; all there is, or ten minutes of a client model, which has no end.
    pub length: Option<Duration>,
    /// Factor on the request rate: a recorded trace is compressed in time, a client model has its rates multiplied.
    pub rate: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model: plimsoll_engines::simulated::CHAT_MODEL.into(),
            seed: 1,
            jitter: Duration::ZERO,
            from: Duration::ZERO,
            length: None,
            rate: 1.0,
        }
    }
}

/// Reads the trace in `source`: a file of a known form, or a folder of client models.
///
/// Lines that cannot be used are left out and told beside the trace.
///
/// # Errors
///
/// That there is no such file, that its form is unknown, or that no line of it can be used.
pub fn read(source: &Path, options: &Options) -> Result<(Trace, Problems), Error> {
    if source.is_dir() {
        return servegen::read(source, options);
    }
    let name = source.display().to_string();
    let file = File::open(source).map_err(|error| Error::Unreadable { file: name.clone(), error })?;
    let (mut trace, problems) = read_from(&name, BufReader::with_capacity(1 << 18, file), options)?;
    if let Some(stem) = source.file_stem() {
        trace.name = stem.to_string_lossy().into_owned();
    }
    Ok((trace, problems))
}

/// Reads the trace that `reader` holds; messages and the trace call it `name`.
///
/// # Errors
///
/// As [`read`].
pub fn read_from(
    name: &str,
    mut reader: impl BufRead,
    options: &Options,
) -> Result<(Trace, Problems), Error> {
    let unreadable = |error| Error::Unreadable { file: name.into(), error };
    let begin = String::from_utf8_lossy(reader.fill_buf().map_err(unreadable)?).into_owned();
    let mut problems = Problems::default();
    let Some(form) = form_of(&begin) else {
        let file = name.into();
        let blank = begin.lines().all(|line| !lines::is_content(line));
        return Err(if blank { Error::Empty { file, problems } } else { Error::UnknownForm { file } });
    };
    let mut builder = Builder::new(&options.model, options.jitter, options.seed);
    let mut line_reader = (form.start)();
    lines::for_each(name, reader, &mut problems, |line| line_reader(line, &mut builder))
        .map_err(unreadable)?;
    let trace = builder.finish(name.into());
    if trace.arrivals.is_empty() {
        return Err(Error::Empty { file: name.into(), problems });
    }
    let trace = shape::slice(trace, options.from, options.length);
    Ok((shape::scale(trace, options.rate), problems))
}

fn form_of(begin: &str) -> Option<&'static Form> {
    let mut lines = begin.lines().filter(|line| lines::is_content(line)).take(LOOKED_AT);
    lines.find_map(|line| FORMS.iter().find(|form| (form.recognises)(lines::clean(line))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        read_from("t", text.as_bytes(), &Options::default()).unwrap_err().to_string()
    }

    #[test]
    fn a_file_that_is_no_trace_is_told_in_one_sentence() {
        assert_eq!(error("hello\nworld\n"), "t: is no trace of a known form: docs/traces.md lists them");
        assert_eq!(error(" \n\n"), "t: holds no request: no broken line");
        assert_eq!(
            error("at_s,prompt_tokens,output_tokens\n1,2\n"),
            "t: holds no request: 1 broken line: t:2: output_tokens is missing",
        );
        let missing = read(Path::new("no/such.csv"), &Options::default()).unwrap_err().to_string();
        assert!(missing.starts_with("no/such.csv: No such file"), "{missing}");
    }

    #[test]
    fn a_form_is_recognised_behind_lines_that_are_broken() {
        let text = "{\"timest\n{\"timestamp\":1000,\"input_length\":3,\"output_length\":4}";
        let (trace, problems) = read_from("t", text.as_bytes(), &Options::default()).unwrap();
        assert_eq!((trace.arrivals.len(), problems.count), (1, 1));
    }

    #[test]
    fn a_part_is_taken_before_it_is_made_faster() {
        let text = "at_s,prompt_tokens,output_tokens\n0,1,1\n10,2,1\n14,3,1\n30,4,1\n";
        let options = Options {
            from: Duration::from_secs(10),
            length: Some(Duration::from_secs(20)),
            rate: 2.0,
            ..Options::default()
        };
        let (trace, _) = read_from("t", text.as_bytes(), &options).unwrap();
        let read: Vec<_> = trace.arrivals.iter().map(|a| (a.at.as_secs(), a.prompt_tokens)).collect();
        assert_eq!(read, [(0, 2), (2, 3)]);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_nobody_panics(
            head in prop::sample::select(vec![
                "",
                "TIMESTAMP,ContextTokens,GeneratedTokens\n",
                "at_s,prompt_tokens,output_tokens,blocks,tenant,block_tokens\n",
                "{\"timestamp\":0,\"input_length\":1,\"output_length\":1}\n",
                "{\"at_s\":0,\"prompt_tokens\":1,\"output_tokens\":1}\n",
            ]),
            lines in prop::collection::vec("[0-9,:. ;T+e-]{0,40}|\\{\"(timestamp|at_s)\":.{0,40}|.{0,40}", 0..20),
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [head.as_bytes(), lines.join("\n").as_bytes(), &noise].concat();
            if let Ok((trace, _)) = read_from("t", bytes.as_slice(), &Options::default()) {
                prop_assert!(trace.arrivals.is_sorted_by_key(|arrival| arrival.at));
                for arrival in &trace.arrivals {
                    prop_assert!(arrival.prompt_tokens > 0 && arrival.output_tokens > 0);
                    prop_assert!(trace.blocks_of(arrival).len() <= arrival.prompt_tokens as usize);
                }
            }
        }
    }
}
