//! The machine: what it is and what it can do at best.

use std::hint::black_box;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

use super::{Plan, Timings};
use crate::Result;
use crate::arithmetic::{fma_per_second, instruction_sets, read_bytes_per_second};
use crate::cluster::physical_memory;

/// Time of one measurement of multiply-adds.
const FMA_TIME: Duration = Duration::from_millis(10);
/// Repetitions of each.
const REPETITIONS: usize = 7;

/// Rates of one thing for one and for several threads.
#[derive(Debug, Clone)]
struct Rates {
    /// Threads at work.
    threads: usize,
    /// Per second, of every repetition, the inverse as a time.
    inverse: Timings,
}

impl Rates {
    fn measure(threads: usize, mut once: impl FnMut() -> Result<f64>) -> Result<Self> {
        let inverse = (0..REPETITIONS).map(|_| Ok(1.0 / once()?)).collect::<Result<Vec<_>>>()?;
        Ok(Self { threads, inverse: Timings::new(inverse) })
    }

    fn best(&self) -> f64 {
        1.0 / self.inverse.best()
    }

    fn json(&self) -> Value {
        json!({ "threads": self.threads, "per_second": self.best(), "per_second_median": 1.0 / self.inverse.median() })
    }
}

/// The machine as it was measured.
pub struct Machine {
    /// Name of the processor; empty where the system doesn't say.
    pub processor: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Bytes of memory; 0 where the system doesn't say.
    pub memory: f64,
    /// Bytes of the last cache; 0 where the system doesn't say.
    pub last_cache: usize,
    /// f64 fused multiply-adds by instruction set, for every number of threads.
    fma: Vec<(&'static str, Vec<Rates>)>,
    /// Bytes read from memory, for every number of threads.
    read: Vec<Rates>,
    array: Vec<f32>,
}

/// Cores in the affinity mask of this process.
pub fn cores() -> usize {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).count().max(1)
}

/// Name of the processor; empty where the system doesn't say.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(String::new, |(_, name)| name.trim().to_owned())
}

/// The largest cache that the first core sees.
fn last_cache() -> usize {
    let size = |index: usize| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
        std::fs::read_to_string(path).ok()?.trim().strip_suffix('K')?.parse::<usize>().ok()
    };
    (0..5).filter_map(size).max().unwrap_or(0) * 1024
}

impl Machine {
    /// Looks and measures: peaks of every instruction set, bandwidth of the memory.
    ///
    /// # Errors
    /// None on a machine whose instruction sets stay what they are.
    pub fn measure(plan: &Plan) -> Result<Self> {
        let array = vec![black_box(1.0f32); plan.memory / size_of::<f32>()];
        let fma = instruction_sets().into_iter().map(|isa| {
            let rates =
                plan.threads.iter().map(|&threads| Rates::measure(threads, || fma_per_second(isa, threads, FMA_TIME)));
            Ok((isa, rates.collect::<Result<Vec<_>>>()?))
        });
        let fma = fma.collect::<Result<Vec<_>>>()?;
        let read = plan
            .threads
            .iter()
            .map(|&threads| Rates::measure(threads, || Ok(read_bytes_per_second(&array, threads))))
            .collect::<Result<Vec<_>>>()?;
        let (memory, last_cache) = (physical_memory().unwrap_or(0.0), last_cache());
        Ok(Self { processor: processor(), cores: cores(), memory, last_cache, fma, read, array })
    }

    /// Puts other data into the caches where `bytes` would fit into them and there is enough of the other.
    pub(super) fn clear_caches(&self, bytes: usize) {
        let entries = self.last_cache / size_of::<f32>();
        if bytes < self.last_cache && entries <= self.array.len() {
            read_bytes_per_second(&self.array[..entries], self.cores);
        }
    }

    /// Fused multiply-adds per second of one core; NaN for an instruction set that isn't there.
    pub fn fma_per_core(&self, isa: &str) -> f64 {
        let rates = self.fma.iter().find(|(name, _)| *name == isa);
        rates.map_or(f64::NAN, |(_, rates)| rates[0].best() / rates[0].threads as f64)
    }

    /// The instruction sets with (threads, multiply-adds per second) each.
    pub fn fma_rates(&self) -> impl Iterator<Item = (&'static str, Vec<(usize, f64)>)> {
        self.fma.iter().map(|(isa, rates)| (*isa, rates.iter().map(|r| (r.threads, r.best())).collect()))
    }

    /// (threads, bytes per second) of reading memory.
    pub fn read_rates(&self) -> Vec<(usize, f64)> {
        self.read.iter().map(|r| (r.threads, r.best())).collect()
    }

    /// Bytes of the array whose reading was measured.
    pub fn array_bytes(&self) -> usize {
        size_of_val(&self.array[..])
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let sets = instruction_sets();
        let list = |rates: &[Rates]| rates.iter().map(Rates::json).collect::<Vec<_>>();
        let fma: Map<String, Value> =
            self.fma.iter().map(|(isa, rates)| ((*isa).to_owned(), json!(list(rates)))).collect();
        json!({
            "processor": self.processor,
            "cores": self.cores,
            "isa": sets,
            "memory_bytes": self.memory,
            "last_cache_bytes": self.last_cache,
            "fma_per_second_per_core": self.fma_per_core(sets[0]),
            "fma_per_second": fma,
            "read_bytes_per_second": self.read.iter().map(Rates::best).fold(0.0, f64::max),
            "read": list(&self.read),
            "read_array_bytes": self.array_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let plan = Plan { memory: 1 << 20, ..Plan::quick(vec![1]) };
        let machine = Machine::measure(&plan).unwrap();
        assert!(machine.cores >= 1 && machine.fma_per_core(instruction_sets()[0]) > 1e6);
        let json = machine.json();
        assert!(json["read_bytes_per_second"].as_f64().unwrap() > 1e6);
        assert_eq!(json["read_array_bytes"], 1 << 20);
    }
}
