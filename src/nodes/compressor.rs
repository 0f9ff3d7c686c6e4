//! The first look at the data: tiles come in any order, a matrix at a time, and become nodes.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::blocks::{Blocks, of_plan};
use super::compress::{TileNodes, compress};
use super::plan::TilePlan;
use super::rules::Rules;
use super::store::NodeStore;
use crate::arithmetic::{InstructionSet, Lane};

/// The tiles of a rank on their way to nodes.
pub struct Compressor {
    set: InstructionSet,
    plan: TilePlan,
    passing: bool,
    /// By tile of an angle.
    blocks: Vec<Arc<Blocks>>,
    rules: Rules,
    /// Global numbers.
    range: Range<usize>,
    /// By tile; nothing of one that hasn't come, or of which no pair has a value.
    tiles: Vec<Option<(TileNodes, u32)>>,
}

impl Compressor {
    /// For a run of tiles.
    ///
    /// `passing`: the pairs aren't kept, but for those of leaves that no nodes stand for.
    pub fn new(set: InstructionSet, plan: &TilePlan, range: Range<usize>, passing: bool) -> Self {
        let tiles = range.clone().map(|_| None).collect();
        Self { set, plan: plan.clone(), passing, blocks: of_plan(plan), rules: Rules::default(), range, tiles }
    }

    /// Compresses a run of tiles by all threads of the rayon pool in which it is called; `data` gives the lanes of a tile by its global
    /// number, and how many of its pairs have a value.
    pub fn take<'d>(&mut self, run: Range<usize>, data: impl Fn(usize) -> (&'d [Lane], u32) + Sync) {
        if run.is_empty() {
            return;
        }
        let Self { set, plan, passing, blocks, rules, range, tiles } = self;
        let first = run.start;
        let own = &mut tiles[first - range.start..run.end - range.start];
        own.par_iter_mut().enumerate().with_max_len(1).for_each(|(k, out)| {
            let (lanes, n_finite) = data(first + k);
            let tile = (first + k) % plan.per_angle();
            *out = (n_finite > 0).then(|| {
                let mut nodes = compress(*set, (&plan.tiles[tile], &blocks[tile]), lanes, n_finite as usize, rules);
                if *passing {
                    nodes.keep_broken(&blocks[tile], lanes);
                }
                (nodes, n_finite)
            });
        });
    }

    /// What a run of tiles has come to.
    pub fn tiles(&self, run: &Range<usize>) -> &[Option<(TileNodes, u32)>] {
        if run.is_empty() { &[] } else { &self.tiles[run.start - self.range.start..run.end - self.range.start] }
    }

    /// Takes a tile that was compressed before, by its global number; `false` where it can't be that.
    pub fn restore(&mut self, number: usize, tile: Option<(TileNodes, u32)>) -> bool {
        let of = number % self.plan.per_angle();
        let restored = tile.map(|(mut nodes, n_finite)| {
            let fits = nodes.restore(&self.rules, &self.plan.tiles[of], &self.blocks[of]);
            fits.then_some((nodes, n_finite))
        });
        let fits = restored.as_ref().is_none_or(Option::is_some);
        self.tiles[number - self.range.start] = restored.flatten();
        fits
    }

    /// All tiles have come.
    pub fn finish(self) -> NodeStore {
        NodeStore::new(&self.plan, &self.blocks, self.range.start, self.tiles)
    }
}
