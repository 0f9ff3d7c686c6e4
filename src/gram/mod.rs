//! The Gram matrix of each angle: the one thing that is computed from the data.
//!
//! For every fitted pair i < j of an angle let z = (∂g/∂θ_1 … ∂g/∂θ_7, g, 1, r), θ in valley coordinates (see
//! [`crate::model::Basis::Valley`]) and r = c2 − offset₀ − contrast₀·g. The Gram matrix is Σ z·zᵀ: χ², gradient,
//! normal matrix, optimal contrast and offset and the covariance all follow from it by small dense algebra.
//! Static modes leave the shear columns zero.
//!
//! What comes in: the packed tiles of one rank, from which nodes are formed once, and a point. What goes out: sums over fixed tree
//! nodes, whose total does not depend on how tiles were dealt. Cost: see docs/performance.md.

mod axis;
mod cpu;
pub mod gpu;
mod local;
mod loss;
pub mod overview;
mod pack;
mod pairs;
mod sides;
mod tables;
mod task;
#[cfg(test)]
mod tests;
mod tile;
pub mod tree;
mod work;

pub use cpu::{CpuEngine, Precision, Shard};
pub use local::Local;
pub use loss::Loss;
pub use pack::{TileStore, as_floats, as_floats_mut, pack_angle};

pub use crate::arithmetic::Lane;
use crate::model::{Experiment, MAX_PHYSICAL};
pub use crate::nodes::plan::{Level, TilePlan};

/// Columns of z.
pub const COLUMNS: usize = MAX_PHYSICAL + 3;
/// Column of phi0.
pub const PHI0: usize = MAX_PHYSICAL - 1;
/// Column of g.
pub const G: usize = MAX_PHYSICAL;
/// Column of the constant 1.
pub const ONE: usize = MAX_PHYSICAL + 1;
/// Column of the residual r.
pub const R: usize = MAX_PHYSICAL + 2;
/// Stored entries of the symmetric matrix.
const PRODUCTS: usize = COLUMNS * (COLUMNS + 1) / 2;
/// Where the entries among g, 1 and r begin: a χ²-only pass fills just these six.
const CHI2_START: usize = PRODUCTS - 6;
/// Where Σ(ρ'·r)² is, which robust passes alone fill.
const SPREAD: usize = PRODUCTS;
/// Numbers in all.
const ENTRIES: usize = PRODUCTS + 1;

/// Symmetric (n+3)×(n+3) sums of one angle or one tree node, upper triangle packed by rows. In a robust pass every product
/// has the weight ρ' + 2z·ρ'' of its pair, but those with r have ρ', and (r, r) is σ²·ρ (see [`Loss`]).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gram(pub [f64; ENTRIES]);

impl Default for Gram {
    fn default() -> Self {
        Self([0.0; ENTRIES])
    }
}

impl Gram {
    /// Position of entry (a, b) in the packed array.
    #[inline]
    pub const fn index(a: usize, b: usize) -> usize {
        let (a, b) = if a <= b { (a, b) } else { (b, a) };
        a * COLUMNS - a * (a + 1) / 2 + b
    }

    /// Entry (a, b).
    #[inline]
    pub fn at(&self, a: usize, b: usize) -> f64 {
        self.0[Self::index(a, b)]
    }

    /// Sets entry (a, b).
    #[inline]
    pub fn set(&mut self, a: usize, b: usize, value: f64) {
        self.0[Self::index(a, b)] = value;
    }

    /// Zero outside of a part of the packed array.
    fn keep(&mut self, part: &std::ops::Range<usize>) {
        self.0[..part.start].fill(0.0);
        self.0[part.end..].fill(0.0);
    }

    /// Adds another node's sums.
    pub fn add(&mut self, other: &Self) {
        for (x, y) in self.0.iter_mut().zip(&other.0) {
            *x += y;
        }
    }

    /// Σ(ρ'·r)² of a robust pass.
    pub fn spread(&self) -> f64 {
        self.0[SPREAD]
    }

