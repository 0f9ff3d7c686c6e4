//! What people look at: data, model and residuals of every angle, averaged until they fit on a screen.
//!
//! One more pass over the finest level, after the fit. What comes in: packed tiles, held or read, a point and σ. What goes out, angle
//! by angle: block averages, averages over all ages at every lag, the squares of residuals by frame, a few rows c2(t1 = const, t2), the histogram of r/σ and its
//! autocorrelation along the lag and along the age. All of it is sums in whole numbers, so ranks and threads don't change a bit
//! of it. It takes some 12 ns a pair and thread; nothing is held but the averages.

mod blocks;
mod cells;
mod grid;
mod tile;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use blocks::{Block, Blocks};
pub use cells::{Cells, Mean, Sum};
pub use grid::Grid;
use tile::{Add, Look, Sheet};

use super::cpu::CpuEngine;
use super::{Loss, Point};
use crate::model::{Experiment, ShapeRows, TimeAxis};
use crate::nodes::plan::Level;

/// Bins of the histogram between −[`SPAN`] and [`SPAN`]; one more on either side takes what lies beyond.
pub const BINS: usize = 60;
/// Where the histogram ends, in σ.
pub const SPAN: f64 = 6.0;
/// Frames by which residuals are shifted against themselves.
pub const SHIFTS: [usize; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
/// Pairs that are enough for the autocorrelation, all angles: of more only every so-manieth tile is taken.
const PAIRS_FOR_SHIFTS: usize = 20_000_000;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Where the model is taken; residuals are c2 − offset − contrast·g with its contrast and offset.
    pub point: Point,
    /// σ of every angle; where pairs have their own, that is used.
    pub sigma: Vec<f64>,
    /// The loss that was minimised, where it wasn't least squares.
    pub loss: Option<Loss>,
    /// Cells a side of the block averages.
    pub side: usize,
    /// Frames t1 of the rows, as positions among the fitted frames (0 is frame 1 of the selection).
    pub rows: Vec<usize>,
}

/// Σz·z′ over pairs of residuals, and how many pairs of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Σz·z′, z = r/σ.
    pub sum: Sum,
    /// Products in it.
    pub count: u64,
}

impl Product {
    /// Σz·z′ over the number of products.
    pub fn mean(self) -> f64 {
        self.sum.value() / self.count as f64
    }

    fn merge(&mut self, other: Self) {
        self.sum.merge(other.sum);
        self.count += other.count;
    }
}

/// What there is to see of one angle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// Block averages, for maps.
    pub cells: Cells,
    /// What the smooth part of the residuals is judged by.
    pub blocks: Blocks,
    /// By lag, from 1 frame: sums of data and of residuals over all ages, and pairs.
    pub lags: Vec<(Sum, Sum, u64)>,
    /// c2(t1, t2) of the rows asked for, by position of t2; NaN where there is none.
    pub rows: Vec<Vec<f32>>,
    /// Pairs by r/σ: below −[`SPAN`], [`BINS`] bins, above.
    pub histogram: Vec<u64>,
    /// By fitted frame: the residuals of all pairs that it takes part in with themselves. Here and below a robust loss's pull stands for
    /// r/σ.
    pub frames: Vec<Product>,
    /// Of the residuals with themselves, in the tiles that the autocorrelation is taken from.
    pub square: Product,
    /// Along the lag: (t1, t2) with (t1, t2 + shift).
    pub along_lag: [Product; SHIFTS.len()],
    /// Along the age: (t1, t2) with (t1 + shift, t2 + shift).
    pub along_age: [Product; SHIFTS.len()],
}

impl Overview {
    /// Of nothing, over `n` fitted frames.
    pub fn new(n: usize, view: &View) -> Self {
        Self {
            cells: Cells::new(n, view.side),
            blocks: Blocks::new(n),
            lags: vec![(Sum::default(), Sum::default(), 0); n.saturating_sub(1)],
            rows: vec![vec![f32::NAN; n]; view.rows.len()],
            histogram: vec![0; BINS + 2],
            frames: vec![Product::default(); n],
            square: Product::default(),
            along_lag: Default::default(),
            along_age: Default::default(),
        }
    }

    /// Bytes of one, over `n` fitted frames.
    pub fn bytes(n: usize, view: &View) -> usize {
        let side = view.side.min(n).max(1);
        let of_cell = 2 * size_of::<Sum>() + size_of::<u32>();
        let of_frame = size_of::<(Sum, Sum, u64)>() + size_of::<Product>() + view.rows.len() * size_of::<f32>();
        size_of::<Self>() + side * (side + 1) / 2 * of_cell + n * of_frame + (BINS + 2) * size_of::<u64>()
    }

