//! Tables of a terminal.

use std::fmt::{self, Write};

/// A table whose first columns are aligned to the left and whose others are to the right.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    left: usize,
}

impl Table {
    /// A table without rows, whose columns are called `head`.
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()], left: 1 }
    }

    /// The same with `more` columns after the first that are aligned to the left.
    pub(super) fn left(self, more: usize) -> Self {
        Self { left: 1 + more, ..self }
    }

    /// Adds a row with a cell for each column.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether there is more than the head.
    pub(super) fn has_rows(&self) -> bool {
        self.rows.len() > 1
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column < self.left {
                    write!(line, "{cell:<width$}  ")?
                } else {
                    write!(line, "{cell:>width$}  ")?
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["", "policy", "µs"]).left(1);
        table.row(["TTFT", "p2c", "1,000"].map(str::to_owned).to_vec());
        assert_eq!(table.to_string(), "      policy     µs\nTTFT  p2c     1,000\n");
    }
}
