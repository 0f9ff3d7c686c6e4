//! The CPU against a GPU on the same data: the model alone, χ², Gram passes, a whole fit.

use std::time::Instant;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::row::Timings;
use super::{Engine, Sample, pool};
use crate::Result;
use crate::gram::gpu::Device;
use crate::gram::{Local, Objective, Pass, Precision};
use crate::model::{AnalysisMode, Experiment, TimeAxis, reference};

/// How much is compared.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Frames and angles.
    pub shape: (usize, usize),
    /// Repetitions of a pass.
    pub passes: usize,
    /// Repetitions of the model by itself and of a fit.
    pub long: usize,
}

impl Extent {
    /// 11 angles of 3000 frames.
    pub const WHOLE: Self = Self { shape: (3000, 11), passes: 5, long: 2 };
    /// For trying.
    pub const QUICK: Self = Self { shape: (300, 2), passes: 2, long: 1 };
}

/// From so many times to so many times faster, if anything is expected.
type Range = Option<(f64, f64)>;

/// Times of one kind of work on the CPU and on the GPU.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What, for people.
    pub what: &'static str,
    /// Precision of pairs.
    pub precision: Precision,
    /// Pairs that one repetition deals with.
    pub pairs: f64,
    /// On the CPU.
    pub cpu: Timings,
    /// On the GPU, where there is one, and the time of its kernels in a repetition, s.
    pub gpu: Option<(Timings, f64)>,
    /// The speed-up that the specification expects.
    pub expected: Range,
}

impl Comparison {
    /// How many times faster the GPU is.
    pub fn speed_up(&self) -> Option<f64> {
        self.gpu.as_ref().map(|(gpu, _)| self.cpu.best() / gpu.best())
    }

    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "what": self.what,
            "precision": self.precision.name(),
            "pairs": self.pairs,
            "cpu_seconds": self.cpu.best(),
            "cpu_seconds_median": self.cpu.median(),
            "cpu_pairs_per_second": self.pairs / self.cpu.best(),
            "gpu_seconds": self.gpu.as_ref().map(|(gpu, _)| gpu.best()),
            "gpu_seconds_median": self.gpu.as_ref().map(|(gpu, _)| gpu.median()),
            "gpu_kernel_seconds": self.gpu.as_ref().map(|(_, kernels)| kernels),
            "gpu_pairs_per_second": self.gpu.as_ref().map(|(gpu, _)| self.pairs / gpu.best()),
            "speed_up": self.speed_up(),
            "expected_speed_up": self.expected.map(|(least, most)| [least, most]),
        })
    }
}

/// Kinds of passes: what, kind, precision, expected speed-up.
const PASSES: [(&str, Pass, Precision, Range); 3] = [
    ("residuals (χ² pass)", Pass::Chi2, Precision::F64, Some((10.0, 50.0))),
    ("whole pass", Pass::Gram, Precision::F64, None),
    ("whole pass", Pass::Gram, Precision::Mixed, None),
];

/// Does every kind of work on so many threads and, in turns, on the GPU that is given with the bytes of it that may be used.
///
/// # Errors
/// Where the GPU fails, or threads can't be started.
pub fn compare(extent: Extent, threads: usize, gpu: Option<(Box<dyn Device>, usize)>) -> Result<Vec<Comparison>> {
    let sample = Sample::new(AnalysisMode::LaminarFlow, extent.shape);
    let mut objective = sample.objective(pool(threads)?)?;
    let has_gpu = gpu.is_some();
    if let Some((device, budget)) = gpu {
        objective.engine().accelerate(device, budget)?;
    }
    let pairs = sample.experiment.n_pairs() as f64;
    let point = sample.point();
    let mut rows = Vec::new();

    let (axis, crew) = (TimeAxis::without_derivatives(&sample.experiment, &point.physical), pool(threads)?);
    let (cpu, gpu) = in_turns(&mut objective, extent.long, has_gpu, |objective, on_gpu| {
        if on_gpu {
            return objective.engine().model(0, &point);
        }
        let sum = crew.install(|| model(&sample.experiment, &axis));
        // so that it isn't left out
        std::hint::black_box(sum);
        Ok(())
    })?;
    let what = "c2 of the model";
    rows.push(Comparison { what, precision: Precision::F64, pairs, cpu, gpu, expected: Some((50.0, 100.0)) });

    for (what, pass, precision, expected) in PASSES {
        objective.engine().set_precision(precision);
        let points = std::slice::from_ref(&point);
        let (cpu, gpu) = in_turns(&mut objective, extent.passes, has_gpu, |objective, _| {
            objective.evaluate(0, points, pass).map(drop)
        })?;
        rows.push(Comparison { what, precision, pairs, cpu, gpu, expected });
    }

    let engine = Engine { isa: crate::arithmetic::instruction_sets()[0] };
    let mut of_fit = 0.0;
    let (cpu, gpu) = in_turns(&mut objective, extent.long, has_gpu, |objective, _| {
        of_fit = super::fit(&sample, objective, engine, threads, 1)?.pairs;
        Ok(())
    })?;
    let expected = Some((10.0, 20.0));
    rows.push(Comparison { what: "whole fit", precision: Precision::F64, pairs: of_fit, cpu, gpu, expected });
    Ok(rows)
}

type Times = (Timings, Option<(Timings, f64)>);

/// Times work on the CPU and on the GPU, in turns; the first turn isn't counted.
fn in_turns(
    objective: &mut Local,
    repetitions: usize,
    has_gpu: bool,
    mut work: impl FnMut(&mut Local, bool) -> Result<()>,
) -> Result<Times> {
    let (mut cpu, mut gpu, mut kernels) = (Vec::new(), Vec::new(), f64::INFINITY);
    for turn in 0..=repetitions {
        for on_gpu in [false, true].into_iter().take(if has_gpu { 2 } else { 1 }) {
            objective.engine().rest(!on_gpu);
            let before = objective.engine().usage().unwrap_or_default().kernels;
            let begin = Instant::now();
            work(objective, on_gpu)?;
            let took = begin.elapsed().as_secs_f64();
            if turn == 0 {
                continue;
            }
            if on_gpu {
                gpu.push(took);
                kernels = kernels.min(objective.engine().usage().unwrap_or_default().kernels - before);
            } else {
                cpu.push(took);
            }
        }
    }
    Ok((Timings::new(cpu), has_gpu.then(|| (Timings::new(gpu), kernels))))
}

/// c2 of every pair, as `fitted_data.npz` has it, by the threads of the rayon pool in which it is called; their sum.
fn model(e: &Experiment, axis: &TimeAxis) -> f64 {
    let row = |angle: usize, i: usize| (i + 1..e.n_frames).map(|j| reference::shape(e, axis, angle, i, j)).sum::<f64>();
    let rows = (0..e.n_angles() * e.n_frames).into_par_iter();
    rows.map(|k| row(k / e.n_frames, k % e.n_frames)).sum()
}
