//! What launchers leave in the environment of the processes that they start, and what to do where these don't find each other.

use crate::{Error, Result};

/// How variables begin that launchers set. Shells of a job have `SLURM_PROCID`, too, so it proves nothing.
const LAUNCHERS: [&str; 12] = [
    "OMPI_COMM_WORLD",
    "PMI",
    "SLURM_STEP",
    "PALS_",
    "JSM_",
    "MPI_LOCALRANKID",
    "MV2_COMM",
    "HYDI_CONTROL",
    "FLUX_TASK",
    "ALPS_APP_PE",
    "PLE_RANK",
    "MPT_",
];

/// How variables begin that tell MPI of its companions, whoever has started it.
const MANAGERS: [&str; 7] = ["PMI", "OMPI_COMM_WORLD", "PALS_", "JSM_", "MPI_LOCALRANKID", "I_MPI_", "MV2_COMM"];

/// Where launchers say how many processes they have started together: mpirun's word goes first, for it may itself have been
/// started by srun.
const COUNTS: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", SRUN];
/// srun's.
const SRUN: &str = "SLURM_STEP_NUM_TASKS";

fn count(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

fn any_begins(wanted: &[&str]) -> bool {
    let is_wanted = |name: &str| wanted.iter().any(|begin| name.starts_with(begin));
    std::env::vars_os().any(|(name, _)| name.to_str().is_some_and(is_wanted))
}

/// Whether a launcher has started this process, alone or with others.
pub(super) fn has_launched() -> bool {
    any_begins(&LAUNCHERS)
}

/// Processes that a launcher has started together with this one, itself included.
fn tasks() -> usize {
    COUNTS.into_iter().find_map(count).unwrap_or(1)
}

/// Whether srun has started so many ranks itself, not somebody whom it has started.
pub(super) fn by_srun(ranks: usize) -> bool {
    count(SRUN) == Some(ranks)
}

/// An MPI library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its name and version.
    pub name: String,
    /// The plugin of srun that it usually works with.
    pub plugin: &'static str,
}

impl Library {
    /// From what the library says of itself.
    pub(super) fn of(version: &str) -> Self {
        let first = version.split([',', '\n']).next().unwrap_or_default();
        let name = first.replace("Version:", " ").split_whitespace().collect::<Vec<_>>().join(" ");
        // MPICH and its kin speak PMI-2
        let plugin = if name.starts_with("Open MPI") { "pmix" } else { "pmi2" };
        Self { name, plugin }
    }
}

/// What to do where `tasks` processes don't find each other.
fn cure(tasks: usize, library: Option<&Library>) -> Error {
    let by_srun = by_srun(tasks);
    let launcher = if by_srun { "srun" } else { "mpirun" };
    Error::Usage(match library {
        None => format!(
            "{launcher} started {tasks} processes, but this homodyne-mpi was built without MPI: start one process, or build it \
             with MPI (`cargo build --release`)"
        ),
        Some(Library { name, plugin }) if by_srun => format!(
            "srun started {tasks} tasks, but MPI ({name}) doesn't find the others: try `srun --mpi={plugin}` (`srun --mpi=list` \
             names what there is), or start it with mpirun"
        ),
        Some(Library { name, .. }) => format!(
            "mpirun started {tasks} processes, but MPI ({name}) doesn't find the others: that mpirun belongs to another MPI; \
             use the one of {name}, with which this program was built"
        ),
    })
}

/// Before MPI starts in srun's tasks: whether anything tells it of its companions. Open MPI ends a process in which it can't start
/// without asking, so what may help is said before.
///
/// # Errors
/// [`Error::Usage`] where nothing does.
pub(super) fn look_for_companions(library: &Library) -> Result<()> {
    let tasks = tasks();
    if tasks == 1 || any_begins(&["PMIX_RANK", "OMPI_COMM_WORLD"]) {
        return Ok(());
    }
    if !any_begins(&MANAGERS) {
        return Err(cure(tasks, Some(library)));
    }
    let is_first = std::env::var("SLURM_PROCID").is_ok_and(|rank| rank == "0");
    if is_first && library.plugin == "pmix" {
        let name = &library.name;
        eprintln!("info: this isn't srun's plugin pmix: should {name} not start now, try `srun --mpi=pmix`");
    }
    Ok(())
}

/// For a process that finds itself alone: whether it has been started with others.
///
/// # Errors
/// [`Error::Usage`] where it has, with what to do.
pub(super) fn refuse_companions(library: Option<&Library>) -> Result<()> {
    match tasks() {
        0 | 1 => Ok(()),
        tasks => Err(cure(tasks, library)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_known_by_what_they_say() {
        let of = |text| {
            let Library { name, plugin } = Library::of(text);
            (name, plugin)
        };
        let open = "Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4, May 26, 2022";
        assert_eq!(of(open), ("Open MPI v4.1.4".into(), "pmix"));
        assert_eq!(of("MPICH Version:\t4.0.2\nMPICH Release date:\tThu Apr"), ("MPICH 4.0.2".into(), "pmi2"));
        assert_eq!(of("Intel(R) MPI Library 2021.9 for Linux* OS\n").1, "pmi2");
    }

    #[test]
    fn every_launcher_has_its_cure() {
        let text = |library: Option<&Library>| cure(4, library).to_string();
        assert!(text(None).contains("without MPI") && text(None).starts_with("mpirun started 4"));
        let library = Library::of("MPICH Version: 4.0.2\n");
        assert!(text(Some(&library)).contains("the one of MPICH 4.0.2"));
    }
}
