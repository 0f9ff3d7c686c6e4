//! The smooth part of the residuals: added up over blocks of frames, what is independent from pair to pair averages out, and
//! what the model misses stays.

use serde::{Deserialize, Serialize};

use super::cells::Sum;
use super::grid::Grid;

/// Blocks a side: 136 blocks an angle. Fewer see broad misfits a little better, more see finer ones.
const SIDE: usize = 16;
/// Fewest frames a side of a block: with fewer there would be next to nothing to average over.
const FEWEST_FRAMES: usize = 3;

/// Sums over one block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Σψ, ψ = r/σ, or what a robust loss makes of it.
    pub sum: Sum,
    /// Pairs that have a value.
    pub pairs: u32,
}

/// Sums over the blocks of an angle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    /// How the fitted frames are divided.
    pub grid: Grid,
    blocks: Vec<Block>,
}

impl Blocks {
    /// Empty blocks over `n` fitted frames.
    pub fn new(n: usize) -> Self {
        let grid = Grid::new(n, SIDE.min(n / FEWEST_FRAMES));
        Self { grid, blocks: vec![Block::default(); grid.count()] }
    }

    /// Adds to block (i, j), i ≤ j.
    pub fn add(&mut self, (i, j): (usize, usize), sum: f64, pairs: u32) {
        let block = &mut self.blocks[self.grid.place(i, j)];
        block.sum.add(sum);
        block.pairs += pairs;
    }

    /// Adds the sums of other blocks over the same grid.
    pub fn merge(&mut self, other: &Self) {
        for (a, b) in self.blocks.iter_mut().zip(&other.blocks) {
            a.sum.merge(b.sum);
            a.pairs += b.pairs;
        }
    }

    /// Blocks that have a pair with a value.
    pub fn filled(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| block.pairs > 0)
    }

    /// Blocks (i, j) in which no pair has a value.
    pub fn empty(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.grid.cells().zip(&self.blocks).filter(|(_, block)| block.pairs == 0).map(|(cell, _)| cell)
    }

    /// Σ over the blocks of (Σψ)²/pairs: each counts the variance of ψ once where all pairs are independent.
    pub fn between(&self) -> f64 {
        self.filled().map(|block| block.sum.value().powi(2) / f64::from(block.pairs)).sum()
    }
}
