//! The spans that stand for frames somewhere in a rank's tiles, each once: what is formed of them at a point serves all tiles and angles.

use std::collections::HashMap;
use std::sync::Arc;

use super::blocks::{Blocks, LEAF_LEVEL, Span};
use super::compress::TileNodes;
use super::rules::SpanRule;

/// A span of frames with its rule.
#[derive(Debug)]
pub struct Slot {
    /// Position of its first frame.
    pub first: usize,
    /// Its rule.
    pub rule: Arc<SpanRule>,
    /// Its halves where frames live; none where it is formed of frames.
    pub halves: [Option<usize>; 2],
}

/// Where no frame lives.
pub const NOWHERE: u32 = u32::MAX;

/// Numbers of the slots of a tile's spans, by side and by the number of the span.
pub type TileSlots = [Vec<u32>; 2];

/// All slots; halves come before what is made of them.
#[derive(Debug, Default)]
pub struct Slots {
    pub all: Vec<Slot>,
    known: HashMap<(usize, usize, usize), u32>,
}

impl Slots {
    /// Takes up the spans of a tile whose rows and columns begin at these positions.
    pub fn of_tile(&mut self, first: [usize; 2], blocks: &Blocks, nodes: &TileNodes) -> TileSlots {
        let mut out = [vec![NOWHERE; Span::COUNT], vec![NOWHERE; Span::COUNT]];
        for block in &blocks.blocks {
            for (side, span) in [block.rows, block.columns].into_iter().enumerate() {
                if out[side][span.number()] == NOWHERE {
                    out[side][span.number()] = self.slot(first[side], span, &nodes.rules[side]);
                }
            }
        }
        out
    }

    fn slot(&mut self, start: usize, span: Span, rules: &[Option<Arc<SpanRule>>]) -> u32 {
        let Some(rule) = &rules[span.number()] else { return NOWHERE };
        let mut halves = [None; 2];
        if span.level > LEAF_LEVEL {
            halves = span.halves().map(|half| match self.slot(start, half, rules) {
                NOWHERE => None,
                slot => Some(slot as usize),
            });
        }
        let first = start + span.frames().start;
        let next = self.all.len() as u32;
        let key = (first, span.level, Arc::as_ptr(rule) as usize);
        let slot = *self.known.entry(key).or_insert(next);
        if slot == next {
            self.all.push(Slot { first, rule: Arc::clone(rule), halves });
        }
        slot
    }
}
