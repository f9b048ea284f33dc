//! Plots as SVG, without a script and in the colours of the page around them.

mod axis;

pub(super) use axis::{Axis, clock};

use std::fmt::Write;

use super::html::escape;

/// How wide a plot is, in units of its own.
pub(super) const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 216.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 24.0;

/// The least distance between two labels at the right.
const LABEL_HEIGHT: f64 = 13.0;

/// How wide a letter of a label is.
const LETTER: f64 = 6.6;

/// How many styles of lines there are before they begin anew.
const STYLES: usize = 6;

/// A line of a plot.
pub(super) struct Line<'a> {
    /// What is written at its end.
    pub(super) label: &'a str,
    /// Which colour, dashes and markers it has.
    pub(super) style: usize,
    /// Its points.
    pub(super) points: &'a [(f64, f64)],
}

/// What is written at the right end of a line.
struct Label {
    x: f64,
    y: f64,
    style: usize,
    text: String,
}

/// A plot that is being drawn.
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    right: f64,
    body: String,
    labels: Vec<Label>,
    tips: String,
}

impl Plot {
    /// An empty plot with room for `labels` at the right.
    pub(super) fn new<'a>(x: Axis, y: Axis, labels: impl IntoIterator<Item = &'a str>) -> Self {
        let longest = labels.into_iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let right = WIDTH - 22.0 - LETTER * longest as f64;
        let mut plot = Self { x, y, right, body: String::new(), labels: Vec::new(), tips: String::new() };
        plot.grid();
        plot
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + self.x.place(x) * (self.right - LEFT)
    }

    fn py(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - BOTTOM - TOP)
    }

    fn grid(&mut self) {
        let bottom = HEIGHT - BOTTOM;
        let right = self.right;
        for (value, text) in self.y.ticks() {
            let y = self.py(value);
            self.add(format_args!("<path class='grid' d='M{LEFT} {y:.1}H{right:.1}'/>"));
            self.add(format_args!(
                "<text class='tick' x='{:.1}' y='{:.1}' text-anchor='end'>{text}</text>",
                LEFT - 6.0,
                y + 4.0
            ));
        }
        for (value, text) in self.x.ticks() {
            let x = self.px(value);
            self.add(format_args!("<path class='grid' d='M{x:.1} {bottom}v4'/>"));
            self.add(format_args!(
                "<text class='tick' x='{x:.1}' y='{:.1}' text-anchor='middle'>{text}</text>",
                bottom + 17.0
            ));
        }
        self.add(format_args!("<path class='base' d='M{LEFT} {bottom}H{right:.1}'/>"));
    }

    fn add(&mut self, what: std::fmt::Arguments<'_>) {
        self.body.write_fmt(what).expect("a string takes all that is written");
    }

    /// The points as a path; those that would not be told apart are left out.
    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        let mut last = (f64::MIN, f64::MIN);
        for (x, y) in points.map(|(x, y)| (self.px(x), self.py(y))) {
            if (x - last.0).abs() + (y - last.1).abs() >= 0.8 {
                let command = if path.is_empty() { 'M' } else { 'L' };
                write!(path, "{command}{x:.1} {y:.1}").expect("a string takes all that is written");
                last = (x, y);
            }
        }
        path
    }

    /// Draws a line with its label and, so that colour is not all that tells it from others, its dashes and markers.
    pub(super) fn line(&mut self, line: &Line<'_>) {
        let style = line.style % STYLES;
        let Some(&(last_x, last_y)) = line.points.last() else { return };
        let path = self.path(line.points.iter().copied());
        self.add(format_args!("<path class='line s{style}' d='{path}'/>"));
        if !line.label.is_empty() {
            for (x, y) in self.marked(line) {
                self.add(format_args!("<path class='mark s{style}' d='M{x:.1} {y:.1}{}'/>", marker(style)));
            }
            let (x, y, text) = (self.px(last_x), self.py(last_y), line.label.to_owned());
            self.labels.push(Label { x, y, style, text });
        }
    }

    /// Where the markers of a line are: at about a sixth of the width, elsewhere for each style.
    fn marked(&self, line: &Line<'_>) -> Vec<(f64, f64)> {
        let step = (self.right - LEFT) / 6.0;
        let mut next = LEFT + step * (0.4 + 0.15 * (line.style % STYLES) as f64);
        let mut marked = Vec::new();
        for (x, y) in line.points.iter().map(|(x, y)| (self.px(*x), self.py(*y))) {
            if x >= next {
                marked.push((x, y));
                next = x + step;
            }
        }
        marked
    }

    /// Fills what lies between two lines over the same places.
    pub(super) fn band(&mut self, style: usize, low: &[(f64, f64)], high: &[(f64, f64)]) {
        let path = self.path(low.iter().copied().chain(high.iter().rev().copied()));
        self.add(format_args!("<path class='band s{}' d='{path}Z'/>", style % STYLES));
    }

    /// Marks a point of a line and writes `text` beside it.
    pub(super) fn point(&mut self, style: usize, (x, y): (f64, f64), text: &str) {
        if self.x.holds(x) && self.y.holds(y) {
            let (x, y, style) = (self.px(x), self.py(y), style % STYLES);
            self.add(format_args!("<path class='mark s{style}' d='M{x:.1} {y:.1}{}'/>", marker(style)));
            let (anchor, dx, dy) =
                if x > self.right - 50.0 { ("end", -8.0, 2.0) } else { ("start", 8.0, 8.0) };
            let (x, y, text) = (x + dx, y + dy, escape(text));
            self.add(format_args!(
                "<text class='note' x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{text}</text>"
            ));
        }
    }

    /// Marks a value of the x axis with a line from top to bottom.
    pub(super) fn mark_x(&mut self, value: f64, label: &str) {
        if self.x.holds(value) {
            let (x, bottom) = (self.px(value), HEIGHT - BOTTOM);
            let (anchor, dx) = if x > self.right - 90.0 { ("end", -5.0) } else { ("start", 5.0) };
            let label = escape(label);
            self.add(format_args!("<path class='slo' d='M{x:.1} {TOP}V{bottom}'/>"));
            self.add(format_args!(
                "<text class='slo-label' x='{:.1}' y='{:.1}' text-anchor='{anchor}'>{label}</text>",
                x + dx,
                bottom - 6.0
            ));
        }
    }

    /// Marks a value of the y axis with a line from left to right.
    pub(super) fn mark_y(&mut self, value: f64, label: &str) {
        if self.y.holds(value) {
            let (x, y, text) = (self.right, self.py(value), label.to_owned());
            self.add(format_args!("<path class='slo' d='M{LEFT} {y:.1}H{x:.1}'/>"));
            self.labels.push(Label { x, y, style: STYLES, text });
        }
    }

    /// Shows `text` while the pointer is between `from` and `to` of the x axis.
    pub(super) fn tip(&mut self, from: f64, to: f64, text: &str) {
        let (from, to) = (self.px(from), self.px(to));
        let (width, height) = (to - from, HEIGHT - BOTTOM - TOP);
        write!(
            self.tips,
            "<rect class='hit' x='{from:.1}' y='{TOP}' width='{width:.1}' height='{height}'><title>{}</title></rect>",
            escape(text)
        )
        .expect("a string takes all that is written");
    }

    /// The x axis, for those who divide it.
    pub(super) const fn x(&self) -> &Axis {
        &self.x
    }

    /// The plot; `name` is what a screen reader says.
    pub(super) fn svg(mut self, name: &str) -> String {
        for Label { y, style, text, .. } in apart(std::mem::take(&mut self.labels)) {
            let (x, label) = (self.right + 16.0, escape(&text));
            if style < STYLES {
                self.add(format_args!(
                    "<path class='mark s{style}' d='M{:.1} {y:.1}{}'/>",
                    x - 8.0,
                    marker(style)
                ));
            }
            self.add(format_args!(
                "<text class='label s{style}' x='{x:.1}' y='{:.1}'>{label}</text>",
                y + 4.0
            ));
        }
        let (body, tips, name) = (self.body, self.tips, escape(name));
        format!("<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{name}'>{body}{tips}</svg>")
    }
}

