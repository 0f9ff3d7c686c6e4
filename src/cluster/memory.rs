//! Memory of this machine and this process, as the kernel counts it.

use std::sync::{Mutex, PoisonError};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// Memory of the machine, bytes.
pub fn physical() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
    let kb: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kb * 1024.0)
}

/// What the shell's limit on the addresses of a process (`ulimit -v`) leaves beside those in use, bytes; `None` without one.
pub fn left_by_shell() -> Option<f64> {
    let (limit, _) = getrlimit(Resource::RLIMIT_AS).ok()?;
    (limit != RLIM_INFINITY).then(|| limit.saturating_sub(of_status("VmSize:")) as f64)
}

/// Largest resident memory so far, bytes; 0 where the kernel doesn't say.
pub fn peak() -> u64 {
    of_status("VmHWM:")
}

/// Resident memory now, likewise.
pub fn resident() -> u64 {
    of_status("VmRSS:")
}

/// A figure of this process, bytes; 0 where the kernel doesn't say.
fn of_status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kb| kb * 1024)
}

/// Resident memory over a run, from samples.
#[derive(Debug, Default)]
pub struct Samples {
    /// Number, mean and sum of squared differences from it.
    sums: Mutex<(u64, f64, f64)>,
}

impl Samples {
    /// Takes one.
    pub fn take(&self) {
        self.add(resident() as f64);
    }

    fn add(&self, bytes: f64) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let (n, mean, squares) = *sums;
        let new = mean + (bytes - mean) / (n + 1) as f64;
        *sums = (n + 1, new, squares + (bytes - mean) * (bytes - new));
    }

    /// Mean, bytes, and standard deviation over it; zeros without samples.
    pub fn steady(&self) -> (f64, f64) {
        let (n, mean, squares) = *self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if n == 0 || mean == 0.0 { (0.0, 0.0) } else { (mean, (squares / n as f64).sqrt() / mean) }
    }
}

#[cfg(test)]
mod tests {
    use super::Samples;

    #[test]
    fn samples_give_mean_and_variation() {
        let samples = Samples::default();
        assert_eq!(samples.steady(), (0.0, 0.0));
        [3.0, 5.0, 4.0, 8.0].into_iter().for_each(|bytes| samples.add(bytes));
        let (mean, variation) = samples.steady();
        assert!((mean - 5.0).abs() < 1e-12 && (variation - 3.5f64.sqrt() / 5.0).abs() < 1e-12, "{variation}");
        samples.take();
        assert!(samples.steady().0 > 1e5);
    }

    #[test]
    fn counts_what_was_touched() {
        let before = super::peak();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(super::peak() >= before.max(64 << 20), "{}", block.len());
    }
}
