//! Where the ranks are: a line for every node.

use nix::unistd::gethostname;
use serde::{Deserialize, Serialize};

use super::{GB, World, physical_memory};

/// What a rank has to work with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Name of the machine.
    pub host: String,
    /// Its rank among those of the node.
    pub rank_on_node: usize,
    /// Processors that it may use, alone or with other ranks.
    pub cores: usize,
    /// Its threads.
    pub threads: usize,
    /// Physical memory of the node, bytes.
    pub memory: f64,
    /// Instruction set.
    pub instruction_set: String,
    /// Its GPU.
    pub gpu: Option<String>,
}

impl Place {
    /// That of this process.
    pub(super) fn own(world: &World, (cores, threads): (usize, usize), set: &str, gpu: Option<String>) -> Self {
        Self {
            host: host(),
            rank_on_node: world.rank_on_node(),
            cores,
            threads,
            memory: physical_memory().unwrap_or(0.0),
            instruction_set: set.into(),
            gpu,
        }
    }
}

/// Name of this machine.
pub(super) fn host() -> String {
    gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "unknown".into())
}

/// Different ones of a list, with how often each comes where that isn't once.
fn counted<T: PartialEq + std::fmt::Display>(all: impl Iterator<Item = T>) -> String {
    let mut found: Vec<(T, usize)> = Vec::new();
    for one in all {
        match found.iter_mut().find(|(other, _)| *other == one) {
            Some((_, n)) => *n += 1,
            None => found.push((one, 1)),
        }
    }
    let text = |(one, n): &(T, usize)| if *n == 1 { one.to_string() } else { format!("{n} × {one}") };
    found.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// A line for every node. Ranks of a node need not follow one another: a node begins with each rank that is its first one, and
/// ranks are told apart by host where there are several nodes to a machine's name.
pub fn lines(places: &[Place]) -> Vec<String> {
    // (host, ranks): the k-th node of a host holds the k-th rank of every number on the node
    let mut nodes: Vec<(&str, Vec<usize>)> = Vec::new();
    for (rank, place) in places.iter().enumerate() {
        let at = nodes.iter_mut().find(|(host, ranks)| {
            *host == place.host && !ranks.iter().any(|&other| places[other].rank_on_node == place.rank_on_node)
        });
        match at {
            Some((_, ranks)) => ranks.push(rank),
            None => nodes.push((&place.host, vec![rank])),
        }
    }
    let line = |(host, ranks): &(&str, Vec<usize>)| {
        let own = || ranks.iter().map(|&rank| &places[rank]);
        let n = ranks.len();
        let (first, last) = (ranks[0], ranks[n - 1]);
        let which = match n {
            1 => format!("rank {first}"),
            _ if last - first + 1 == n => format!("ranks {first} to {last}"),
            _ => format!("ranks {}", ranks.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")),
        };
        let threads = counted(own().map(|place| place.threads));
        let cores = own().map(|place| place.cores).max().unwrap_or(0);
        let engine = counted(own().map(|place| match &place.gpu {
            Some(gpu) => gpu.clone(),
            None => format!("CPU {}", place.instruction_set),
        }));
        let memory = own().map(|place| place.memory).fold(0.0, f64::max) / GB;
        format!(
            "node {host}: {which}, threads {threads}, {cores} cores a rank at most, {memory:.1} GB memory, {engine}"
        )
    };
    nodes.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, rank_on_node: usize, gpu: Option<&str>) -> Place {
        Place {
            host: host.into(),
            rank_on_node,
            cores: 8,
            threads: 4,
            memory: 2.0 * GB,
            instruction_set: "avx2".into(),
            gpu: gpu.map(str::to_owned),
        }
    }

    #[test]
    fn every_node_has_a_line() {
        let block =
            [place("a", 0, Some("A100")), place("a", 1, Some("A100")), place("b", 0, None), place("b", 1, None)];
        let expected = [
            "node a: ranks 0 to 1, threads 2 × 4, 8 cores a rank at most, 2.0 GB memory, 2 × A100",
            "node b: ranks 2 to 3, threads 2 × 4, 8 cores a rank at most, 2.0 GB memory, 2 × CPU avx2",
        ];
        assert_eq!(lines(&block), expected);
        // dealt out in turns, and a host that stands for two nodes
        let cyclic = [place("a", 0, None), place("b", 0, None), place("a", 1, None), place("b", 1, None)];
        assert_eq!(lines(&cyclic).len(), 2);
        assert!(lines(&cyclic)[1].starts_with("node b: ranks 1 3, "));
        let twice = [place("a", 0, None), place("a", 1, None), place("a", 0, None)];
        assert!(lines(&twice)[1].starts_with("node a: rank 2, threads 4, "));
    }
}
