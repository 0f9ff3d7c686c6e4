//! What stands for the pairs of a run of tiles.

use std::ops::Range;
use std::sync::Arc;

use super::blocks::Blocks;
use super::compress::{Stored, TileNodes};
use super::leaves::NEAR_LANES;
use super::plan::TilePlan;
use super::spans::{Slots, TileSlots};
use crate::arithmetic::Lane;

/// A tile by its nodes.
#[derive(Debug)]
pub struct NodeTile {
    pub nodes: TileNodes,
    pub slots: TileSlots,
    /// Pairs that have a value.
    pub n_finite: u32,
}

/// The nodes of a run of tiles.
#[derive(Debug)]
pub struct NodeStore {
    /// Global number of the first tile.
    first: usize,
    /// Spans of all of them.
    pub slots: Slots,
    /// By tile; nothing where no pair has a value.
    tiles: Vec<Option<NodeTile>>,
}

impl NodeStore {
    /// Of tiles from the `first` on; `blocks` by tile of an angle.
    pub fn new(plan: &TilePlan, blocks: &[Arc<Blocks>], first: usize, tiles: Vec<Option<(TileNodes, u32)>>) -> Self {
        let mut slots = Slots::default();
        let mut one = |(number, nodes): (usize, Option<(TileNodes, u32)>)| {
            let (mut nodes, n_finite) = nodes?;
            let number = (first + number) % plan.per_angle();
            let tile = &plan.tiles[number];
            let own = slots.of_tile([tile.rows.start, tile.columns.start], &blocks[number], &nodes);
            // the slots have what is needed of them
            nodes.rules = Default::default();
            Some(NodeTile { nodes, slots: own, n_finite })
        };
        let tiles = tiles.into_iter().enumerate().map(&mut one).collect();
        Self { first, slots, tiles }
    }

    /// Bytes that those of a run of tiles take, before they are formed.
    pub fn expected(plan: &TilePlan, blocks: &[Arc<Blocks>], range: &Range<usize>) -> usize {
        let of = |blocks: &Blocks| {
            let near = blocks.triangles.len() * NEAR_LANES * size_of::<Lane>();
            blocks.n_values * size_of::<f64>() + blocks.blocks.len() * size_of::<Stored>() + near
        };
        range.clone().map(|number| of(&blocks[number % plan.per_angle()])).sum()
    }

    /// A tile by global number.
    pub fn tile(&self, number: usize) -> Option<&NodeTile> {
        self.tiles[number - self.first].as_ref()
    }

    /// The same, to be changed.
    pub fn tile_mut(&mut self, number: usize) -> Option<&mut NodeTile> {
        self.tiles[number - self.first].as_mut()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.tiles.iter().flatten().map(|tile| tile.nodes.bytes() + 2 * size_of_val(&tile.slots[0][..])).sum()
    }
}