    /// Adds what another rank has seen of the same angle.
    pub fn merge(&mut self, other: &Self) {
        self.cells.merge(&other.cells);
        self.blocks.merge(&other.blocks);
        for (a, b) in self.lags.iter_mut().zip(&other.lags) {
            a.0.merge(b.0);
            a.1.merge(b.1);
            a.2 += b.2;
        }
        for (a, b) in self.rows.iter_mut().flatten().zip(other.rows.iter().flatten()) {
            *a = if b.is_nan() { *a } else { *b };
        }
        self.histogram.iter_mut().zip(&other.histogram).for_each(|(a, b)| *a += b);
        self.frames.iter_mut().zip(&other.frames).for_each(|(a, b)| a.merge(*b));
        self.square.merge(other.square);
        self.along_lag.iter_mut().zip(other.along_lag).for_each(|(a, b)| a.merge(b));
        self.along_age.iter_mut().zip(other.along_age).for_each(|(a, b)| a.merge(b));
    }

    /// Autocorrelation of the residuals at [`SHIFTS`] along the lag and along the age, about zero; NaN where too few frames
    /// make it.
    pub fn autocorrelation(&self) -> [[f64; SHIFTS.len()]; 2] {
        let square = self.square.mean();
        [self.along_lag, self.along_age].map(|shifts| shifts.map(|product| product.mean() / square))
    }
}

/// How the residuals of a fit are spread: between blocks, and from pair to pair.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Smoothness {
    /// Squares of the blocks' averages over what the noise from pair to pair explains of them.
    pub between: f64,
    /// Blocks that have a value.
    pub blocks: usize,
}

impl Overview {
    /// The variance of r/σ that is independent from pair to pair: half the mean square of the difference between neighbours along
    /// the lag, in which whatever is smooth cancels.
    fn independent(&self) -> f64 {
        let (square, neighbours) = (self.square.mean(), self.along_lag[0]);
        if neighbours.count > 0 { square - neighbours.mean() } else { square }
    }

    /// What the smooth part of this angle's residuals adds up to.
    pub fn smoothness(&self) -> Smoothness {
        let blocks = self.blocks.filled().count();
        let between = self.blocks.between() / self.independent();
        Smoothness { between: if blocks == 0 { 0.0 } else { between }, blocks }
    }
}

/// Every how-manieth strip the autocorrelation takes.
fn stride(level: &Level) -> usize {
    level.plan.n_pairs().div_ceil(PAIRS_FOR_SHIFTS).max(1)
}

/// The model of one angle and what residuals are measured by.
struct Angle<'a> {
    rows: ShapeRows<'a>,
    contrast: f64,
    offset: f64,
    sigma: f64,
    loss: Option<Loss>,
}

impl CpuEngine {
    /// What the tiles of the finest level whose pairs are at hand show of these angles.
    pub fn overview(&self, view: &View, angles: Range<usize>) -> Vec<(usize, Overview)> {
        let shard = &self.shards()[0];
        let plan = &shard.level.plan;
        let (n, per_angle) = (shard.level.frames.len(), plan.per_angle());
        let axis = TimeAxis::without_derivatives(&self.experiment, &view.point.physical);
        let models: Vec<Angle> = angles.clone().map(|angle| Angle::new(&self.experiment, &axis, view, angle)).collect();
        let seen: Vec<Mutex<Overview>> = angles.clone().map(|_| Mutex::new(Overview::new(n, view))).collect();
        let stride = stride(&shard.level);
        let look = |sheet: &mut Sheet, number: usize| {
            let (angle, tile) = (number / per_angle, number % per_angle);
            let Some(own) = shard.pairs(angle, number).filter(|own| own.n_finite > 0) else { return };
            let mut lane = 0;
            for (k, strip) in plan.tiles[tile].strips.iter().enumerate() {
                // every tile has its share, whatever the stride
                let shifts = (tile + k).is_multiple_of(stride);
                let (own, model) = ((&own, lane), &models[angle - angles.start]);
                self.set.run(Look { sheet, strip, own, angle: model, shifts });
                lane += strip.n_lanes;
                let mut seen = seen[angle - angles.start].lock().unwrap_or_else(PoisonError::into_inner);
                self.set.run(Add { sheet, seen: &mut seen, view });
            }
        };
        let at_hand = shard.store.range.clone();
        let run = at_hand.start.max(angles.start * per_angle)..at_hand.end.min(angles.end * per_angle);
        self.pool.install(|| run.into_par_iter().with_max_len(1).for_each_init(Sheet::new, look));
        let seen = seen.into_iter().map(|seen| seen.into_inner().unwrap_or_else(PoisonError::into_inner));
        angles.zip(seen).collect()
    }

    /// Angles that it has tiles of.
    pub fn angles(&self) -> Range<usize> {
        self.shards()[0].angles()
    }
}

impl<'a> Angle<'a> {
    fn new(experiment: &'a Experiment, axis: &'a TimeAxis, view: &View, angle: usize) -> Self {
        let (contrast, offset) = view.point.scaling[angle];
        Self {
            rows: ShapeRows::new(experiment, axis, angle),
            contrast,
            offset,
            sigma: view.sigma[angle],
            loss: view.loss,
        }
    }
}

#[cfg(test)]
mod tests;
