//! What a launch is told: which kernel a pass needs, integrals and angles of its points.

use bytemuck::bytes_of;

use super::super::axis::Integrate;
use super::super::{CpuEngine, Pass, Point, Precision, Shard};
use super::arguments::{self, Angle, INTEGRALS, THREADS, shared};
use super::device::{Device, Launch, Outcome};

/// Most blocks of a launch: several times what any device works on at once; each goes on to further tiles.
pub(super) const MOST_BLOCKS: u64 = 8192;

/// The number of a loss, as `kernels/model.cuh` has it: 0 = squares.
pub(super) fn loss_number(pass: Pass) -> u32 {
    if let Pass::Robust { loss, .. } = pass { 1 + loss as u32 } else { 0 }
}

/// A kernel of tiles.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    name: &'static str,
    /// Bytes that the threads of a block share.
    shared: u32,
}

impl Kernel {
    /// For a pass; `weighted`: every pair has a σ of its own. Passes for χ² alone and exact ones are always made in f64.
    pub fn of(host: &CpuEngine, pass: Pass, weighted: bool) -> Self {
        let mixed = host.precision == Precision::Mixed && !matches!(pass, Pass::Chi2 | Pass::Exact);
        let names = match pass {
            Pass::Gram | Pass::Slopes if !weighted && mixed => {
                ["mixed_gram_still", "mixed_gram_square", "mixed_gram_quartic"]
            }
            Pass::Gram | Pass::Exact | Pass::Slopes if !weighted => ["gram_still", "gram_square", "gram_quartic"],
            Pass::Chi2 if !weighted => ["chi2_still", "chi2_square", "chi2_quartic"],
            _ if mixed => ["mixed_robust_still", "mixed_robust_square", "mixed_robust_quartic"],
            _ => ["robust_still", "robust_square", "robust_quartic"],
        };
        Self { name: names[shape(host)], shared: shared(if mixed { size_of::<f32>() } else { size_of::<f64>() }) }
    }

    /// For the model alone.
    pub fn of_model(host: &CpuEngine) -> Self {
        let name = ["model_still", "model_square", "model_quartic"][shape(host)];
        Self { name, shared: shared(size_of::<f64>()) }
    }

    pub fn launch(self, device: &mut impl Device, pass: arguments::Pass) -> Outcome<()> {
        let blocks = (u64::from(pass.n_tiles) * u64::from(pass.n_points)).min(MOST_BLOCKS) as u32;
        let Self { name: kernel, shared } = self;
        device.launch(&Launch { kernel, blocks, threads: THREADS, shared, argument: bytes_of(&pass) })
    }
}

/// Which of the kernels that a pass has: static, sinc² or sinc⁴.
fn shape(host: &CpuEngine) -> usize {
    match host.experiment.convention.power() {
        _ if !host.experiment.mode.has_shear() => 0,
        2 => 1,
        _ => 2,
    }
}

/// By point and frame of the level: the integrals' hi, then their lo.
pub(super) fn axis(host: &CpuEngine, shard: &Shard, points: &[Point], pass: Pass) -> Vec<f64> {
    let derivatives = pass != Pass::Chi2 || shard.sigma.is_some();
    let mut out = Vec::with_capacity(points.len() * shard.level.frames.len() * 2 * INTEGRALS);
    for point in points {
        let frames = &shard.level.frames;
        let axis = host.set.run(Integrate { clock: &host.clock, physical: &point.physical, frames, derivatives });
        for (hi, lo) in axis.hi.iter().zip(&axis.lo) {
            out.extend(hi);
            out.extend(lo);
        }
    }
    out
}

pub(super) fn angles(host: &CpuEngine, points: &[Point], pass: Pass) -> Vec<Angle> {
    let factor = if let Pass::Robust { doublings, .. } = pass { f64::from(doublings).exp2() } else { 1.0 };
    let experiment = &host.experiment;
    let of_point = |point: &Point| {
        let angle = |angle: usize| {
            let sheared = experiment.mode.has_shear();
            let (p, dp) = if sheared { experiment.phase_factors(point.physical[6], angle) } else { (0.0, 0.0) };
            let (contrast, offset) = point.scaling[angle];
            let unit = host.sigma[angle];
            Angle { p, dp, contrast, offset, sigma: factor * unit, unit }
        };
        (0..experiment.n_angles()).map(angle).collect::<Vec<_>>()
    };
    points.iter().flat_map(of_point).collect()
}
