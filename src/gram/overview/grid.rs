//! A square grid over the fitted frames, of which the cells I ≤ J hold pairs.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A grid of `side` × `side` cells over `n` fitted frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    side: usize,
    /// Fitted frames.
    n: usize,
}

impl Grid {
    /// Over `n` fitted frames; no more cells a side than there are frames.
    pub fn new(n: usize, side: usize) -> Self {
        Self { side: side.min(n).max(1), n }
    }

    /// Cells a side.
    pub fn side(self) -> usize {
        self.side
    }

    /// Cells I ≤ J.
    pub fn count(self) -> usize {
        self.side * (self.side + 1) / 2
    }

    /// The cell of a fitted frame, counted from 0.
    pub fn of(self, position: usize) -> usize {
        position * self.side / self.n
    }

    /// First frame of a cell, as positions; that of cell `side` is the number of frames.
    pub fn edge(self, cell: usize) -> usize {
        (cell * self.n).div_ceil(self.side)
    }

    /// Positions cut at the edges of cells: which cell, and those of them within it.
    pub fn runs(self, positions: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let mut at = positions.start;
        std::iter::from_fn(move || {
            let (from, cell) = (at, self.of(at));
            at = self.edge(cell + 1).min(positions.end);
            (from < positions.end).then_some((cell, from..at))
        })
    }

    /// Number of cell (i, j), i ≤ j: row by row.
    pub fn place(self, i: usize, j: usize) -> usize {
        i * self.side - i * i.saturating_sub(1) / 2 + j - i
    }

    /// All cells i ≤ j, row by row.
    pub fn cells(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.side).flat_map(move |i| (i..self.side).map(move |j| (i, j)))
    }
}
