//! CPU threads with, where there is one, a GPU on which passes are made.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use super::super::{COLUMNS, CpuEngine, Engine, Gram, Loss, Partial, Pass, Point, Precision};
use super::device::{Device, Usage};
use super::engine::GpuEngine;
use crate::{Error, Result, trace};

/// Where a GPU is compared with the CPU before it is used: moderate, with all columns at work.
const PROBE: [f64; 7] = [2e3, -0.3, 100.0, 1e-3, 0.2, 1e-4, 1.0];
/// Entries may differ by this much of √(G_aa·G_bb): wrong kernels differ by far more.
const SAME: f64 = 1e-9;
/// The same where pairs are taken in f32: several times [`super::MIXED_ROUNDING`].
const SAME_MIXED: f64 = 1e-4;

/// Who works on the data of a process. All that isn't a pass is as [`CpuEngine`] has it.
pub struct Accelerated {
    cpu: CpuEngine,
    gpu: Option<GpuEngine<Box<dyn Device>>>,
    rests: bool,
    /// Time of the last pass on the GPU, s.
    busy: f64,
}

impl Accelerated {
    /// The CPU alone.
    pub fn new(cpu: CpuEngine) -> Self {
        Self { cpu, gpu: None, rests: false, busy: 0.0 }
    }

    /// Makes passes on a device from now on, of which up to `budget` bytes may be used. The data must be complete.
    ///
    /// # Errors
    /// [`Error::Device`] where it fails or doesn't give on the coarsest level what the CPU gives.
    pub fn accelerate(&mut self, device: Box<dyn Device>, budget: usize) -> Result<()> {
        let mut gpu = GpuEngine::new(device, &self.cpu, budget)?;
        let level = self.cpu.shards().len() - 1;
        let experiment = &self.cpu.experiment;
        let physical = PROBE[..experiment.mode.n_physical()].to_vec();
        let points = [Point { physical, scaling: vec![(0.3, 1.0); experiment.n_angles()] }];
        for pass in [Pass::Gram, Pass::Chi2, Pass::Robust { loss: Loss::SoftL1, doublings: 0 }] {
            let expected = self.cpu.evaluate(level, &points, pass)?;
            let found = gpu.evaluate(&self.cpu, level, &points, pass)?;
            let worst = found.iter().zip(&expected).map(|(a, b)| distance(a, b, b)).fold(0.0, f64::max);
            let is_mixed = self.cpu.precision == Precision::Mixed && pass != Pass::Chi2;
            if found.len() != expected.len() || worst > if is_mixed { SAME_MIXED } else { SAME } {
                let message =
                    format!("its sums differ from the CPU's by {worst:.1e} of their size; please report this");
                return Err(Error::Device { name: gpu.name(), message });
            }
        }
        self.gpu = Some(gpu);
        Ok(())
    }

    /// Whether passes are made on the CPU all the same from now on, to compare both.
    pub fn rest(&mut self, rests: bool) {
        self.rests = rests;
    }

    /// As [`GpuEngine::model`], without giving the values.
    ///
    /// # Errors
    /// [`Error::Device`] where the GPU fails or there is none.
    pub fn model(&mut self, level: usize, point: &Point) -> Result<()> {
        match &mut self.gpu {
            Some(gpu) => gpu.model(&self.cpu, level, point, false).map(drop),
            None => Err(Error::Device { name: "GPU".into(), message: "there is none".into() }),
        }
    }

    /// The GPU, if passes are made on one.
    pub fn gpu(&self) -> Option<String> {
        self.gpu.as_ref().map(GpuEngine::name)
    }

    /// What the GPU has been used for, if passes are made on one.
    pub fn usage(&self) -> Option<Usage> {
        self.gpu.as_ref().map(GpuEngine::usage)
    }

    /// As [`CpuEngine::worked`]; a GPU works all the time.
    pub fn worked(&self) -> f64 {
        if self.gpu.is_some() { self.busy } else { self.cpu.worked() }
    }
}

/// Largest difference of two sums, in units of √(S_aa·S_bb) of a third one; not a number counts as infinite.
pub fn distance(a: &Gram, b: &Gram, scale: &Gram) -> f64 {
    let entries = (0..COLUMNS).flat_map(|i| (i..COLUMNS).map(move |j| (i, j)));
    let of = |(i, j)| {
        let (difference, size) = ((a.at(i, j) - b.at(i, j)).abs(), (scale.at(i, i) * scale.at(j, j)).sqrt());
        if difference == 0.0 { 0.0 } else { difference / size }
    };
    entries.map(of).fold(0.0, |most: f64, x| if x.is_nan() { f64::INFINITY } else { most.max(x) })
}

impl Deref for Accelerated {
    type Target = CpuEngine;

    fn deref(&self) -> &CpuEngine {
        &self.cpu
    }
}

impl DerefMut for Accelerated {
    fn deref_mut(&mut self) -> &mut CpuEngine {
        &mut self.cpu
    }
}

impl Accelerated {
    /// As [`CpuEngine::partial`]; a GPU, which has all pairs, lets nothing wait.
    ///
    /// # Errors
    /// [`Error::Device`] where the GPU fails.
    pub fn partial(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Partial> {
        let Some(gpu) = self.gpu.as_mut().filter(|_| !self.rests) else {
            return Ok(self.cpu.partial(level, points, pass));
        };
        let begin = Instant::now();
        let span = trace::span("execution").with(|| gpu.name());
        let sums = gpu.evaluate(&self.cpu, level, points, pass)?;
        drop(span);
        trace::counter("GPU memory, MB", gpu.usage().bytes as f64 / (1u64 << 20) as f64);
        self.busy = begin.elapsed().as_secs_f64();
        Ok(Partial { sums, waiting: Vec::new() })
    }
}

impl Engine for Accelerated {
    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Gram>> {
        if self.gpu.is_none() || self.rests {
            return self.cpu.evaluate(level, points, pass);
        }
        self.partial(level, points, pass).map(|partial| partial.sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_measured_by_the_diagonal() {
        let mut a = Gram::default();
        a.set(2, 2, 4.0);
        a.set(5, 5, 9.0);
        let mut b = a;
        assert_eq!(distance(&a, &b, &b), 0.0);
        b.set(2, 5, 0.6);
        assert!((distance(&b, &a, &a) - 0.1).abs() < 1e-15);
        b.set(2, 5, f64::NAN);
        assert_eq!(distance(&b, &a, &a), f64::INFINITY);
    }
}
