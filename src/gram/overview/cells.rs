//! Block averages over an upper triangle: a matrix of any size as one that fits on a screen.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::grid::Grid;

/// Sums are whole numbers of 2⁻³², so that they are the same in whatever order they are made.
const UNIT: f64 = (1u64 << 32) as f64;

/// A sum whose terms may come in any order; beyond 2³¹ it stays at its limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum(i64);

impl Sum {
    /// Adds a term.
    pub fn add(&mut self, term: f64) {
        self.merge(Self((term * UNIT).round() as i64));
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }

    /// Its value.
    pub fn value(self) -> f64 {
        self.0 as f64 / UNIT
    }
}

/// Averages over one cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// Of the data.
    pub data: f64,
    /// Of data less model.
    pub residual: f64,
    /// Pairs in it that have a value.
    pub pairs: u32,
}

/// Sums over the cells I ≤ J of a grid over the fitted frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cells {
    /// How the fitted frames are divided.
    pub grid: Grid,
    data: Vec<Sum>,
    residual: Vec<Sum>,
    pairs: Vec<u32>,
}

impl Cells {
    /// Empty cells over `n` fitted frames; no more a side than there are frames.
    pub fn new(n: usize, side: usize) -> Self {
        let grid = Grid::new(n, side);
        let count = grid.count();
        Self { grid, data: vec![Sum::default(); count], residual: vec![Sum::default(); count], pairs: vec![0; count] }
    }

    /// Cells a side.
    pub fn side(&self) -> usize {
        self.grid.side()
    }

    /// The cell of a fitted frame, counted from 0.
    pub fn of(&self, position: usize) -> usize {
        self.grid.of(position)
    }

    /// First frame of a cell, as positions; that of cell `side` is the number of frames.
    pub fn edge(&self, cell: usize) -> usize {
        self.grid.edge(cell)
    }

    /// Adds to cell (i, j), i ≤ j.
    pub fn add(&mut self, (i, j): (usize, usize), data: f64, residual: f64, pairs: u32) {
        let at = self.grid.place(i, j);
        self.data[at].add(data);
        self.residual[at].add(residual);
        self.pairs[at] += pairs;
    }

    /// Adds a row of pairs of one frame with those of `columns`, all as positions; what isn't finite counts as missing.
    pub fn add_row(&mut self, row: usize, columns: Range<usize>, data: &[f32], model: impl Fn(usize) -> f64) {
        let i = self.of(row);
        for (j, part) in self.grid.runs(columns.clone()) {
            let (mut sum, mut residual, mut pairs) = (0.0, 0.0, 0);
            for position in part {
                let value = f64::from(data[position - columns.start]);
                if value.is_finite() {
                    sum += value;
                    residual += value - model(position - columns.start);
                    pairs += 1;
                }
            }
            self.add((i, j), sum, residual, pairs);
        }
    }

    /// Adds the sums of other cells over the same grid.
    pub fn merge(&mut self, other: &Self) {
        self.data.iter_mut().zip(&other.data).for_each(|(a, b)| a.merge(*b));
        self.residual.iter_mut().zip(&other.residual).for_each(|(a, b)| a.merge(*b));
        self.pairs.iter_mut().zip(&other.pairs).for_each(|(a, b)| *a += b);
    }

    /// Averages of cell (i, j) or (j, i), which is the same; `None` where it has no value.
    pub fn mean(&self, i: usize, j: usize) -> Option<Mean> {
        let at = self.grid.place(i.min(j), i.max(j));
        let pairs = self.pairs[at];
        let mean = |sum: Sum| sum.value() / f64::from(pairs);
        (pairs > 0).then(|| Mean { data: mean(self.data[at]), residual: mean(self.residual[at]), pairs })
    }

    /// Averages of all cells i ≤ j, row by row.
    pub fn means(&self) -> impl Iterator<Item = Option<Mean>> + '_ {
        self.grid.cells().map(|(i, j)| self.mean(i, j))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cells_are_averages_whatever_the_order(n in 2usize..60, side in 1usize..70, seed in 0u64..1000) {
            let value = |i: usize, j: usize| {
                let x = ((i * 131 + j * 17) as u64 ^ seed) % 97;
                if x == 5 { f32::NAN } else { 1.0 + x as f32 / 256.0 }
            };
            let model = |j: usize| 0.5 + j as f64 / 1024.0;
            let (mut forward, mut backward) = (Cells::new(n, side), Cells::new(n, side));
            for i in 0..n {
                let row: Vec<f32> = (i + 1..n).map(|j| value(i, j)).collect();
                forward.add_row(i, i + 1..n, &row, |k| model(i + 1 + k));
            }
            for i in (0..n).rev() {
                // in two parts, as tiles would
                let cut = i + 1 + (n - i - 1) / 2;
                for columns in [cut..n, i + 1..cut] {
                    let row: Vec<f32> = columns.clone().map(|j| value(i, j)).collect();
                    let mut part = Cells::new(n, side);
                    part.add_row(i, columns.clone(), &row, |k| model(columns.start + k));
                    backward.merge(&part);
                }
            }
            prop_assert_eq!(&forward, &backward);
            for i in 0..forward.side() {
                for j in i..forward.side() {
                    let (mut sum, mut residual, mut pairs) = (0.0, 0.0, 0);
                    for a in forward.edge(i)..forward.edge(i + 1) {
                        for b in (a + 1).max(forward.edge(j))..forward.edge(j + 1) {
                            prop_assert_eq!((forward.of(a), forward.of(b)), (i, j));
                            if value(a, b).is_finite() {
                                sum += f64::from(value(a, b));
                                residual += f64::from(value(a, b)) - model(b);
                                pairs += 1;
                            }
                        }
                    }
                    match forward.mean(j, i) {
                        None => prop_assert_eq!(pairs, 0),
                        Some(mean) => {
                            prop_assert_eq!(mean.pairs, pairs);
                            prop_assert!((mean.data - sum / f64::from(pairs)).abs() < 1e-8);
                            prop_assert!((mean.residual - residual / f64::from(pairs)).abs() < 1e-8);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_sum_beyond_its_limit_stays_there() {
        let mut sum = Sum::default();
        sum.add(1e30);
        sum.add(1e30);
        assert!(sum.value() > 2e9);
        sum.add(f64::NAN);
        assert!(sum.value() > 2e9);
    }
}
