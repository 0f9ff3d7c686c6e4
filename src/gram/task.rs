//! Cutting a rank's tiles into pieces of work. It decides who computes what when, never what is computed.

use std::collections::BTreeMap;
use std::ops::Range;

use super::tree::{self, Node};
use crate::nodes::plan::TilePlan;

/// Tasks that every thread should find in a pass, so that none waits long for the others at its end.
const TASKS_PER_THREAD: usize = 40;
/// Most angles of a task.
const ANGLES_TOGETHER: usize = 12;
/// Most tiles of an angle summed by one task, as a height in the tree.
const TALLEST: u32 = 3;

/// A piece of work: a small tree node of several angles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    pub node: Node,
    pub angles: Range<usize>,
}

/// Cuts a run of tiles into tasks in the order of tiles within an angle, angles together wherever the same tiles are held of
/// them: as large as leaves every thread enough of them.
pub(super) fn cut(plan: &TilePlan, held: &Range<usize>, threads: usize) -> Vec<Task> {
    let sizes = (0..=TALLEST).rev().map(|height| (height, ANGLES_TOGETHER)).chain([(0, ANGLES_TOGETHER / 2), (0, 1)]);
    let mut tasks = Vec::new();
    for (height, together) in sizes {
        tasks = cut_at(plan, held, height, together);
        if tasks.len() >= TASKS_PER_THREAD * threads {
            break;
        }
    }
    tasks
}

fn cut_at(plan: &TilePlan, held: &Range<usize>, height: u32, together: usize) -> Vec<Task> {
    let n = plan.per_angle();
    let mut by_node: BTreeMap<(usize, u32), Vec<Range<usize>>> = BTreeMap::new();
    for angle in 0..plan.n_angles {
        for node in tree::owned_nodes(n, &plan.within_angle(held, angle), height) {
            let runs = by_node.entry((node.index << node.height, node.height)).or_default();
            match runs.last_mut() {
                Some(run) if run.end == angle && run.len() < together => run.end += 1,
                _ => runs.push(angle..angle + 1),
            }
        }
    }
    let mut tasks = Vec::new();
    for ((first, height), runs) in by_node {
        let node = Node { height, index: first >> height };
        tasks.extend(runs.into_iter().map(|angles| Task { node, angles }));
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_tile_held_is_in_one_task(
            n in 2usize..1200, k in 1usize..40, threads in 1usize..40, from in 0.0f64..1.0, part in 0.0f64..1.0,
        ) {
            let plan = TilePlan::new(n, k);
            let start = (from * plan.n_tiles() as f64) as usize;
            let held = start..start + (part * (plan.n_tiles() - start) as f64).ceil() as usize;
            let mut seen = vec![0; plan.n_tiles()];
            let tasks = cut(&plan, &held, threads);
            for task in &tasks {
                for angle in task.angles.clone() {
                    for tile in task.node.tiles(plan.per_angle()) {
                        seen[angle * plan.per_angle() + tile] += 1;
                    }
                }
            }
            for (tile, seen) in seen.into_iter().enumerate() {
                prop_assert_eq!(seen, usize::from(held.contains(&tile)), "tile {}", tile);
            }
            let firsts: Vec<usize> = tasks.iter().map(|t| t.node.tiles(plan.per_angle()).start).collect();
            prop_assert!(firsts.is_sorted());
        }
    }
}
