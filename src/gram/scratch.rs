//! Working memory of one thread, and the sums of a rectangle.

use super::lanes::V;
use super::nodes::Nodes;
use super::plan::{LANES, TILE_COLUMNS, TILE_ROWS};
use super::single::Single;

/// Most panels of a rectangle.
pub(super) const MAX_PANELS: usize = TILE_COLUMNS / LANES;
/// Most panels worked through together: values of a row are loaded once for all.
pub(super) const GROUP: usize = 2;
/// Most functions whose differences make the derivative columns.
pub(super) const FUNCTIONS: usize = 7;
/// Which sums are kept by row.
pub(super) const ROW_G: usize = 0;
pub(super) const ROW_H: usize = 1;
pub(super) const ROW_GR: usize = 2;
pub(super) const ROW_HR: usize = 3;
pub(super) const ROW_GG: usize = 4;
pub(super) const ROW_GH: usize = 5;
pub(super) const ROW_HH: usize = 6;
pub(super) const ROW_SUMS: usize = 7;
/// Where g and h of a group of panels lie behind the sums of a row.
pub(super) const AT_G: usize = ROW_SUMS;
pub(super) const AT_H: usize = AT_G + GROUP;
/// Lanes of a row: odd, so that rows don't lie a multiple of 4096 bytes apart (the processor would take a load for the
/// one just stored).
pub(super) const ROW_LANES: usize = AT_H + GROUP;

pub(super) const ZERO: V = [0.0; LANES];

/// Per-row values of a rectangle, relative to its first column.
pub(super) struct Rows {
    /// Row factor of the shape's root.
    pub v: [f64; TILE_ROWS],
    /// Strain.
    pub strain: [f64; TILE_ROWS],
    /// Functions whose differences make the derivatives.
    pub f: [[f64; TILE_ROWS]; FUNCTIONS],
    /// For one angle: v·sin and v·cos of the phase, and both over p.
    pub sin: [f64; TILE_ROWS],
    pub cos: [f64; TILE_ROWS],
    pub sin_p: [f64; TILE_ROWS],
    pub cos_p: [f64; TILE_ROWS],
}

/// The same for the eight columns of a panel, side by side: the first-level cache keeps few lines a multiple of 4096 bytes
/// apart.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct PanelColumns {
    pub u: V,
    pub strain: V,
    /// For one angle: u·sin and u·cos of the phase.
    pub sin: V,
    pub cos: V,
    /// For one angle: sums of g·r and h·r by column.
    pub gr: V,
    pub hr: V,
    pub f: [V; FUNCTIONS],
}

/// Eight numbers on a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub V);

/// Working memory of one thread, about 290 KB, of which the rows (33 KB) stay in the first-level cache. Every array is a
/// multiple of a cache line long, so aligning the whole keeps eight lanes from straddling two lines.
#[repr(align(64))]
pub(crate) struct Scratch {
    pub(super) rows: Rows,
    pub(super) columns: [PanelColumns; MAX_PANELS],
    /// Row by row: its sums, then g and h of the group of panels in work.
    pub(super) work: [[V; ROW_LANES]; TILE_ROWS],
    /// 1/(strain_j − strain_i), stored like the data of the rectangle: the same for all angles.
    pub(super) inverse: Box<[Line]>,
    pub(super) nodes: Nodes,
    pub(super) single: Single,
    /// By angle.
    pub(super) sums: Vec<Sums>,
}

impl Scratch {
    pub fn new() -> Box<Self> {
        let rows = Rows {
            v: [0.0; TILE_ROWS],
            strain: [0.0; TILE_ROWS],
            f: [[0.0; TILE_ROWS]; FUNCTIONS],
            sin: [0.0; TILE_ROWS],
            cos: [0.0; TILE_ROWS],
            sin_p: [0.0; TILE_ROWS],
            cos_p: [0.0; TILE_ROWS],
        };
        let columns =
            PanelColumns { u: ZERO, strain: ZERO, sin: ZERO, cos: ZERO, gr: ZERO, hr: ZERO, f: [ZERO; FUNCTIONS] };
        let inverse = vec![Line(ZERO); TILE_ROWS * MAX_PANELS].into_boxed_slice();
        Box::new(Self {
            rows,
            columns: [columns; MAX_PANELS],
            work: [[ZERO; ROW_LANES]; TILE_ROWS],
            inverse,
            nodes: Nodes::new(),
            single: Single::new(),
            sums: Vec::new(),
        })
    }
}

/// Sums of an angle's rectangles in a tile, before the angle's factors. First-order sums Σ w·(f_j − f_i) by w, second-order
/// sums Σ w·(f_j − f_i)(k_j − k_i) by w; functions of diffusion go with g, those of shear with h.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Sums(pub [V; N_SUMS]);

/// Where each kind of sum begins: second-order ones by pair of functions,
pub(super) const GG2: usize = 0;
pub(super) const GH2: usize = 6;
pub(super) const HH2: usize = 18;
/// first-order ones by function,
pub(super) const GG1: usize = 28;
pub(super) const GH1: usize = 31;
pub(super) const G1: usize = 35;
pub(super) const H1: usize = 38;
pub(super) const GR1: usize = 42;
pub(super) const HR1: usize = 45;
/// and the plain ones.
pub(super) const GG: usize = 49;
pub(super) const G: usize = 50;
pub(super) const GR: usize = 51;
pub(super) const R: usize = 52;
pub(super) const RR: usize = 53;
/// In robust passes the pairs' weights and Σ(ρ'·r)².
pub(super) const W: usize = 54;
pub(super) const SPREAD: usize = 55;
/// Room for all, in whole eights.
pub(super) const N_SUMS: usize = 56;

impl Sums {
    pub const NONE: Self = Self([ZERO; N_SUMS]);
}