/// Moves labels so far apart that each can be read, and keeps them on the plot.
///
/// Lines that end at the same height are listed from left to right.
fn apart(mut labels: Vec<Label>) -> Vec<Label> {
    labels.sort_by(|a, b| a.y.round().total_cmp(&b.y.round()).then(a.x.total_cmp(&b.x)));
    let mut lowest = f64::MIN;
    for label in &mut labels {
        label.y = label.y.max(lowest + LABEL_HEIGHT);
        lowest = label.y;
    }
    let mut highest = HEIGHT - BOTTOM + LABEL_HEIGHT;
    for label in labels.iter_mut().rev() {
        label.y = label.y.min(highest - LABEL_HEIGHT);
        highest = label.y;
    }
    labels
}

/// A short piece of a line with its marker, to stand beside a name.
pub(super) fn key(style: usize) -> String {
    let style = style % STYLES;
    format!(
        "<svg class='key' viewBox='0 0 34 12'><path class='line s{style}' d='M0 6H34'/>\
         <path class='mark s{style}' d='M17 6{}'/></svg>",
        marker(style)
    )
}

/// The outline of a marker around the point that a path has moved to.
const fn marker(style: usize) -> &'static str {
    match style {
        0 => "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
        1 => "m-2.8-2.8h5.6v5.6h-5.6z",
        2 => "m0-3.8l3.6 6.4h-7.2z",
        3 => "m0-4l4 4l-4 4l-4-4z",
        4 => "m0 3.8l3.6-6.4h-7.2z",
        _ => "m-3.4-1h2.4v-2.4h2v2.4h2.4v2h-2.4v2.4h-2v-2.4h-2.4z",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_at_the_same_height_move_apart_and_stay_on_the_plot() {
        let labels = (0..5)
            .map(|style| Label { x: 0.0, y: HEIGHT - BOTTOM - 1.0, style, text: String::new() })
            .collect();
        let moved = apart(labels);
        assert!(moved.windows(2).all(|pair| pair[1].y - pair[0].y >= LABEL_HEIGHT - 1e-9));
        assert!(moved.iter().all(|label| label.y <= HEIGHT - BOTTOM));
    }

    #[test]
    fn a_line_has_a_colour_dashes_markers_and_a_name() {
        let points: Vec<(f64, f64)> = (0..100).map(|x| (f64::from(x), f64::from(x % 7))).collect();
        let mut plot = Plot::new(Axis::linear(100.0), Axis::linear(7.0), ["a<b"]);
        plot.line(&Line { label: "a<b", style: 7, points: &points });
        let svg = plot.svg("a plot");
        assert!(svg.contains("class='line s1'") && svg.contains("class='mark s1'") && svg.contains("a&lt;b"));
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn points_that_cannot_be_told_apart_are_left_out() {
        let plot = Plot::new(Axis::linear(1.0), Axis::linear(1.0), []);
        let points = (0..100_000).map(|x| (f64::from(x) / 100_000.0, 0.5));
        assert!(plot.path(points).len() < 20_000);
    }
}
