//! How the load was spread over the backends.

use std::fmt::Write;

use super::super::plot::{Axis, WIDTH, clock};
use super::super::units::{clip, count, digits};
use super::super::{BackendLoad, Slice};
use super::{Run, escape, section, titled};

/// Up to so many backends have a strip each, whose height is the load; more are a heat map.
const STRIPS: usize = 12;

/// Rows of a heat map at most.
const ROWS: usize = 96;

/// How wide the drawing is: that of two plots side by side.
const ACROSS: f64 = WIDTH * 2.0;
const RIGHT: f64 = 56.0;

/// Letters of a name that are shown.
const NAME: usize = 24;

/// The load of each backend over time, run by run at one scale.
pub(super) fn of(runs: &[Run<'_>]) -> String {
    let told: Vec<(&Run<'_>, Vec<BackendLoad>)> =
        runs.iter().map(|run| (run, rows(&run.report.load))).filter(|(_, rows)| rows.len() > 1).collect();
    let most = told.iter().map(|(run, rows)| most(rows, run.slices())).fold(1e-9, f64::max);
    let one = |(run, rows): &(&Run<'_>, Vec<BackendLoad>)| {
        let (hint, svg) = if rows.len() <= STRIPS {
            let hint = format!(
                "Requests sent to each backend, all at one scale: a full strip is {}/s.",
                digits(most)
            );
            (hint, Grid::strips(rows, run.slices(), most))
        } else {
            (format!("Requests sent to each backend: {}", scale(most)), Grid::heat(rows, run.slices(), most))
        };
        section(
            &titled("Load of the backends", run, runs.len() > 1),
            &hint,
            &format!("<figure>{svg}</figure>"),
        )
    };
    told.iter().map(one).collect()
}

/// The rows that are drawn: neighbours share one where there are too many backends to tell apart.
fn rows(load: &[BackendLoad]) -> Vec<BackendLoad> {
    let row = |those: &[BackendLoad]| {
        let slices = those.iter().map(|backend| backend.requests.len()).max().unwrap_or(0);
        let in_slice = |slice| those.iter().filter_map(|backend| backend.requests.get(slice)).sum();
        let name = match those {
            [first, .., last] => format!("{} … {}", first.name, last.name),
            _ => those[0].name.clone(),
        };
        BackendLoad { name, requests: (0..slices).map(in_slice).collect() }
    };
    load.chunks(load.len().div_ceil(ROWS).max(1)).map(row).collect()
}

/// The highest load of any row in any slice, in requests a second.
fn most(rows: &[BackendLoad], slices: &[Slice]) -> f64 {
    let all = rows.iter().flat_map(|row| row.requests.iter().zip(slices));
    all.map(|(count, slice)| *count as f64 / slice.seconds).fold(0.0, f64::max)
}

fn scale(most: f64) -> String {
    let steps: String = (0..=5)
        .map(|step| format!("<i style=\"opacity:{:.2}\"></i>", opacity(f64::from(step) / 5.0)))
        .collect();
    format!("none <span class=\"scale\">{steps}</span> {}/s.", digits(most))
}

/// How strong a share of the highest load is drawn; the root tells apart what is low.
fn opacity(share: f64) -> f64 {
    share.sqrt()
}

/// Rows of backends over columns of slices.
struct Grid<'a> {
    load: &'a [BackendLoad],
    slices: &'a [Slice],
    most: f64,
    row: f64,
    left: f64,
    svg: String,
}

impl<'a> Grid<'a> {
    fn new(load: &'a [BackendLoad], slices: &'a [Slice], most: f64, row: f64) -> Self {
        let longest = load.iter().map(|backend| backend.name.chars().count().min(NAME)).max().unwrap_or(0);
        Self { load, slices, most, row, left: 14.0 + 6.4 * longest as f64, svg: String::new() }
    }

    fn strips(load: &[BackendLoad], slices: &[Slice], most: f64) -> String {
        let mut grid = Grid::new(load, slices, most, 34.0);
        for (number, backend) in load.iter().enumerate() {
            grid.strip(number, backend);
            grid.name(number, backend);
        }
        grid.finish()
    }

    fn heat(load: &[BackendLoad], slices: &[Slice], most: f64) -> String {
        let mut grid = Grid::new(load, slices, most, (560.0 / load.len() as f64).clamp(2.0, 16.0));
        for (number, backend) in load.iter().enumerate() {
            grid.cells(number, backend);
            if grid.row >= 10.0 || number.is_multiple_of((12.0 / grid.row).ceil() as usize) {
                grid.name(number, backend);
            }
        }
        grid.finish()
    }

    fn add(&mut self, what: std::fmt::Arguments<'_>) {
        self.svg.write_fmt(what).expect("a string takes all that is written");
    }

    fn column(&self, slice: usize) -> f64 {
        self.left + (ACROSS - self.left - RIGHT) * slice as f64 / self.slices.len() as f64
    }

    fn share(&self, backend: &BackendLoad, slice: usize) -> f64 {
        let requests = backend.requests.get(slice).copied().unwrap_or(0);
        requests as f64 / self.slices[slice].seconds / self.most
    }

    fn strip(&mut self, number: usize, backend: &BackendLoad) {
        let (floor, left) = (self.row * (number + 1) as f64 - 4.0, self.left);
        let mut path = format!("M{left:.1} {floor:.1}");
        for slice in 0..self.slices.len() {
            let height = self.share(backend, slice) * (self.row - 8.0);
            write!(path, "V{:.1}H{:.1}", floor - height, self.column(slice + 1)).expect("a string takes all");
        }
        self.add(format_args!("<path class='strip' d='{path}V{floor:.1}Z'/>"));
        self.add(format_args!("<path class='base' d='M{left:.1} {floor:.1}H{:.1}'/>", ACROSS - RIGHT));
        self.tips(number, backend);
    }

    fn tips(&mut self, number: usize, backend: &BackendLoad) {
        let (y, height) = (self.row * number as f64, self.row);
        for slice in 0..self.slices.len() {
            let (x, width) = (self.column(slice), self.column(slice + 1) - self.column(slice));
            let tip = self.tip(backend, slice);
            self.add(format_args!("<rect class='hit' x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{height:.1}'><title>{tip}</title></rect>"));
        }
    }

    fn cells(&mut self, number: usize, backend: &BackendLoad) {
        let gap = if self.row > 5.0 { 1.0 } else { 0.0 };
        let (y, height) = (self.row * number as f64, self.row - gap);
        for slice in 0..self.slices.len() {
            let (x, width) = (self.column(slice), self.column(slice + 1) - self.column(slice) - gap);
            let (share, tip) = (opacity(self.share(backend, slice)), self.tip(backend, slice));
            self.add(format_args!(
                "<rect class='cell' x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{height:.1}' fill-opacity='{share:.2}'><title>{tip}</title></rect>"
            ));
        }
    }

    fn tip(&self, backend: &BackendLoad, slice: usize) -> String {
        let begin = clock((self.slices[slice].begin_seconds * 10.0).round() / 10.0);
        format!(
            "{}\nfrom {begin}\n{}/s",
            escape(&backend.name),
            digits(self.share(backend, slice) * self.most)
        )
    }

    fn name(&mut self, number: usize, backend: &BackendLoad) {
        let y = self.row * (number as f64 + 0.5) + 4.0;
        let (name, all) = (escape(&clip(&backend.name, NAME)), count(backend.requests.iter().sum()));
        self.add(format_args!(
            "<text class='row' x='{:.1}' y='{y:.1}' text-anchor='end'>{name}</text>",
            self.left - 8.0
        ));
        self.add(format_args!("<text class='tick' x='{:.1}' y='{y:.1}'>{all}</text>", ACROSS - RIGHT + 8.0));
    }

    fn finish(mut self) -> String {
        let bottom = self.row * self.load.len() as f64;
        let end = self.slices.last().map_or(0.0, |slice| slice.begin_seconds + slice.seconds);
        for (time, text) in Axis::clock(end).ticks() {
            let x = self.left + (ACROSS - self.left - RIGHT) * time / end;
            self.add(format_args!(
                "<text class='tick' x='{x:.1}' y='{:.1}' text-anchor='middle'>{text}</text>",
                bottom + 18.0
            ));
        }
        let height = bottom + 24.0;
        format!(
            "<svg viewBox='0 0 {ACROSS} {height:.1}' role='img' aria-label='requests sent to each backend over time'>{}</svg>",
            self.svg
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_row_where_there_are_too_many() {
        let backend = |number| BackendLoad { name: format!("gpu-{number}"), requests: vec![1, number] };
        let load: Vec<BackendLoad> = (0..500).map(backend).collect();
        let rows = rows(&load);
        assert!(rows.len() <= ROWS);
        assert_eq!((rows[0].name.as_str(), &rows[0].requests), ("gpu-0 … gpu-5", &vec![6, 15]));
        let sum = |rows: &[BackendLoad]| rows.iter().flat_map(|row| &row.requests).sum::<u64>();
        assert_eq!(sum(&rows), sum(&load));
    }
}