    /// Number of pairs summed; in a robust pass their weight.
    pub fn n_pairs(&self) -> f64 {
        self.at(ONE, ONE)
    }
}

/// What a pass computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// All entries, from nodes where these stand for pairs.
    Gram,
    /// Only those among g, 1 and r: enough for χ² with optimal contrast and offset.
    Chi2,
    /// All entries, from every single pair.
    Exact,
    /// What draws need: as [`Pass::Gram`], without the products of two derivatives, from nodes that resolve the model less finely. On a
    /// GPU, and with σ of every pair, it is as that one.
    Slopes,
    /// All entries, weighted for a robust loss.
    Robust {
        /// Which.
        loss: Loss,
        /// σ is doubled so many times first: far from the minimum nearly every residual looks like an outlier.
        doublings: u8,
    },
}

impl Pass {
    /// The part of the packed array that the pass fills.
    pub fn filled(self) -> std::ops::Range<usize> {
        match self {
            Pass::Gram | Pass::Exact | Pass::Slopes => 0..PRODUCTS,
            Pass::Chi2 => CHI2_START..PRODUCTS,
            Pass::Robust { .. } => 0..ENTRIES,
        }
    }

    /// A number for it, to be sent to other ranks.
    pub fn code(self) -> u64 {
        match self {
            Pass::Gram => 0,
            Pass::Chi2 => 1,
            Pass::Exact => 2,
            Pass::Slopes => 3,
            Pass::Robust { loss, doublings } => 4 + loss as u64 + Loss::ALL.len() as u64 * u64::from(doublings),
        }
    }

    /// The one with that number.
    pub fn from_code(code: u64) -> Self {
        let n = Loss::ALL.len() as u64;
        match code {
            0 => Pass::Gram,
            1 => Pass::Chi2,
            2 => Pass::Exact,
            3 => Pass::Slopes,
            k => Pass::Robust { loss: Loss::ALL[((k - 4) % n) as usize], doublings: ((k - 4) / n) as u8 },
        }
    }
}

/// Where the pass is evaluated.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Point {
    /// Natural physical parameters, in the order of [`crate::model::PHYSICAL`].
    pub physical: Vec<f64>,
    /// (contrast₀, offset₀) of every angle, against which r is taken.
    pub scaling: Vec<(f64, f64)>,
}

/// Sums of a pass over what a rank holds, as far as it could form them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Partial {
    /// Of the maximal tree nodes of its tiles, point after point, in tree order (see [`tree::owned_nodes`]); zero where they are
    /// missing.
    pub sums: Vec<Gram>,
    /// Angles whose sums are missing: they need pairs that aren't at hand.
    pub waiting: Vec<usize>,
}

/// Something that turns a shard of tiles and a point into sums over tree nodes: CPU threads, a GPU.
pub trait Engine {
    /// Sums of the maximal tree nodes of this engine's tiles at `level`, point after point, in tree order
    /// (see [`tree::owned_nodes`]).
    ///
    /// # Errors
    /// What the device fails with, and pairs that are needed and aren't at hand.
    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> crate::Result<Vec<Gram>>;
}

/// Called between two matrices of a long look at the data, on rank 0; an error ends it, on all ranks.
pub type Watch<'w> = &'w mut dyn FnMut() -> crate::Result<()>;

/// θ → one Gram matrix per angle, over however many ranks: all that solver and sampler see of the data.
pub trait Objective {
    /// The measurement.
    fn experiment(&self) -> &Experiment;

    /// Resolutions on offer, the finest first.
    fn levels(&self) -> &[Level];

    /// For every point one Gram matrix per angle at `level`.
    ///
    /// # Errors
    /// What a rank or device failed with.
    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> crate::Result<Vec<Vec<Gram>>>;

    /// The same, watched where the data have to be read for it.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and what watching ends with.
    fn evaluate_watched(
        &mut self,
        level: usize,
        points: &[Point],
        pass: Pass,
        _watch: Watch<'_>,
    ) -> crate::Result<Vec<Vec<Gram>>> {
        self.evaluate(level, points, pass)
    }
}
