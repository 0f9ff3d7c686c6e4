//! What the processor could do at best: fused multiply-adds and bytes read per second, to hold a pass against.
//!
//! Both are loops that do nothing else. Multiply-adds run in independent chains, enough to hide their latency, on the
//! instruction set of the pass; bytes are summed from an array that the caller makes larger than the caches.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::isa::{InstructionSet, Kernel};
use super::lanes::{Isa, LANES};
use crate::Result;

/// Chains where two panels fit into the registers: more than latency (4) times units (2) ask for.
const CHAINS_WIDE: usize = 16;
/// Chains where a value is two registers of 16: twelve registers hold sums, the rest the factors.
const CHAINS: usize = 6;
/// Steps between looks at the clock: some 100 µs with the fast sets, milliseconds without multiply-add in hardware.
const STEPS: usize = 20_000;
/// The same where multiply-adds may take nanoseconds each.
const STEPS_PORTABLE: usize = 200;
/// Factor of every step: the chains stay finite and never become denormal.
const FACTOR: f64 = 0.999_999;
/// Addend of every step.
const ADDEND: f64 = 1e-3;
/// Sums that a thread keeps while it reads: enough to hide the latency of adding.
const SUMS: usize = 64;

/// `steps` multiply-adds in each of `CHAINS` chains.
#[inline(always)]
fn chains<I: Isa, const CHAINS: usize>(isa: I, steps: usize) -> f64 {
    let (x, y) = (isa.splat(black_box(FACTOR)), isa.splat(black_box(ADDEND)));
    let mut sums = [isa.zero(); CHAINS];
    for (k, sum) in sums.iter_mut().enumerate() {
        // unlike each other, or the compiler might keep one
        *sum = isa.splat(black_box(k as f64));
    }
    for _ in 0..steps {
        for k in 0..CHAINS {
            sums[k] = isa.fma(sums[k], x, y);
        }
    }
    let mut total = isa.zero();
    for k in 0..CHAINS {
        total = isa.add(total, sums[k]);
    }
    let mut out = [0.0; LANES];
    isa.store(total, &mut out);
    super::lanes::sum(out)
}

/// As many chains of so many steps as suit the instruction set.
struct Chains(usize);

impl Kernel for Chains {
    /// How many steps there were, and what came out.
    type Output = (usize, f64);

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> (usize, f64) {
        if I::WIDE {
            (CHAINS_WIDE * self.0, chains::<I, CHAINS_WIDE>(isa, self.0))
        } else {
            (CHAINS * self.0, chains::<I, CHAINS>(isa, self.0))
        }
    }
}

/// A round of multiply-adds; returns how many f64 ones there were.
fn round(set: InstructionSet) -> usize {
    let steps = if matches!(set, InstructionSet::Portable(_)) { STEPS_PORTABLE } else { STEPS };
    let (n, sum) = set.run(Chains(steps));
    black_box(sum);
    n * LANES
}

/// Runs `work(thread)` on so many threads at once and returns what they got done per second of the slowest.
fn per_second(threads: usize, work: impl Fn(usize) -> f64 + Sync) -> f64 {
    let start = Barrier::new(threads);
    let one = &|thread: usize| {
        start.wait();
        let begin = Instant::now();
        let done = work(thread);
        (done, begin.elapsed().as_secs_f64())
    };
    let results: Vec<(f64, f64)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        let first = one(0);
        // a panic of another thread is passed on
        std::iter::once(first)
            .chain(others.into_iter().map(|o| o.join().unwrap_or_else(|p| std::panic::resume_unwind(p))))
            .collect()
    });
    let longest = results.iter().map(|r| r.1).fold(f64::MIN_POSITIVE, f64::max);
    results.iter().map(|r| r.0).sum::<f64>() / longest
}

/// f64 fused multiply-adds per second (8 in an AVX-512 instruction) of so many threads at once, measured for `time`.
///
/// # Errors
/// [`crate::Error::Usage`] when this processor hasn't got the instruction set.
pub fn fma_per_second(instruction_set: &str, threads: usize, time: Duration) -> Result<f64> {
    let set = InstructionSet::named(instruction_set, "instruction set ")?;
    Ok(per_second(threads.max(1), |_| {
        let begin = Instant::now();
        let mut done = 0;
        while begin.elapsed() < time {
            done += round(set);
        }
        done as f64
    }))
}

fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0f32; SUMS];
    for chunk in values.chunks_exact(SUMS) {
        for (s, v) in sums.iter_mut().zip(chunk) {
            *s += v;
        }
    }
    sums.iter().sum()
}

/// Bytes per second that so many threads read from an array, each its own part of it, once.
pub fn read_bytes_per_second(values: &[f32], threads: usize) -> f64 {
    let threads = threads.max(1);
    let part = values.len().div_ceil(threads).max(1);
    per_second(threads, |thread| {
        let own = &values[(thread * part).min(values.len())..((thread + 1) * part).min(values.len())];
        black_box(sum(own));
        size_of_val(own) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_has_a_peak() {
        for set in InstructionSet::available() {
            let rate = fma_per_second(set.name(), 1, Duration::from_millis(2)).unwrap();
            assert!(rate.is_finite() && rate > 1e6, "{}: {rate}", set.name());
            assert!(black_box(round(set)).is_multiple_of(LANES));
        }
        assert!(fma_per_second("mmx", 1, Duration::ZERO).unwrap_err().to_string().contains("mmx"));
    }

    #[test]
    fn all_of_the_array_is_read() {
        let values = vec![1.0f32; 64 * 1001];
        assert_eq!(sum(&values), 64.0 * 1001.0);
        assert!(read_bytes_per_second(&values, 3) > 0.0);
        assert!(read_bytes_per_second(&values[..1], 2).is_finite());
    }
}
