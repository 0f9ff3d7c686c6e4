//! What kernels are told: structures laid out as those of the same names in `kernels/gram.cu`.

use bytemuck::{Pod, Zeroable};

use super::super::ENTRIES;
use crate::nodes::plan::{LEAF, STRIP_COLUMNS, Strip};

/// Threads of a block that works on tiles, and of one that completes trees.
pub const THREADS: u32 = 128;
pub const TREE_THREADS: u32 = 64;
/// Integrals of a frame, each as hi and lo.
pub const INTEGRALS: usize = 8;
/// Bytes that the threads of a block of tiles share: tables of all its frames in so many bytes a number, and the sums of its
/// warps.
pub const fn shared(number: usize) -> u32 {
    (number * (INTEGRALS + 3) * (STRIP_COLUMNS + LEAF) + 8 * 64 * THREADS as usize / 32) as u32
}
/// Bytes of the sums of a tile or node.
pub const SUMS: usize = 8 * ENTRIES;

/// One strip of a tile of one angle.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Tile {
    pub lane: u64,
    pub angle: u32,
    pub slot: u32,
    pub first_row: u32,
    pub rows: u32,
    pub first_column: u32,
    pub columns: u32,
    pub lanes: u32,
    pub diagonal: u32,
}

impl Tile {
    /// Of a strip as it is planned.
    pub fn new(strip: &Strip, lane: usize, angle: usize, slot: usize) -> Self {
        let (rows, columns) = (strip.rows(), strip.columns());
        debug_assert!(rows.len() <= LEAF && columns.len() <= STRIP_COLUMNS);
        Self {
            lane: lane as u64,
            angle: angle as u32,
            slot: slot as u32,
            first_row: rows.start as u32,
            rows: rows.len() as u32,
            first_column: columns.start as u32,
            columns: columns.len() as u32,
            lanes: strip.n_lanes as u32,
            diagonal: u32::from(strip.is_diagonal()),
        }
    }
}

/// What one angle is at one point.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Angle {
    pub p: f64,
    pub dp: f64,
    pub contrast: f64,
    pub offset: f64,
    pub sigma: f64,
    pub unit: f64,
}

/// A pass over tiles.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Pass {
    pub data: u64,
    pub sigma: u64,
    pub tiles: u64,
    pub axis: u64,
    pub angles: u64,
    pub sums: u64,
    pub values: u64,
    pub k: f64,
    pub n_tiles: u32,
    pub n_points: u32,
    pub n_frames: u32,
    pub n_angles: u32,
    pub n_slots: u32,
    pub loss: u32,
}

/// A tree node: sums of so many neighbours from the first on.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Node {
    pub first: u32,
    pub count: u32,
    pub into: u32,
}

/// Completing trees.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Trees {
    pub from: u64,
    pub into: u64,
    pub nodes: u64,
    pub n_nodes: u32,
    pub n_points: u32,
    pub n_from: u32,
    pub n_into: u32,
}
