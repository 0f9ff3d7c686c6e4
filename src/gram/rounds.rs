//! Long passes are made in rounds, so that signals are heard meanwhile and what is finished can be kept.
//!
//! What is kept of a pass are sums of tree nodes. They are the same whoever forms them, so any other dealing of the tiles can
//! go on from them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::tree::Node;
use super::{Gram, Pass};
use crate::{Error, Result};

/// The sum of a tree node of an angle at one of the points of a pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Number of the point in the pass.
    pub point: usize,
    /// Number of the angle.
    pub angle: usize,
    /// Which node.
    pub node: Node,
    /// Its sum.
    pub sum: Gram,
}

/// Numbers that say which node a sum is of.
const HEAD: usize = 4;

/// As numbers, to be sent or kept.
pub fn encode<'p>(parts: impl IntoIterator<Item = &'p Part>, pass: Pass) -> Vec<f64> {
    let mut numbers = Vec::new();
    for Part { point, angle, node, sum } in parts {
        numbers.extend([*point as f64, *angle as f64, f64::from(node.height), node.index as f64]);
        numbers.extend(&sum.0[pass.filled()]);
    }
    numbers
}

/// Sums of a pass that are known before it is made; no two of them share a tile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// By point and angle, in the order of their tiles.
    nodes: BTreeMap<(usize, usize), Vec<(Node, Gram)>>,
}

impl Known {
    /// What these nodes tell; of nodes within others the larger ones count.
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        let mut nodes: BTreeMap<_, Vec<(Node, Gram)>> = BTreeMap::new();
        for part in parts {
            nodes.entry((part.point, part.angle)).or_default().push((part.node, part.sum));
        }
        for own in nodes.values_mut() {
            own.sort_by_key(|(node, _)| (node.first(), std::cmp::Reverse(node.height)));
            own.dedup_by(|later, kept| kept.0.covers(later.0));
        }
        Self { nodes }
    }

    /// From [numbers](encode) of a pass of that kind; `None` where they can't be.
    pub fn decode(numbers: &[f64], pass: Pass) -> Option<Self> {
        let parts = numbers.chunks(HEAD + pass.filled().len()).map(|part| {
            let (head, values) = part.split_at_checked(HEAD)?;
            let mut sum = Gram::default();
            sum.0.get_mut(pass.filled())?.clone_from_slice(values.get(..pass.filled().len())?);
            let [point, angle, height, index] = [0, 1, 2, 3].map(|k| head[k] as usize);
            (height < usize::BITS as usize).then_some(Part {
                point,
                angle,
                node: Node { height: height as u32, index },
                sum,
            })
        });
        parts.collect::<Option<Vec<_>>>().map(Self::new)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All of it.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let of = |(&(point, angle), own): (&(usize, usize), &'_ Vec<(Node, Gram)>)| {
            own.iter().map(move |&(node, sum)| Part { point, angle, node, sum }).collect::<Vec<_>>()
        };
        self.nodes.iter().flat_map(of)
    }

    /// The known node of a point and angle that covers this one.
    pub fn covering(&self, point: usize, angle: usize, node: Node) -> Option<&(Node, Gram)> {
        let own = self.nodes.get(&(point, angle))?;
        let before = own.partition_point(|(known, _)| known.first() <= node.first());
        own[..before].last().filter(|(known, _)| known.covers(node))
    }
}

/// Gives what is finished so far.
pub type Finished<'f> = &'f dyn Fn() -> Vec<Part>;

/// Called between two rounds; an error ends the pass.
pub type Between<'b> = &'b mut dyn FnMut(Finished<'_>) -> Result<()>;

/// How a pass is divided: tasks that have begun are finished, then there is a moment for other things.
pub struct Rounds<'b> {
    between: Option<(Duration, Between<'b>)>,
    until: Option<Instant>,
}

impl<'b> Rounds<'b> {
    /// All in one.
    pub fn one() -> Self {
        Self { between: None, until: None }
    }

    /// Rounds of that length, the first from now on.
    pub fn of(length: Duration, between: Between<'b>) -> Self {
        Self { between: Some((length, between)), until: Instant::now().checked_add(length) }
    }

    /// When the round ends.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// It has ended.
    pub(super) fn next(&mut self, finished: Finished<'_>) -> Result<()> {
        let Some((length, between)) = &mut self.between else { return Ok(()) };
        between(finished)?;
        self.until = Instant::now().checked_add(*length);
        Ok(())
    }
}

/// What ends a pass in the middle without anything having gone wrong.
pub fn left() -> Error {
    Error::Stopped("in the middle of a pass".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(point: usize, angle: usize, height: u32, index: usize) -> Part {
        let mut sum = Gram::default();
        sum.0.fill(height as f64 + 0.1 * index as f64);
        Part { point, angle, node: Node { height, index }, sum }
    }

    #[test]
    fn the_largest_node_counts() {
        let known = Known::new([part(0, 0, 0, 1), part(0, 0, 1, 0), part(0, 0, 1, 3), part(1, 0, 0, 7)]);
        assert_eq!(known.parts().count(), 3);
        let covering = |point, height, index| {
            let found = known.covering(point, 0, Node { height, index });
            found.map(|(node, _)| (node.height, node.index))
        };
        assert_eq!(covering(0, 0, 1), Some((1, 0)));
        assert_eq!(covering(0, 1, 0), Some((1, 0)));
        assert_eq!(covering(0, 2, 0), None, "larger than what is known");
        assert_eq!(covering(0, 0, 2), None);
        assert_eq!((covering(0, 0, 6), covering(0, 0, 7), covering(0, 0, 8)), (Some((1, 3)), Some((1, 3)), None));
        assert_eq!(covering(1, 0, 7), Some((0, 7)));
        assert_eq!(known.covering(0, 1, Node { height: 0, index: 0 }), None);
    }

    proptest! {
        #[test]
        fn numbers_come_back(parts in prop::collection::vec((0usize..3, 0usize..4, 0u32..5, 0usize..50), 0..20), cut in 1usize..9) {
            for pass in [Pass::Gram, Pass::Chi2] {
                let known = Known::new(parts.iter().map(|&(point, angle, height, index)| {
                    let mut part = part(point, angle, height, index);
                    part.sum.keep(&pass.filled());
                    part
                }));
                let all: Vec<Part> = known.parts().collect();
                let numbers = encode(&all, pass);
                prop_assert_eq!(Known::decode(&numbers, pass), Some(known));
                if !numbers.is_empty() {
                    prop_assert_eq!(Known::decode(&numbers[..numbers.len() - cut], pass), None);
                }
            }
        }
    }
}
