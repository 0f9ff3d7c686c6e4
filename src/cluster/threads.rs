//! How many threads a rank may use.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::{World, launch};
use crate::text::counted;
use crate::{Error, Result};

/// Words of an affinity mask that ranks exchange: 1024 cores.
const MASK_WORDS: usize = 16;

/// Threads beyond this are a mistake, unless there are cores for them …
const MOST_THREADS: usize = 64;
/// … or at least one for so many.
const MOST_THREADS_PER_CORE: usize = 4;

/// Threads of a rank and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadPlan {
    /// Threads to use, at least 1.
    pub threads: usize,
    /// Cores this rank may run on.
    pub cores: usize,
    /// Ranks of the node that may run on any of these cores, this one included.
    pub sharing: usize,
    /// Cores of the node that the launcher could have used but no thread of its ranks will; 0 where that was asked for.
    pub idle: usize,
    /// Processors of the node that Slurm's job has for each of its ranks, at least 1; 0 where it didn't start them.
    pub allocated: usize,
}

impl ThreadPlan {
    /// What to tell the user where a rank has more threads than its share of the cores.
    pub(super) fn warning(&self) -> Option<String> {
        let Self { threads, cores, sharing, allocated, .. } = *self;
        let room = (cores / sharing).max(1);
        if allocated > 0 {
            let room = room.min(allocated);
            return (threads > room).then(|| {
                format!(
                    "{threads} threads a rank, but Slurm has {} for each: ask for `--cpus-per-task={threads}`, of \
                     srun too where sbatch was asked, or for fewer threads or ranks",
                    counted(room, "processor"),
                )
            });
        }
        (threads > room).then(|| {
            format!(
                "{threads} threads on {} shared by {}: mpirun binds ranks to cores unless told otherwise; \
                 try `mpirun --bind-to none`, or fewer threads or ranks",
                counted(cores, "core"),
                counted(sharing, "rank"),
            )
        })
    }

    /// Numbers that ranks send each other.
    pub(super) const WORDS: usize = 5;

    pub(super) fn encode(self) -> [f64; Self::WORDS] {
        let Self { threads, cores, sharing, idle, allocated } = self;
        [threads, cores, sharing, idle, allocated].map(|n| n as f64)
    }

    pub(super) fn decode(words: &[f64]) -> Self {
        let [threads, cores, sharing, idle, allocated] = std::array::from_fn(|k| words[k] as usize);
        Self { threads, cores, sharing, idle, allocated }
    }

    /// What to tell the user where the launcher's binding leaves cores without work.
    pub(super) fn note(&self) -> Option<String> {
        (self.idle > 0).then(|| {
            format!(
                "mpirun's binding leaves {} core{} of the node idle; `mpirun --bind-to none` or `--map-by slot:PE=n` gives ranks more",
                self.idle,
                if self.idle == 1 { "" } else { "s" }
            )
        })
    }
}

/// What there is to tell about the threads of all ranks: warnings, notes. What holds for several ranks is said once.
pub fn thread_remarks(plans: &[ThreadPlan]) -> (Vec<String>, Vec<String>) {
    let said = |say: fn(&ThreadPlan) -> Option<String>| {
        let mut texts: Vec<(String, Vec<usize>)> = Vec::new();
        for (rank, text) in plans.iter().enumerate().filter_map(|(rank, plan)| Some((rank, say(plan)?))) {
            match texts.iter_mut().find(|(t, _)| *t == text) {
                Some((_, ranks)) => ranks.push(rank),
                None => texts.push((text, vec![rank])),
            }
        }
        let named = |(text, ranks): (String, Vec<usize>)| match ranks[..] {
            _ if plans.len() == 1 => text,
            [rank] => format!("rank {rank}: {text}"),
            _ if ranks.len() == plans.len() => format!("all ranks: {text}"),
            [first, ..] => format!("rank {first} and {} more: {text}", ranks.len() - 1),
            [] => text,
        };
        texts.into_iter().map(named).collect()
    };
    (said(ThreadPlan::warning), said(ThreadPlan::note))
}

/// Refuses numbers of threads that can only be a mistake, before any rank starts them.
///
/// # Errors
/// [`Error::Usage`], naming who asked.
pub fn refuse_absurd(asked: Option<usize>) -> Result<()> {
    refuse(asked, slurm(), count(&affinity(OWN)).max(1))
}

