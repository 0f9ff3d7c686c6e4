//! Tables of text for the terminal.

use std::io::Write;

/// Columns as wide as their widest cell; numbers to the right, text columns to the left.
pub struct Table {
    rows: Vec<Vec<String>>,
    left: &'static [usize],
}

impl Table {
    /// An empty table under a header; `left` are the columns that hold text.
    pub fn new(header: &[&str], left: &'static [usize]) -> Self {
        Self { rows: vec![header.iter().map(|&h| h.to_owned()).collect()], left }
    }

    /// Adds a row of as many cells as the header has.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Prints it, indented by two.
    ///
    /// # Errors
    /// Those of writing.
    pub fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let width = |c: usize| self.rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (c, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[c] - cell.chars().count());
                let cell = if self.left.contains(&c) { format!("{cell}{padding}") } else { format!("{padding}{cell}") };
                line.push_str("  ");
                line.push_str(&cell);
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
