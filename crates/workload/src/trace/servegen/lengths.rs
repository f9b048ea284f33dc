//! How long a client's prompts and answers are: how often each length occurs, in windows of some hours.

use std::collections::HashMap;

use crate::random::Draw;

/// How often each length occurs.
#[derive(Debug, Clone, PartialEq)]
struct Histogram {
    /// The sum of the shares up to a length, and the length.
    steps: Vec<(f64, u64)>,
}

impl Histogram {
    /// Reads `{64: 0.25, 77: 0.75}`, a dictionary of Python; none if it is empty.
    fn read(text: &str) -> Result<Option<Self>, String> {
        let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let inner = inner.ok_or("a histogram is no dictionary")?;
        let mut steps = Vec::new();
        let mut sum = 0.0;
        for entry in inner.split(',').filter(|entry| !entry.trim().is_empty()) {
            let pair = entry.split_once(':').and_then(|(length, share)| {
                Some((length.trim().parse::<u64>().ok()?, share.trim().parse::<f64>().ok()?))
            });
            let (length, share) =
                pair.ok_or_else(|| format!("{:?} is no length with its share", entry.trim()))?;
            if !(0.0..=1e9).contains(&share) {
                return Err(format!("{share} is no share"));
            }
            sum += share;
            steps.push((sum, length));
        }
        Ok((sum > 0.0).then_some(Self { steps }))
    }

    fn draw(&self, draw: &mut Draw) -> u64 {
        let total = self.steps.last().map_or(0.0, |(sum, _)| *sum);
        let wanted = draw.unit() * total;
        let index = self.steps.partition_point(|(sum, _)| *sum <= wanted);
        self.steps.get(index).or(self.steps.last()).map_or(0, |(_, length)| *length)
    }
}

/// The lengths of a client's requests during some hours.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lengths {
    text: Histogram,
    /// Of images, sounds and films: how many a request has, and the tokens of each.
    media: Vec<(Histogram, Histogram)>,
    output: Histogram,
}

impl Lengths {
    /// Tokens of a prompt and of an answer.
    pub(super) fn draw(&self, draw: &mut Draw) -> (u64, u64) {
        let mut prompt = self.text.draw(draw);
        for (count, tokens) in &self.media {
            prompt += (0..count.draw(draw).min(1_000)).map(|_| tokens.draw(draw)).sum::<u64>();
        }
        (prompt, self.output.draw(draw))
    }

    /// Those of one window; none if the client asked for nothing in it.
    fn read(fields: &HashMap<String, String>) -> Result<Option<Self>, String> {
        let histogram = |name: &str| match fields.get(name) {
            Some(text) => Histogram::read(text).map_err(|why| format!("{name}: {why}")),
            None => Ok(None),
        };
        let text = histogram("input_tokens")?.or(histogram("text_tokens")?);
        let (Some(text), Some(output)) = (text, histogram("output_tokens")?) else { return Ok(None) };
        let mut media = Vec::new();
        for kind in ["image", "audio", "video"] {
            let count = histogram(&format!("{kind}_count"))?;
            let tokens = histogram(&format!("{kind}_tokens"))?;
            media.extend(count.zip(tokens));
        }
        Ok(Some(Self { text, media, output }))
    }
}

/// The lengths in `text` that hold between two seconds, with the second from which they do; if there are none, the
/// nearest.
pub(super) fn read(text: &str, from: f64, until: f64) -> Result<Vec<(f64, Lengths)>, String> {
    let windows: HashMap<String, HashMap<String, String>> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut starts: Vec<(f64, &HashMap<String, String>)> =
        windows.iter().filter_map(|(start, fields)| Some((start.parse().ok()?, fields))).collect();
    starts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut before, mut lengths) = (None, Vec::new());
    for (start, fields) in starts {
        // Parsing is what takes time: what comes after the end is read only if there is nothing else.
        if start > until && (before.is_some() || !lengths.is_empty()) {
            break;
        }
        match Lengths::read(fields)? {
            Some(read) if start <= from => before = Some((start, read)),
            Some(read) => lengths.push((start, read)),
            None => {}
        }
    }
    lengths.splice(0..0, before);
    if lengths.is_empty() { Err("holds no lengths".into()) } else { Ok(lengths) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_drawn_from_as_often_as_it_says() {
        let histogram = Histogram::read("{64: 0.25, 77: 0.75}").unwrap().unwrap();
        let mut draw = Draw::new(1, 0);
        let short = (0..10_000).filter(|_| histogram.draw(&mut draw) == 64).count();
        assert!(short.abs_diff(2_500) < 150, "{short}");
        assert_eq!(Histogram::read("{}").unwrap(), None);
        assert_eq!(Histogram::read("{a: 1}").unwrap_err(), "\"a: 1\" is no length with its share");
        assert_eq!(Histogram::read("64").unwrap_err(), "a histogram is no dictionary");
    }

    #[test]
    fn an_image_adds_its_tokens_to_the_prompt() {
        let text = r#"{"0": {"text_tokens": "{50: 1.0}", "image_count": "{2: 1.0}", "image_tokens": "{100: 1.0}",
                       "audio_count": "{0: 1.0}", "audio_tokens": "{0: 1.0}", "output_tokens": "{9: 1.0}"}}"#;
        let lengths = read(text, 0.0, 600.0).unwrap();
        assert_eq!(lengths[0].1.draw(&mut Draw::new(1, 0)), (250, 9));
    }

    #[test]
    fn windows_without_lengths_are_passed_over() {
        let of = |tokens: u64| {
            format!(r#"{{"input_tokens": "{{{tokens}: 1.0}}", "output_tokens": "{{1: 1.0}}"}}"#)
        };
        let empty = r#"{"input_tokens": "{}", "output_tokens": "{}"}"#;
        let text = format!(r#"{{"21600": {empty}, "0": {}, "43200": {}}}"#, of(5), of(6));
        let starts = |from, until| -> Vec<f64> {
            read(&text, from, until).unwrap().into_iter().map(|(start, _)| start).collect()
        };
        assert_eq!(starts(30_000.0, 40_000.0), [0.0]);
        assert_eq!(starts(30_000.0, 50_000.0), [0.0, 43_200.0]);
        assert_eq!(read(&format!(r#"{{"0": {empty}}}"#), 0.0, 1.0).unwrap_err(), "holds no lengths");
    }
}
