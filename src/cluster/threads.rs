//! How many threads a rank may use.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::World;

/// Words of an affinity mask that ranks exchange: 1024 cores.
const MASK_WORDS: usize = 16;

/// Threads of this rank and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadPlan {
    /// Threads to use, at least 1.
    pub threads: usize,
    /// Cores this rank may run on.
    pub cores: usize,
    /// What to tell the user when the two don't fit.
    pub warning: Option<String>,
}

fn affinity() -> [u64; MASK_WORDS] {
    let mut mask = [0; MASK_WORDS];
    if let Ok(set) = sched_getaffinity(Pid::from_raw(0)) {
        for core in 0..(64 * MASK_WORDS).min(CpuSet::count()) {
            if set.is_set(core).unwrap_or(false) {
                mask[core / 64] |= 1 << (core % 64);
            }
        }
    }
    mask
}

fn divide(own: &[u64], all: &[u64], asked: Option<usize>, slurm: Option<usize>) -> ThreadPlan {
    let count = |mask: &[u64]| mask.iter().map(|w| w.count_ones() as usize).sum::<usize>();
    let cores = count(own).max(1);
    let sharing = all.chunks(MASK_WORDS).filter(|other| other.iter().zip(own).any(|(a, b)| a & b != 0)).count().max(1);
    let share = (cores / sharing).max(1);
    let threads = asked.or(slurm).unwrap_or(share).max(1);
    let warning = (asked.is_some() && threads > share).then(|| {
        format!(
            "{threads} threads on {cores} core{} shared by {sharing} rank{}: mpirun binds ranks to cores unless told otherwise; \
             try `mpirun --bind-to none`, or fewer threads or ranks",
            if cores == 1 { "" } else { "s" },
            if sharing == 1 { "" } else { "s" },
        )
    });
    ThreadPlan { threads, cores, warning }
}

/// Threads of this rank: what was asked for, else `SLURM_CPUS_PER_TASK`, else the cores in its affinity mask divided
/// among the ranks of the node whose masks overlap it. A collective call among the ranks of a node.
pub fn thread_plan(world: &World, asked: Option<usize>) -> ThreadPlan {
    let own = affinity();
    let all = world.all_gather_on_node(&own);
    let slurm = std::env::var("SLURM_CPUS_PER_TASK").ok().and_then(|v| v.parse().ok());
    divide(&own, &all, asked, slurm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(cores: &[usize]) -> [u64; MASK_WORDS] {
        let mut m = [0; MASK_WORDS];
        for c in cores {
            m[c / 64] |= 1 << (c % 64);
        }
        m
    }

    #[test]
    fn shared_cores_are_divided_and_bound_ones_are_not() {
        let both = mask(&[0, 1, 2, 3]);
        let all = [both, both].concat();
        assert_eq!(divide(&both, &all, None, None).threads, 2);
        let (a, b) = (mask(&[0, 1]), mask(&[70, 71]));
        let all = [a, b].concat();
        assert_eq!(divide(&a, &all, None, None).threads, 2);
        let one = mask(&[5]);
        let all = [one, one, one].concat();
        assert_eq!(divide(&one, &all, None, None).threads, 1);
    }

    #[test]
    fn what_was_asked_wins_and_too_much_warns() {
        let m = mask(&[0]);
        let plan = divide(&m, &m, Some(4), Some(2));
        assert_eq!(plan.threads, 4);
        assert!(plan.warning.unwrap().contains("--bind-to none"));
        assert_eq!(divide(&m, &m, None, Some(2)).threads, 2);
        assert_eq!(divide(&m, &m, Some(1), None).warning, None);
    }
}
