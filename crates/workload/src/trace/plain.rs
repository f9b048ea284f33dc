//! The plain form, for whoever makes a trace of their own.
//!
//! As comma-separated values the first line names the columns, in any order; as JSON every line is one object with the
//! same names. Blank lines and lines that begin with `#` say nothing.
//!
//! ```text
//! at_s,prompt_tokens,output_tokens,tenant,block_tokens,blocks
//! 0.00,1200,150,acme,512,17;18;19
//! 0.25,80,20,beta,512,
//!
//! {"at_s": 0.00, "prompt_tokens": 1200, "output_tokens": 150, "tenant": "acme", "block_tokens": 512, "blocks": [17, 18, 19]}
//! ```
//!
//! | column | what |
//! |---|---|
//! | `at_s` | when the request arrives, in seconds from the beginning of the trace |
//! | `prompt_tokens`, `output_tokens` | tokens of the prompt and of the answer; zero is taken for one |
//! | `model`, `tenant`, `region` | optional: what it asks for, who sends it, from where; names hold no comma |
//! | `block_tokens` | optional: tokens of a block, the same in all lines; 16 if blocks are told without it |
//! | `blocks` | optional: ids of the prompt's blocks from its beginning, separated by spaces or `;` |
//!
//! An equal id means an equal prompt up to the end of that block. The last block may be cut short by the end of the
//! prompt, and prompts may go on after their last block.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Deserialize;

use super::Trace;
use super::builder::{Builder, Row};
use super::lines::{shortened, unquoted, whole};
use super::mooncake::{at_seconds, why};
use super::read::{Form, LineReader};

/// Tokens of a block where none are told.
const BLOCK: u64 = 16;

/// Comma-separated values.
pub(super) const CSV: Form =
    Form { recognises: |line| line.split(',').any(|name| unquoted(name) == "at_s"), start: start_csv };

/// JSON, one object a line.
pub(super) const JSON: Form = Form {
    recognises: |line| line.starts_with('{') && line.contains("\"at_s\""),
    start: || Box::new(read_json),
};

/// Writes `trace` in the plain form, as comma-separated values.
///
/// # Errors
///
/// Those of `to`.
pub fn write(trace: &Trace, to: &mut impl Write) -> io::Result<()> {
    writeln!(to, "at_s,prompt_tokens,output_tokens,model,tenant,region,block_tokens,blocks")?;
    for arrival in &trace.arrivals {
        let name = |names: &[String], index: u16| names.get(usize::from(index)).cloned().unwrap_or_default();
        let (model, tenant) = (name(&trace.models, arrival.model), name(&trace.tenants, arrival.tenant));
        let region = name(&trace.regions, arrival.region);
        let at = format!("{}.{:09}", arrival.at.as_secs(), arrival.at.subsec_nanos());
        write!(to, "{at},{},{},", arrival.prompt_tokens, arrival.output_tokens)?;
        write!(to, "{model},{tenant},{region},{},", trace.block_tokens)?;
        for (index, block) in trace.blocks_of(arrival).iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            write!(to, "{separator}{block}")?;
        }
        writeln!(to)?;
    }
    Ok(())
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Column {
    At,
    Prompt,
    Output,
    Model,
    Tenant,
    Region,
    BlockTokens,
    Blocks,
}

const COLUMNS: &[(&str, Column)] = &[
    ("at_s", Column::At),
    ("prompt_tokens", Column::Prompt),
    ("output_tokens", Column::Output),
    ("model", Column::Model),
    ("tenant", Column::Tenant),
    ("region", Column::Region),
    ("block_tokens", Column::BlockTokens),
    ("blocks", Column::Blocks),
];

fn start_csv() -> LineReader {
    let mut columns: Option<Vec<Column>> = None;
    let mut blocks = Vec::new();
    Box::new(move |line, builder| match &columns {
        Some(columns) => read_csv(line, columns, &mut blocks, builder),
        None => {
            columns = Some(header(line)?);
            Ok(())
        }
    })
}

