//! The fixed binary tree over the tiles of an angle: why the result is the same on 1 rank or 1,000.
//!
//! Node (height h, index k) covers tiles k·2^h .. min((k+1)·2^h, T). Its sum is left child + right child, in that order
//! (or the left child alone where the right one is empty), whoever computes it. A rank sums the maximal nodes that lie
//! wholly in its run of tiles; rank 0 completes the tree.

use std::borrow::Borrow;
use std::iter::Peekable;
use std::ops::Range;

use super::Gram;

/// A node of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Height above the leaves.
    pub height: u32,
    /// Position among the nodes of that height.
    pub index: usize,
}

impl Node {
    /// The node over all `n` tiles.
    pub fn root(n: usize) -> Self {
        Self { height: n.next_power_of_two().trailing_zeros(), index: 0 }
    }

    /// Tiles it covers.
    pub fn tiles(self, n: usize) -> Range<usize> {
        let start = (self.index << self.height).min(n);
        start..((self.index + 1) << self.height).min(n)
    }

    /// The first of them.
    fn first(self) -> usize {
        self.index << self.height
    }

    fn children(self) -> [Self; 2] {
        [0, 1].map(|side| Self { height: self.height - 1, index: 2 * self.index + side })
    }
}

/// Maximal nodes of at most `max_height` that lie wholly in `range`, in tree order.
pub fn owned_nodes(n: usize, range: &Range<usize>, max_height: u32) -> Vec<Node> {
    fn descend(node: Node, n: usize, range: &Range<usize>, max_height: u32, found: &mut Vec<Node>) {
        let tiles = node.tiles(n);
        if tiles.is_empty() || tiles.start >= range.end || tiles.end <= range.start {
            return;
        }
        if node.height <= max_height && range.start <= tiles.start && tiles.end <= range.end {
            found.push(node);
        } else {
            for child in node.children() {
                descend(child, n, range, max_height, found);
            }
        }
    }
    let mut found = Vec::new();
    if n > 0 {
        descend(Node::root(n), n, range, max_height, &mut found);
    }
    found
}

/// Sum of `node` from the sums of nodes below it, which must cover it and come in tree order; takes them off `parts`.
///
/// # Panics
/// When `parts` doesn't cover the node: a fault of the caller's dealing.
pub fn complete<B: Borrow<Gram>>(node: Node, n: usize, parts: &mut impl Iterator<Item = (Node, B)>) -> Gram {
    fn sum<B: Borrow<Gram>>(node: Node, n: usize, parts: &mut Peekable<&mut dyn Iterator<Item = (Node, B)>>) -> Gram {
        if let Some((_, gram)) = parts.next_if(|(part, _)| *part == node) {
            return *gram.borrow();
        }
        assert!(node.height > 0, "tile {} of {n} was not summed", node.index);
        let [left, right] = node.children();
        let mut total = sum(left, n, parts);
        if !right.tiles(n).is_empty() {
            total.add(&sum(right, n, parts));
        }
        total
    }
    let parts: &mut dyn Iterator<Item = (Node, B)> = parts;
    sum(node, n, &mut parts.peekable())
}

/// Sums of `wholes` from `pieces`, both in tree order, every whole covered by pieces.
pub fn coalesce<B: Borrow<Gram>>(n: usize, wholes: &[Node], pieces: impl IntoIterator<Item = (Node, B)>) -> Vec<Gram> {
    let mut pieces = pieces.into_iter().peekable();
    let mut of = |&whole: &Node| {
        let end = whole.tiles(n).end;
        let mut own = std::iter::from_fn(|| pieces.next_if(|(piece, _)| piece.first() < end));
        complete(whole, n, &mut own)
    };
    wholes.iter().map(&mut of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaf(tile: usize) -> Gram {
        let mut g = Gram::default();
        for (k, v) in g.0.iter_mut().enumerate() {
            // values whose sum depends on the order of addition
            *v = ((tile * 31 + k * 17) as f64 * 0.737).sin() * 10f64.powi((tile % 30) as i32 - 15);
        }
        g
    }

    fn sum(node: Node, n: usize) -> Gram {
        let tiles = node.tiles(n);
        complete(node, n, &mut tiles.map(|t| (Node { height: 0, index: t }, leaf(t))))
    }

    proptest! {
        #[test]
        fn any_dealing_gives_the_same_bits(n in 1usize..400, cuts in proptest::collection::vec(0usize..400, 0..9), cap in 0u32..9) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(n)).chain([0, n]).collect();
            cuts.sort_unstable();
            let mut parts = Vec::new();
            for w in cuts.windows(2) {
                let whole = owned_nodes(n, &(w[0]..w[1]), u32::MAX);
                let pieces = owned_nodes(n, &(w[0]..w[1]), cap);
                prop_assert_eq!(pieces.iter().map(|p| p.tiles(n).len()).sum::<usize>(), w[1] - w[0]);
                let sums = coalesce(n, &whole, pieces.into_iter().map(|p| (p, sum(p, n))));
                parts.extend(whole.into_iter().zip(sums));
            }
            let dealt = complete(Node::root(n), n, &mut parts.into_iter());
            prop_assert_eq!(dealt, sum(Node::root(n), n));
        }
    }

    #[test]
    fn a_rank_sends_few_nodes() {
        let nodes = owned_nodes(1000, &(137..861), u32::MAX);
        assert!(nodes.len() <= 2 * 10, "{}", nodes.len());
    }
}
