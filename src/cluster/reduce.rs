//! The reduction: which tree nodes come from which rank, and completing the trees from them on rank 0.

use std::ops::Range;
use std::time::Instant;

use super::setup::Dealing;
use crate::gram::{Gram, Pass, tree};
use crate::model::Experiment;

/// What a rank tells before its sums.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Head {
    /// The signal that came to it, 0 where none did.
    pub signal: u8,
    /// Time that its threads worked in the pass, s, averaged over them.
    pub worked: f64,
}

/// Numbers of a head.
const HEAD: usize = 2;

/// How evenly the ranks worked in a pass.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    /// How many there are.
    pub ranks: usize,
    /// The one that worked longest.
    pub slowest: usize,
    /// How long it did, s.
    pub longest: f64,
    /// How long all did on average, s.
    pub mean: f64,
}

impl Pace {
    pub(super) fn of(heads: &[Head]) -> Self {
        let longest = |best: (usize, f64), (rank, head): (usize, &Head)| {
            if head.worked > best.1 { (rank, head.worked) } else { best }
        };
        let (slowest, longest) = heads.iter().enumerate().fold((0, 0.0), longest);
        let mean = heads.iter().map(|head| head.worked).sum::<f64>() / heads.len().max(1) as f64;
        Self { ranks: heads.len(), slowest, longest, mean }
    }
}

/// What a rank sends.
pub(super) fn message(head: Head, sums: impl IntoIterator<Item = f64>) -> Vec<f64> {
    [f64::from(head.signal), head.worked].into_iter().chain(sums).collect()
}

/// A node that a rank sends.
struct Part {
    rank: u32,
    /// Its place among the nodes of that rank.
    place: u32,
    node: tree::Node,
}

/// What is gathered at one level, and in which order it is summed.
pub(super) struct Reduction {
    /// By angle, in tree order.
    angles: Vec<Vec<Part>>,
    /// Nodes of every rank.
    counts: Vec<usize>,
    /// Tiles of an angle.
    per_angle: usize,
}

impl Reduction {
    /// That of a level as it was dealt.
    pub fn new(dealing: &Dealing, level: usize) -> Self {
        let plan = &dealing.levels[level].plan;
        let mut angles: Vec<Vec<Part>> = (0..plan.n_angles).map(|_| Vec::new()).collect();
        let mut counts = Vec::with_capacity(dealing.ranges[level].len());
        for (rank, range) in dealing.ranges[level].iter().enumerate() {
            let mut place = 0;
            for angle in angles_of(range, plan.per_angle()) {
                for node in dealing.nodes(level, rank, angle) {
                    angles[angle].push(Part { rank: rank as u32, place, node });
                    place += 1;
                }
            }
            counts.push(place as usize);
        }
        Self { angles, counts, per_angle: plan.per_angle() }
    }

    /// Nodes that a rank sends for one point.
    pub fn nodes_of(&self, rank: usize) -> usize {
        self.counts[rank]
    }

    /// Numbers that every rank sends.
    pub fn counts(&self, n_points: usize, pass: Pass) -> Vec<usize> {
        self.counts.iter().map(|n| HEAD + n * n_points * pass.filled().len()).collect()
    }

    /// Where the numbers of every rank begin in what was gathered.
    fn starts(&self, n_points: usize, pass: Pass) -> Vec<usize> {
        let counts = self.counts(n_points, pass).into_iter();
        let start = |next: &mut usize, count| Some(std::mem::replace(next, *next + count));
        counts.scan(0, start).collect()
    }

    /// What the ranks tell, one after another.
    pub fn heads(&self, n_points: usize, pass: Pass, all: &[f64]) -> impl Iterator<Item = Head> {
        let head = |start: usize| Head { signal: all[start] as u8, worked: all[start + 1] };
        self.starts(n_points, pass).into_iter().map(head)
    }

