//! Points of a pass that are worked on together: which tasks are left, what their sums give, what is finished so far.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::Gram;
use super::cpu::{BatchProgress, Shard};
use super::rounds::{Known, Part};
use super::stream::Done;
use super::task::Task;
use super::tree::{self, Node};
use crate::Result;

/// Maximal nodes of one angle that a rank sums.
pub(super) fn wholes(shard: &Shard, angle: usize) -> Vec<Node> {
    let plan = &shard.level.plan;
    tree::owned_nodes(plan.per_angle(), &plan.within_angle(shard.range(), angle), u32::MAX)
}

/// Tells of batches of a pass.
pub(super) struct Batches<'e> {
    pub report: Option<&'e BatchProgress>,
    pub n_batches: usize,
    /// Pairs of the pass.
    pub all: usize,
    pub done: AtomicUsize,
}

impl Batches<'_> {
    /// So many pairs more are done.
    pub fn count(&self, pairs: usize) {
        let Some(report) = self.report else { return };
        let before = self.done.fetch_add(pairs, Ordering::Relaxed);
        let batch = |pairs: usize| (pairs as u128 * self.n_batches as u128 / self.all as u128) as usize;
        let now = batch(before + pairs);
        if now > batch(before) {
            report(now, self.n_batches);
        }
    }
}

/// Points of a pass that are worked on together.
pub(super) struct Chunk<'e> {
    /// Number of the first.
    pub first: usize,
    pub shard: &'e Shard,
    pub tasks: &'e [Task],
    pub known: &'e Known,
    /// Angles that this rank holds tiles of.
    pub held: &'e Range<usize>,
    pub done: Done,
}

impl Chunk<'_> {
    pub fn nothing(tasks: &[Task]) -> Done {
        tasks.iter().map(|_| OnceLock::new()).collect()
    }

    /// Numbers of the tasks whose sums aren't known.
    pub fn todo(&self, n_points: usize) -> Vec<usize> {
        let is_known = |task: &Task| {
            let mut angles = task.angles.clone();
            let points = self.first..self.first + n_points;
            angles.all(|angle| points.clone().all(|point| self.known.covering(point, angle, task.node).is_some()))
        };
        (0..self.tasks.len()).filter(|&k| self.known.is_empty() || !is_known(&self.tasks[k])).collect()
    }

    /// Sums that are there of an angle, in tree order, from tasks and from what is known.
    fn pieces(&self, point: usize, angle: usize) -> impl Iterator<Item = (Node, &Gram)> {
        let own = self.tasks.iter().zip(&self.done).filter(move |(task, _)| task.angles.contains(&angle));
        // what is known comes first: it may reach over tasks that were done for another angle's sake
        let own = own.filter_map(move |(task, done)| {
            let known = || self.known.covering(self.first + point, angle, task.node).map(|(node, sum)| (*node, sum));
            let sums = || done.get().and_then(|sums| sums.as_ref().ok());
            known().or_else(|| sums().map(|sums| (task.node, &sums[point][angle - task.angles.start])))
        });
        let mut last = None;
        // a known node can stand for several tasks
        own.filter(move |(node, _)| last.replace(*node) != Some(*node))
    }

    /// Sums of the maximal nodes of all points, when all is done.
    pub fn wholes(&self, n_points: usize) -> Result<Vec<Gram>> {
        if let Some(Err(error)) = self.done.iter().filter_map(OnceLock::get).find(|sums| sums.is_err()) {
            return Err(error.clone());
        }
        let n = self.shard.level.plan.per_angle();
        let of_angle = |point, angle| tree::coalesce(n, &wholes(self.shard, angle), self.pieces(point, angle));
        let of_point =
            |point| self.held.clone().into_par_iter().map(|angle| of_angle(point, angle)).collect::<Vec<_>>();
        Ok((0..n_points).flat_map(of_point).flatten().collect())
    }

    /// What is finished of the pass: of the points before this chunk all, and `before` has their sums.
    pub fn finished(&self, n_points: usize, before: &[Gram]) -> Vec<Part> {
        let n = self.shard.level.plan.per_angle();
        let mut before = before.iter();
        let mut parts = Vec::new();
        for point in 0..self.first {
            for angle in self.held.clone() {
                let own = wholes(self.shard, angle).into_iter().zip(before.by_ref());
                let own = own.filter(|(node, _)| self.known.covering(point, angle, *node).is_none());
                parts.extend(own.map(|(node, &sum)| Part { point, angle, node, sum }));
            }
        }
        for point in 0..n_points {
            for angle in self.held.clone() {
                let own = tree::join(n, self.pieces(point, angle).map(|(node, sum)| (node, *sum)));
                let point = self.first + point;
                parts.extend(own.into_iter().map(|(node, sum)| Part { point, angle, node, sum }));
            }
        }
        parts
    }
}
