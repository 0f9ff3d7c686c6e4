//! How the data are held and passes are cut, by size; and the memory the job may use.

use std::path::{Component, Path};

use super::World;
use crate::{Error, Result};

/// Strategy of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// In memory, one pass at a time.
    Standard,
    /// In memory, sharded, progress per iteration.
    Large,
    /// In memory, sharded, progress by matrices.
    Chunked,
    /// In memory where that goes, else nodes in memory and pairs read when they are needed; progress by matrices.
    Streaming,
}

/// Matrix entries from which a set counts as LARGE.
const LARGE_FROM: u64 = 1_000_000;
/// Matrix entries from which a set counts as CHUNKED.
const CHUNKED_FROM: u64 = 10_000_000;
/// Matrix entries above which a set counts as STREAMING.
const CHUNKED_TO: u64 = 100_000_000;
/// Share of the memory found that the job may use unless it was told a limit.
const SHARE_OF_MEMORY: f64 = 0.8;
/// Bytes in the GB of limits and reports.
pub const GB: f64 = (1u64 << 30) as f64;

impl Strategy {
    /// The name in configuration and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Large => "LARGE",
            Self::Chunked => "CHUNKED",
            Self::Streaming => "STREAMING",
        }
    }

    /// By the number of matrix entries, both triangles counted.
    pub fn by_size(n_points: u64) -> Self {
        match n_points {
            0..LARGE_FROM => Self::Standard,
            LARGE_FROM..CHUNKED_FROM => Self::Large,
            CHUNKED_FROM..=CHUNKED_TO => Self::Chunked,
            _ => Self::Streaming,
        }
    }

    /// Whether a fit takes seconds at most.
    pub fn is_short(self) -> bool {
        matches!(self, Self::Standard | Self::Large)
    }
}

/// What a rank knows of its node when it starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeShare {
    /// Ranks of the node.
    pub ranks: usize,
    /// Memory that they may use together, as far as the rank itself can tell, bytes.
    pub limit: f64,
}

impl NodeShare {
    /// That of this process, on a node of so many ranks.
    pub(super) fn own(ranks: usize) -> Self {
        // a limit that can't be understood rank 0 refuses
        Self { ranks, limit: MemoryLimit::find(None, ranks).map_or(f64::INFINITY, |limit| limit.bytes) }
    }
}

/// A limit on the memory of all ranks of one node, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryLimit {
    /// Bytes.
    pub bytes: f64,
    /// For people.
    pub source: String,
}

impl MemoryLimit {
    /// What was configured, else `HOMODYNE_MEMORY_LIMIT` (GB), else 80 % of what so many `ranks` of a node may use: the least of the
    /// control group's limit, Slurm's allocation, the shell's limit (`ulimit -v`) and the physical memory.
    ///
    /// # Errors
    /// When the environment's value is not a positive number.
    pub fn find(configured_gb: Option<f64>, ranks: usize) -> Result<Self> {
        if let Some(gb) = configured_gb {
            return Ok(Self { bytes: gb * GB, source: "performance.memory_limit_gb".into() });
        }
        if let Ok(text) = std::env::var("HOMODYNE_MEMORY_LIMIT") {
            return match text.trim().parse::<f64>() {
                Ok(gb) if gb.is_finite() && gb > 0.0 => {
                    Ok(Self { bytes: gb * GB, source: "HOMODYNE_MEMORY_LIMIT".into() })
                }
                _ => Err(Error::Usage(format!("HOMODYNE_MEMORY_LIMIT={text}: expected a number of GB greater than 0"))),
            };
        }
        let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<f64>().ok());
        let per_node = number("SLURM_MEM_PER_NODE").or_else(|| {
            let cores = number("SLURM_CPUS_ON_NODE")?;
            Some(number("SLURM_MEM_PER_CPU")? * cores)
        });
        // Slurm counts in MB and says 0 for "all of the node"
        let slurm = per_node.filter(|&mb| mb > 0.0).map(|mb| (mb * f64::from(1 << 20), "Slurm's allocation"));
        let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group = group_limit(Path::new("/sys/fs/cgroup"), &group).map(|bytes| (bytes, "the control group's limit"));
        let physical = super::memory::physical().map(|bytes| (bytes, "the physical memory"));
        // every process may have as much
        let shell =
            super::memory::left_by_shell().map(|bytes| (bytes * ranks as f64, "the shell's limit (`ulimit -v`)"));
        let least = [slurm, group, shell, physical].into_iter().flatten().min_by(|a, b| a.0.total_cmp(&b.0));
        let (bytes, name) = least.unwrap_or((f64::INFINITY, "no limit found"));
        Ok(Self { bytes: SHARE_OF_MEMORY * bytes, source: format!("80 % of {name}") })
    }

    /// The limit of the node that has the least for each of its ranks, and how many ranks that is.
    ///
    /// # Errors
    /// As [`Self::find`], on rank 0.
    pub fn of_tightest_node(world: &World, configured_gb: Option<f64>) -> Result<(Self, usize)> {
        let own = Self::find(configured_gb, world.ranks_on_node())?;
        let nodes = world.nodes().iter().enumerate();
        // a limit in the configuration holds for every node
        let limits = nodes.map(|(rank, node)| (rank, node.ranks, configured_gb.map_or(node.limit, |_| own.bytes)));
        let a_rank = |&(_, ranks, bytes): &(usize, usize, f64)| bytes / ranks as f64;
        // the first of several, rank 0 before all
        let tightest = limits.reduce(|least, next| if a_rank(&next) < a_rank(&least) { next } else { least });
        Ok(match tightest {
            Some((rank, ranks, bytes)) if a_rank(&(rank, ranks, bytes)) < own.bytes / world.ranks_on_node() as f64 => {
                let source = format!("{} on the node of rank {rank}", own.source);
                (Self { bytes, source }, ranks)
            }
            _ => (own, world.ranks_on_node()),
        })
    }

    /// Refuses a run that would need more than the limit on a node.
    ///
    /// # Errors
    /// [`Error::Memory`], saying what would help.
    pub fn check(&self, needed: f64) -> Result<()> {
        self.check_for(needed, "the data need", "spread the job over more nodes, select fewer frames or angles")
    }

    /// The same for anything: `what` needs, and what helps beside a higher limit.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn check_for(&self, needed: f64, what: &str, remedy: &str) -> Result<()> {
        if needed <= self.bytes {
            return Ok(());
        }
        Err(Error::Memory(format!(
            "{what} {:.2} GB on a node, {} allows {:.2} GB; {remedy}, or raise `performance.memory_limit_gb`",
            needed / GB,
            self.source,
            self.bytes / GB
        )))
    }
}