fn refuse(asked: Option<usize>, slurm: Option<usize>, cores: usize) -> Result<()> {
    let (n, who) = match (asked, slurm) {
        (Some(n), _) => (n, "`--threads` or `performance.computation.cpu_threads`"),
        (None, Some(n)) => (n, "SLURM_CPUS_PER_TASK"),
        (None, None) => return Ok(()),
    };
    if n <= MOST_THREADS || n <= MOST_THREADS_PER_CORE * cores {
        return Ok(());
    }
    Err(Error::Usage(format!("{who} asks for {n} threads a rank, but this one may use {cores} cores; ask for as many")))
}

fn slurm() -> Option<usize> {
    std::env::var("SLURM_CPUS_PER_TASK").ok().and_then(|v| v.parse().ok()).filter(|&n| n > 0)
}

type Mask = [u64; MASK_WORDS];

/// The process itself, to the kernel.
const OWN: Pid = Pid::from_raw(0);

fn affinity(process: Pid) -> Mask {
    let mut mask = [0; MASK_WORDS];
    if let Ok(set) = sched_getaffinity(process) {
        for core in 0..(64 * MASK_WORDS).min(CpuSet::count()) {
            if set.is_set(core).unwrap_or(false) {
                mask[core / 64] |= 1 << (core % 64);
            }
        }
    }
    mask
}

fn count(mask: &[u64]) -> usize {
    mask.iter().map(|w| w.count_ones() as usize).sum()
}

/// Who has started the ranks of a node, as far as their threads are concerned.
#[derive(Debug, Clone, Copy)]
enum Launcher {
    /// mpirun, which may use these cores.
    Mpirun(Mask),
    /// Slurm, whose job has so many processors on this node.
    Slurm(usize),
    /// Nobody, or somebody else.
    Other,
}

impl Launcher {
    fn find(world: &World) -> Self {
        if std::env::var_os("OMPI_COMM_WORLD_RANK").is_some() {
            // a rank's parent is mpirun or its daemon, which nobody binds
            return Self::Mpirun(affinity(Pid::parent()));
        }
        let on_node = std::env::var("SLURM_CPUS_ON_NODE").ok().and_then(|n| n.parse().ok());
        // other launchers may themselves have been started by srun, one process a node; a single process may be the job script's
        let is_slurms = world.size() == 1 || launch::by_srun(world.size());
        on_node.filter(|_| is_slurms).map_or(Self::Other, Self::Slurm)
    }
}

fn divide(own: &Mask, all: &[u64], asked: Option<usize>, launcher: Launcher) -> ThreadPlan {
    let cores = count(own).max(1);
    let sharing = all.chunks(MASK_WORDS).filter(|other| other.iter().zip(own).any(|(a, b)| a & b != 0)).count().max(1);
    let allocated = match launcher {
        // where nobody is bound, the mask of a rank holds what other jobs have
        Launcher::Slurm(cpus) => (cpus / (all.len() / MASK_WORDS).max(1)).max(1),
        _ => 0,
    };
    let room = if allocated > 0 { allocated.min(cores / sharing) } else { cores / sharing };
    let threads = asked.unwrap_or(room).max(1);
    let mut bound = [0; MASK_WORDS];
    all.chunks(MASK_WORDS).for_each(|mask| bound.iter_mut().zip(mask).for_each(|(b, m)| *b |= m));
    let idle = match launcher {
        Launcher::Mpirun(whole) if asked.is_none() => {
            whole.iter().zip(&bound).map(|(w, b)| (w & !b).count_ones() as usize).sum()
        }
        _ => 0,
    };
    ThreadPlan { threads, cores, sharing, idle, allocated }
}

