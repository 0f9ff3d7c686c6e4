//! Per-frame tables of one point: everything with an exp, a sin or a power in it, computed once per frame instead of per pair.

use super::Point;
use super::lanes::V;
use super::plan::{LANES, Level, TILE_COLUMNS};
use crate::model::{Basis, Cumulative, Experiment, TimeAxis};

/// Exponentials below this are taken as zero: nothing they enter can be seen, and denormals would cost time.
pub(crate) const NEGLIGIBLE: f64 = 1e-60;

/// Repeats the last value, so that eight can be read from any position.
fn padded(mut values: Vec<f64>) -> Vec<f64> {
    let last = values.last().copied().unwrap_or(0.0);
    values.extend([last; LANES]);
    values
}

/// Eight values from a position on.
#[inline(always)]
fn lanes(values: &[f64], first: usize) -> &V {
    // the slice has exactly eight elements, or indexing has panicked
    values[first..first + LANES].try_into().unwrap_or(&[0.0; LANES])
}

/// Running integrals gathered at the frames of a level, as hi + lo, padded by eight.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gathered {
    pub hi: Vec<f64>,
    pub lo: Vec<f64>,
}

impl Gathered {
    fn new(c: &Cumulative, frames: &[usize]) -> Self {
        let (hi, lo) = frames.iter().map(|&f| c.parts(f)).unzip();
        Self { hi: padded(hi), lo: padded(lo) }
    }

    /// Eight high parts from position k on.
    #[inline(always)]
    pub fn hi_lanes(&self, k: usize) -> &V {
        lanes(&self.hi, k)
    }

    /// Eight low parts.
    #[inline(always)]
    pub fn lo_lanes(&self, k: usize) -> &V {
        lanes(&self.lo, k)
    }

    /// Value at frame position k less that at position `at`.
    #[inline(always)]
    pub fn relative(&self, k: usize, at: usize) -> f64 {
        (self.hi[k] - self.hi[at]) + (self.lo[k] - self.lo[at])
    }
}

/// Sine and cosine of p·C^γ for one angle at every frame of the level, and the angle's factors.
#[derive(Debug, Clone, Default)]
pub(crate) struct AngleTables {
    /// s·cos(phi0 − φ).
    pub p: f64,
    /// Its derivative by phi0, 1/degree.
    pub dp: f64,
    pub sin: Vec<f64>,
    pub cos: Vec<f64>,
}

impl AngleTables {
    /// Eight sines from position k on.
    #[inline(always)]
    pub fn sin_lanes(&self, k: usize) -> &V {
        lanes(&self.sin, k)
    }

    /// Eight cosines.
    #[inline(always)]
    pub fn cos_lanes(&self, k: usize) -> &V {
        lanes(&self.cos, k)
    }
}

/// All tables of one point at one level, shared by tiles and threads.
pub(crate) struct Tables<'a> {
    pub experiment: &'a Experiment,
    /// q²·dt.
    pub k: f64,
    /// C^D.
    pub diffusion: Gathered,
    /// Integrals of its derivatives; empty in χ²-only passes.
    pub a: [Gathered; 3],
    /// C^γ last, before it the integrals of its derivatives (empty in χ²-only passes).
    pub b: [Gathered; 4],
    /// exp(−k·(C_j − C at the start of j's column block)).
    pub u: Vec<f64>,
    pub angles: Vec<AngleTables>,
    /// (contrast₀, offset₀).
    pub scaling: &'a [(f64, f64)],
}

/// exp(−x) with everything negligible flushed to zero.
#[inline]
pub(crate) fn decay(x: f64) -> f64 {
    let e = (-x).exp();
    if e < NEGLIGIBLE { 0.0 } else { e }
}

impl<'a> Tables<'a> {
    pub fn new(experiment: &'a Experiment, level: &'a Level, point: &'a Point, derivatives: bool) -> Self {
        let axis = if derivatives {
            TimeAxis::new(experiment, &point.physical, Basis::Valley)
        } else {
            TimeAxis::without_derivatives(experiment, &point.physical)
        };
        let frames = &level.frames[..];
        let k = experiment.diffusion_factor();
        let gather = |c: &Cumulative| if c.is_empty() { Gathered::default() } else { Gathered::new(c, frames) };
        let diffusion = gather(&axis.diffusion.integral);
        let a = std::array::from_fn(|n| gather(&axis.diffusion.derivatives[n]));
        let mut b: [Gathered; 4] = Default::default();
        let mut angles = Vec::new();
        if let Some(shear) = &axis.shear {
            for n in 0..3 {
                b[n] = gather(&shear.derivatives[n]);
            }
            b[3] = gather(&shear.integral);
            angles = (0..experiment.n_angles())
                .map(|angle| {
                    let (p, dp) = axis.phase_factors(experiment, angle);
                    let (sin, cos) = frames
                        .iter()
                        .map(|&f| {
                            // the phase reaches 1e9 rad: its rounding error is put back to first order
                            let (c, c_low) = shear.integral.difference_pair(frames[0], f);
                            let x = p * c;
                            let e = p.mul_add(c, -x) + p * c_low;
                            let (s, c) = x.sin_cos();
                            (e.mul_add(c, s), (-e).mul_add(s, c))
                        })
                        .unzip();
                    AngleTables { p, dp, sin: padded(sin), cos: padded(cos) }
                })
                .collect();
        }
        let u = padded(
            (0..frames.len()).map(|j| decay(k * diffusion.relative(j, j / TILE_COLUMNS * TILE_COLUMNS))).collect(),
        );
        Self { experiment, k, diffusion, a, b, u, angles, scaling: &point.scaling }
    }

    /// Eight column exponentials from position k on.
    #[inline(always)]
    pub fn u_lanes(&self, k: usize) -> &V {
        lanes(&self.u, k)
    }
}