/// The least limit of the process's own control group and all groups above it, bytes. `own` is what `/proc/self/cgroup`
/// says, in version 2 `0::/path`, in version 1 one line for every controller.
fn group_limit(mounted: &Path, own: &str) -> Option<f64> {
    let limit = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => (mounted.to_path_buf(), "memory.max"),
            list if list.split(',').any(|c| c == "memory") => (mounted.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        // seen from a container, the group may lie outside what is mounted: then its root is what there is
        let inside = Path::new(path).components().filter_map(|c| match c {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        let group = inside.fold(root.clone(), |group, name| group.join(name));
        let limits = group.ancestors().take_while(|folder| folder.starts_with(&root)).filter_map(|folder| {
            // `max` where there is none
            std::fs::read_to_string(folder.join(file)).ok()?.trim().parse::<f64>().ok()
        });
        limits.min_by(f64::total_cmp)
    };
    own.lines().filter_map(limit).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_of_the_specification() {
        assert_eq!(Strategy::by_size(999_999), Strategy::Standard);
        assert_eq!(Strategy::by_size(1_000_000), Strategy::Large);
        assert_eq!(Strategy::by_size(9_999_999), Strategy::Large);
        assert_eq!(Strategy::by_size(10_000_000), Strategy::Chunked);
        assert_eq!(Strategy::by_size(100_000_000), Strategy::Chunked);
        assert_eq!(Strategy::by_size(100_000_001), Strategy::Streaming);
    }

    #[test]
    fn too_much_is_refused_with_advice() {
        let limit = MemoryLimit { bytes: GB, source: "test".into() };
        assert!(limit.check(0.9 * GB).is_ok());
        assert!(limit.check(1.1 * GB).unwrap_err().to_string().contains("memory_limit_gb"));
    }

    #[test]
    fn the_own_control_group_and_those_above_limit() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("job/memory.max", "4096\n");
        put("job/step/memory.max", "max\n");
        put("job/step/task/memory.max", "8192\n");
        put("other/memory.max", "1\n");
        assert_eq!(group_limit(root, "0::/job/step/task\n"), Some(4096.0));
        assert_eq!(group_limit(root, "0::/job/step\n"), Some(4096.0));
        assert_eq!(group_limit(root, "0::/\n"), None);
        assert_eq!(group_limit(root, "0::/../elsewhere\n"), None);
        put("memory.max", "9000\n");
        assert_eq!(group_limit(root, "0::/../elsewhere\n"), Some(9000.0));

        put("memory/memory.limit_in_bytes", "9223372036854771712\n");
        put("memory/slurm/job/memory.limit_in_bytes", "2048\n");
        let own = "5:cpu,cpuacct:/a\n4:memory:/slurm/job/step\n0::/\n";
        assert_eq!(group_limit(root, own), Some(2048.0));
        assert_eq!(group_limit(root, ""), None);
    }

    #[test]
    fn a_configured_limit_wins() {
        assert_eq!(MemoryLimit::find(Some(2.0), 1).unwrap().bytes, 2.0 * GB);
        assert!(MemoryLimit::find(None, 1).unwrap().bytes > 0.0);
    }
}
