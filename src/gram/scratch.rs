//! Working memory of one thread, and the sums of a tile.

use super::lanes::V;
use super::plan::{LANES, TILE_COLUMNS, TILE_ROWS};

/// Most panels of a rectangle.
pub(super) const MAX_PANELS: usize = TILE_COLUMNS / LANES;
/// Panels worked through together: values of a row are loaded once for both.
pub(super) const GROUP: usize = 2;
/// Rows of an array that is written row by row: one more than are used, so that arrays read and written side by side don't
/// lie a multiple of 4096 bytes apart (the processor would take a load for the one just stored).
pub(super) const PADDED_ROWS: usize = TILE_ROWS + 1;
/// Which sums are kept by row: g, h, g·r, h·r, g², g·h, h².
pub(super) const ROW_SUMS: usize = 7;

pub(super) const ZERO: V = [0.0; LANES];

/// Per-row values of a rectangle, relative to its first column.
pub(super) struct Rows {
    /// exp(−k·(C(first column) − C_i)).
    pub v: [f64; TILE_ROWS],
    /// Phase.
    pub x: [f64; TILE_ROWS],
    pub sin: [f64; TILE_ROWS],
    pub cos: [f64; TILE_ROWS],
    /// Integrals of the diffusion derivatives.
    pub a: [[f64; TILE_ROWS]; 3],
    /// Integrals of the shear derivatives, C^γ last.
    pub b: [[f64; TILE_ROWS]; 4],
}

/// The same per column, panel by panel.
pub(super) struct Columns {
    /// exp(−k·(C_j − C(first column))).
    pub u: [V; MAX_PANELS],
    pub x: [V; MAX_PANELS],
    pub sin: [V; MAX_PANELS],
    pub cos: [V; MAX_PANELS],
    pub a: [[V; MAX_PANELS]; 3],
    pub b: [[V; MAX_PANELS]; 4],
}

/// Working memory of one thread, about 90 KB. Every array is a multiple of a cache line long, so aligning the whole keeps
/// eight lanes from straddling two lines.
#[repr(align(64))]
pub(crate) struct Scratch {
    pub(super) rows: Rows,
    pub(super) columns: Columns,
    pub(super) row_sums: [[V; PADDED_ROWS]; ROW_SUMS],
    pub(super) g: [[V; GROUP]; PADDED_ROWS],
    /// ∂g/∂x / m.
    pub(super) h: [[V; GROUP]; PADDED_ROWS],
}

impl Scratch {
    pub fn new() -> Box<Self> {
        let rows = Rows {
            v: [0.0; TILE_ROWS],
            x: [0.0; TILE_ROWS],
            sin: [0.0; TILE_ROWS],
            cos: [0.0; TILE_ROWS],
            a: [[0.0; TILE_ROWS]; 3],
            b: [[0.0; TILE_ROWS]; 4],
        };
        let columns = Columns {
            u: [ZERO; MAX_PANELS],
            x: [ZERO; MAX_PANELS],
            sin: [ZERO; MAX_PANELS],
            cos: [ZERO; MAX_PANELS],
            a: [[ZERO; MAX_PANELS]; 3],
            b: [[ZERO; MAX_PANELS]; 4],
        };
        Box::new(Self {
            rows,
            columns,
            row_sums: [[ZERO; PADDED_ROWS]; ROW_SUMS],
            g: [[ZERO; GROUP]; PADDED_ROWS],
            h: [[ZERO; GROUP]; PADDED_ROWS],
        })
    }
}

/// Sums of a rectangle before the angle's factors: D = differences of the diffusion integrals, S = of the shear integrals.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Sums {
    pub dd: [V; 6],
    pub ds: [V; 12],
    pub ss: [V; 10],
    pub dg: [V; 3],
    pub sg: [V; 4],
    pub d1: [V; 3],
    pub s1: [V; 4],
    pub dr: [V; 3],
    pub sr: [V; 4],
    pub gg: V,
    pub g1: V,
    pub gr: V,
    pub n: V,
    pub r1: V,
    pub rr: V,
}

/// Order in which symmetric products of three (four) columns are stored.
pub(super) const PAIRS_3: [(usize, usize); 6] = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)];
pub(super) const PAIRS_4: [(usize, usize); 10] =
    [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3)];