/// Threads of this rank: what was asked for, else `SLURM_CPUS_PER_TASK`, else the cores in its affinity mask divided
/// among the ranks of the node whose masks overlap it, but no more than Slurm's job has for it. A collective call among the ranks of a node.
pub fn thread_plan(world: &World, asked: Option<usize>) -> ThreadPlan {
    let own = affinity(OWN);
    let all = world.all_gather_on_node(&own);
    divide(&own, &all, asked.or_else(slurm), Launcher::find(world))
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
        assert_eq!(divide(&both, &all, None, Launcher::Other).threads, 2);
        let (a, b) = (mask(&[0, 1]), mask(&[70, 71]));
        let all = [a, b].concat();
        assert_eq!(divide(&a, &all, None, Launcher::Other).threads, 2);
        let one = mask(&[5]);
        let all = [one, one, one].concat();
        assert_eq!(divide(&one, &all, None, Launcher::Other).threads, 1);
    }

    #[test]
    fn what_was_asked_wins_and_too_much_warns() {
        let m = mask(&[0]);
        let plan = divide(&m, &m, Some(4), Launcher::Other);
        assert_eq!((plan.threads, plan.cores, plan.sharing), (4, 1, 1));
        assert!(plan.warning().unwrap().contains("4 threads on 1 core shared by 1 rank: "));
        assert!(plan.warning().unwrap().contains("--bind-to none"));
        assert_eq!(divide(&m, &m, Some(1), Launcher::Other).warning(), None);
        // more ranks than cores isn't a matter of threads
        assert_eq!(divide(&m, &[m, m].concat(), None, Launcher::Other).warning(), None);
    }

    #[test]
    fn cores_that_the_binding_leaves_idle_are_noticed() {
        let (a, b, node) = (mask(&[0]), mask(&[1]), mask(&[0, 1, 2, 3, 64]));
        let all = [a, b].concat();
        let plan = divide(&a, &all, None, Launcher::Mpirun(node));
        assert_eq!(plan.idle, 3);
        assert!(plan.note().unwrap().contains("leaves 3 cores of the node idle; `mpirun --bind-to none`"));
        // neither where it was asked for, nor without a launcher, nor without a binding
        assert_eq!(divide(&a, &all, Some(1), Launcher::Mpirun(node)).note(), None);
        assert_eq!(divide(&a, &all, None, Launcher::Other).note(), None);
        assert_eq!(divide(&node, &[node, node].concat(), None, Launcher::Mpirun(node)).note(), None);
    }

    #[test]
    fn ranks_use_no_more_than_slurm_has() {
        // two ranks that may run everywhere, in a job of four of the node's eight processors
        let node = mask(&[0, 1, 2, 3, 4, 5, 6, 7]);
        let all = [node, node].concat();
        let plan = |asked, cpus| divide(&node, &all, asked, Launcher::Slurm(cpus));
        assert_eq!((plan(None, 4).threads, plan(None, 4).warning()), (2, None));
        assert_eq!((plan(None, 100).threads, plan(None, 1).threads), (4, 1));
        let warning = plan(Some(3), 4).warning().unwrap();
        assert!(
            warning.starts_with("3 threads a rank, but Slurm has 2 processors for each: ask for `--cpus-per-task=3`")
        );
        assert_eq!(plan(Some(1), 1).warning(), None, "more ranks than processors isn't a matter of threads");
        assert_eq!(ThreadPlan::decode(&plan(Some(3), 4).encode()), plan(Some(3), 4));
    }

    #[test]
    fn every_rank_is_heard_and_nothing_said_twice() {
        let fine = ThreadPlan { threads: 1, cores: 2, sharing: 2, idle: 0, allocated: 0 };
        let many = ThreadPlan { threads: 2, ..fine };
        assert_eq!(thread_remarks(&[fine, fine]), (vec![], vec![]));
        let warnings = |plans: &[ThreadPlan]| thread_remarks(plans).0;
        let text = many.warning().unwrap();
        assert_eq!(warnings(&[many]), std::slice::from_ref(&text));
        assert_eq!(warnings(&[fine, many]), [format!("rank 1: {text}")]);
        assert_eq!(warnings(&[many, many]), [format!("all ranks: {text}")]);
        assert_eq!(warnings(&[many, fine, many, many]), [format!("rank 0 and 2 more: {text}")]);
    }

    #[test]
    fn absurd_numbers_are_refused_with_their_source() {
        assert!(
            refuse(None, None, 1).is_ok() && refuse(Some(64), None, 1).is_ok() && refuse(Some(512), None, 128).is_ok()
        );
        for (asked, slurm, who) in [(Some(65), None, "--threads"), (None, Some(1000), "SLURM_CPUS_PER_TASK")] {
            let error = refuse(asked, slurm, 8).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(who), "{error}");
        }
    }
}