fn header(line: &str) -> Result<Vec<Column>, String> {
    let column = |name| {
        let known = COLUMNS.iter().find(|(known, _)| *known == unquoted(name));
        known.map(|(_, column)| *column).ok_or_else(|| format!("{:?} is not a column", shortened(name)))
    };
    let columns: Vec<Column> = line.split(',').map(column).collect::<Result<_, String>>()?;
    match COLUMNS[..3].iter().find(|(_, column)| !columns.contains(column)) {
        Some((name, _)) => Err(format!("there is no column {name}")),
        None => Ok(columns),
    }
}

fn read_csv(
    line: &str,
    columns: &[Column],
    blocks: &mut Vec<u64>,
    builder: &mut Builder,
) -> Result<(), String> {
    let mut row = Row::default();
    let (mut block_tokens, mut ids) = (0, "");
    let mut fields = line.split(',').map(unquoted);
    for column in columns {
        let field = match fields.next() {
            Some(field) => field,
            None if COLUMNS[..3].iter().any(|(_, needed)| needed == column) => "",
            None => continue,
        };
        match column {
            Column::At => row.at = at_seconds("at_s", decimal(field)?)?,
            Column::Prompt => row.prompt_tokens = needed("prompt_tokens", field)?,
            Column::Output => row.output_tokens = needed("output_tokens", field)?,
            Column::Model => row.model = field,
            Column::Tenant => row.tenant = field,
            Column::Region => row.region = field,
            Column::BlockTokens if field.is_empty() => {}
            Column::BlockTokens => block_tokens = whole("block_tokens", field)?,
            Column::Blocks => ids = field,
        }
    }
    if fields.next().is_some() {
        return Err("there are more fields than columns; names hold no comma".into());
    }
    blocks.clear();
    for id in ids.split([' ', ';']).filter(|id| !id.is_empty()) {
        blocks.push(whole("blocks", id)?);
    }
    row.blocks = blocks;
    push(&row, block_tokens, builder)
}

fn needed(name: &str, field: &str) -> Result<u64, String> {
    if field.is_empty() { Err(format!("{name} is missing")) } else { whole(name, field) }
}

fn decimal(field: &str) -> Result<f64, String> {
    field.parse().map_err(|_| format!("at_s: {:?} is not a number of seconds", shortened(field)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'l> {
    at_s: f64,
    prompt_tokens: u64,
    output_tokens: u64,
    #[serde(default, borrow)]
    model: Cow<'l, str>,
    #[serde(default, borrow)]
    tenant: Cow<'l, str>,
    #[serde(default, borrow)]
    region: Cow<'l, str>,
    #[serde(default)]
    block_tokens: u64,
    #[serde(default)]
    blocks: Vec<u64>,
}

fn read_json(line: &str, builder: &mut Builder) -> Result<(), String> {
    let line: Line<'_> = serde_json::from_str(line).map_err(|error| why(&error))?;
    let row = Row {
        at: at_seconds("at_s", line.at_s)?,
        prompt_tokens: line.prompt_tokens,
        output_tokens: line.output_tokens,
        model: &line.model,
        tenant: &line.tenant,
        region: &line.region,
        blocks: &line.blocks,
    };
    push(&row, line.block_tokens, builder)
}

fn push(row: &Row<'_>, block_tokens: u64, builder: &mut Builder) -> Result<(), String> {
    if !row.blocks.is_empty() || block_tokens > 0 {
        let tokens = if block_tokens == 0 { BLOCK } else { block_tokens };
        let tokens = u32::try_from(tokens).ok().filter(|tokens| *tokens <= 1 << 20);
        builder.set_block_tokens(tokens.ok_or("block_tokens is more than 1048576")?)?;
    }
    builder.push(row)
}

#[cfg(test)]
mod tests;