    /// Completes every angle's tree, point by point, from what was gathered, one rank after another.
    pub fn complete(&self, n_points: usize, pass: Pass, all: &[f64]) -> Vec<Vec<Gram>> {
        let width = pass.filled().len();
        let starts = self.starts(n_points, pass);
        let gram = |point: usize, part: &Part| {
            let rank = part.rank as usize;
            let at = starts[rank] + HEAD + width * (point * self.counts[rank] + part.place as usize);
            let mut gram = Gram::default();
            gram.0[pass.filled()].copy_from_slice(&all[at..at + width]);
            (part.node, gram)
        };
        let tree = |point: usize, parts: &Vec<Part>| {
            let mut parts = parts.iter().map(|part| gram(point, part));
            tree::complete(tree::Node::root(self.per_angle), self.per_angle, &mut parts)
        };
        (0..n_points).map(|point| self.angles.iter().map(|parts| tree(point, parts)).collect()).collect()
    }
}

/// Angles that a run of tiles touches.
fn angles_of(range: &Range<usize>, per_angle: usize) -> Range<usize> {
    if range.is_empty() { 0..0 } else { range.start / per_angle..(range.end - 1) / per_angle + 1 }
}

/// What completing the trees costs on rank 0.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionCost {
    /// Nodes gathered for one point.
    pub nodes: usize,
    /// Bytes gathered for one Gram pass at one point.
    pub bytes: usize,
    /// Time of every repetition, s.
    pub seconds: Vec<f64>,
}

/// Completes the trees of one full-resolution Gram pass as if it had come from `ranks` ranks, `repetitions` times.
pub fn completion_cost(experiment: &Experiment, ranks: usize, repetitions: usize) -> CompletionCost {
    let reduction = Reduction::new(&Dealing::finest(experiment, ranks), 0);
    let all = vec![1.0; reduction.counts(1, Pass::Gram).iter().sum()];
    let once = || {
        let begin = Instant::now();
        std::hint::black_box(reduction.complete(1, Pass::Gram, std::hint::black_box(&all)));
        begin.elapsed().as_secs_f64()
    };
    CompletionCost {
        nodes: reduction.counts.iter().sum(),
        bytes: size_of_val(&all[..]),
        seconds: (0..repetitions).map(|_| once()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AnalysisMode, ShearConvention};

    #[test]
    fn any_number_of_ranks_sends_whole_trees() {
        let experiment = Experiment {
            mode: AnalysisMode::Static,
            convention: ShearConvention::Homodyne,
            q: 0.0054,
            gap: 0.0,
            dt: 0.1,
            phi: vec![0.0, 30.0, 60.0],
            n_frames: 700,
            time_offset: 0,
        };
        let mut nodes = Vec::new();
        for ranks in [1, 2, 7, 64, 500] {
            let reduction = Reduction::new(&Dealing::finest(&experiment, ranks), 0);
            // every node of one stands for itself in every entry, so that each root counts the nodes of its angle
            for points in [1, 3] {
                let all = vec![1.0; reduction.counts(points, Pass::Chi2).iter().sum()];
                let done = reduction.complete(points, Pass::Chi2, &all);
                assert_eq!(done.len(), points);
                for grams in &done {
                    for (gram, parts) in grams.iter().zip(&reduction.angles) {
                        assert_eq!(gram.n_pairs(), parts.len() as f64);
                    }
                }
            }
            nodes.push(reduction.counts.iter().sum::<usize>());
            let tiles = reduction.per_angle as f64;
            let most = 2.0 * tiles.log2().ceil();
            assert!(reduction.counts.iter().all(|&n| n as f64 <= most * (3.0 / ranks as f64).ceil().max(2.0)));
        }
        assert_eq!(nodes[0], 3);
        assert!(nodes.is_sorted(), "{nodes:?}");
        let cost = completion_cost(&experiment, 7, 2);
        assert_eq!((cost.nodes, cost.seconds.len()), (nodes[2], 2));
        assert_eq!(cost.bytes, 440 * cost.nodes + 7 * 8 * HEAD);
    }
}
