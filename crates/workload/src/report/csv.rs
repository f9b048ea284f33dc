//! One row for each request, after RFC 4180.

use std::io::{self, Write};
use std::time::Duration;

use super::{About, Record, recorder::name};

const HEAD: &str = "request,due_seconds,sent_seconds,first_token_seconds,end_seconds,ttft_seconds,tpot_seconds,\
e2e_seconds,outcome,met_slo,prompt_tokens,cached_tokens,output_tokens,model,tenant,region,backend\r\n";

/// Writes one row for each of `records` to `out`, with the names that `about` knows.
///
/// # Errors
/// If `out` cannot be written to.
pub fn csv(records: &[Record], about: &About, mut out: impl Write) -> io::Result<()> {
    out.write_all(HEAD.as_bytes())?;
    records.iter().try_for_each(|record| row(record, about, &mut out))
}

fn row(record: &Record, about: &About, out: &mut impl Write) -> io::Result<()> {
    let seconds =
        |time: Option<Duration>| time.map(|time| format!("{:.9}", time.as_secs_f64())).unwrap_or_default();
    write!(
        out,
        "{},{:.9},{:.9},{},{:.9},",
        record.request,
        record.due.as_secs_f64(),
        record.sent.as_secs_f64(),
        seconds(record.first_token),
        record.end.as_secs_f64(),
    )?;
    let latencies = [record.ttft(), record.tpot(), record.e2e()].map(seconds).join(",");
    write!(out, "{latencies},{},{},", record.outcome.name(), record.meets(&about.slo))?;
    write!(out, "{},{},{}", record.prompt_tokens, record.cached_tokens, record.output_tokens)?;
    let of = |names: &[String], number: u16| quoted(&name(names, number));
    let (model, tenant) = (of(&about.models, record.model), of(&about.tenants, record.tenant));
    let region = of(&about.regions, record.region);
    let backend = record.backend.map(|backend| of(&about.backends, backend)).unwrap_or_default();
    write!(out, ",{model},{tenant},{region},{backend}\r\n")
}

/// A field, in quotes where it needs them.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Sample, answered, ms};
    use super::*;

    #[test]
    fn a_row_has_the_times_and_the_names_of_a_request() {
        let mut about = Sample::default().about();
        about.tenants[0] = "a \"big\", loud one".to_owned();
        let mut written = Vec::new();
        csv(&[answered(ms(1_000), ms(100), ms(600), 11)], &about, &mut written).unwrap();
        let written = String::from_utf8(written).unwrap();
        let rows: Vec<&str> = written.split("\r\n").collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(
            rows[1],
            "0,1.000000000,1.000000000,1.100000000,1.600000000,0.100000000,0.050000000,0.600000000,ok,false,\
             100,40,11,llama-3.1-8b,\"a \"\"big\"\", loud one\",eu-west-1,gpu-0"
        );
    }

    #[test]
    fn what_never_came_is_an_empty_field() {
        let refused = Record {
            first_token: None,
            outcome: super::super::Outcome::Refused,
            backend: None,
            ..answered(ms(0), ms(1), ms(2), 0)
        };
        let mut written = Vec::new();
        csv(&[refused], &About::default(), &mut written).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert!(
            written.ends_with("0.000000000,0.000000000,,0.002000000,,,,refused,false,100,40,0,#0,#0,#0,\r\n")
        );
    }
}
