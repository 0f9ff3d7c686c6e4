//! Data to measure with: the model at known parameters, with noise and holes.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use crate::Result;
use crate::gram::{Local, Point};
use crate::model::{AnalysisMode, Experiment, ShearConvention, TimeAxis, reference};

/// Wavevector magnitude, Å⁻¹; with the parameters below c2 decays over a good part of the window.
const Q: f64 = 0.0054;
/// Gap, Å.
const GAP: f64 = 2e6;
/// Time that the frames span, s, whatever their number.
const WINDOW: f64 = 300.0;
/// Physical parameters that samples are made with.
pub const PHYSICAL: [f64; 7] = [4000.0, -0.4, 300.0, 4e-4, -0.3, 5e-5, -2.0];
/// Contrast and offset.
const SCALING: (f64, f64) = (0.3, 1.0);
/// Standard deviation of the noise.
const NOISE: f64 = 0.01;
/// Share of missing values: holes everywhere, as dead pixels and dropped frames leave them.
const MISSING: f64 = 1e-3;
/// Range of angles, degree.
const ANGLES: (f64, f64) = (-80.0, 160.0);

/// A measurement made up, the upper triangle of every angle in memory.
pub struct Sample {
    /// What was measured.
    pub experiment: Experiment,
    /// By angle: row 0 from column 1 on, row 1 from column 2 on, …
    triangles: Vec<Vec<f32>>,
}

impl Sample {
    /// What is measured in a sample of (frames, angles).
    pub fn experiment(mode: AnalysisMode, (n_frames, n_angles): (usize, usize)) -> Experiment {
        Experiment {
            mode,
            convention: ShearConvention::Homodyne,
            q: Q,
            gap: GAP,
            dt: WINDOW / n_frames as f64,
            phi: (0..n_angles).map(|k| ANGLES.0 + ANGLES.1 * k as f64 / n_angles as f64).collect(),
            n_frames,
            time_offset: 0,
        }
    }

    /// A sample of (frames, angles).
    pub fn new(mode: AnalysisMode, shape: (usize, usize)) -> Self {
        let experiment = Self::experiment(mode, shape);
        let (n_frames, n_angles) = shape;
        let axis = TimeAxis::without_derivatives(&experiment, &PHYSICAL[..mode.n_physical()]);
        let generator = ChaCha8Rng::seed_from_u64(1);
        let row = |angle: usize, i: usize| {
            // a stream of its own for every row: threads may take rows in any order
            let mut rng = generator.clone();
            rng.set_stream((angle as u64) << 32 | i as u64);
            let value = |j: usize| {
                let noise: f64 = StandardNormal.sample(&mut rng);
                let g = reference::shape(&experiment, &axis, angle, i, j);
                let value = (SCALING.1 + SCALING.0 * g + NOISE * noise) as f32;
                if rng.random_bool(MISSING) { f32::NAN } else { value }
            };
            (i + 1..n_frames).map(value).collect::<Vec<f32>>()
        };
        let triangles = (0..n_angles)
            .map(|angle| (0..n_frames).into_par_iter().map(|i| row(angle, i)).collect::<Vec<_>>().concat())
            .collect();
        Self { experiment, triangles }
    }

    /// Row i of an angle from column i + 1 on; NaN = missing.
    pub fn row_after(&self, angle: usize, i: usize) -> &[f32] {
        let n = self.experiment.n_frames;
        let start = i * (2 * n - i - 1) / 2;
        &self.triangles[angle][start..start + n - 1 - i]
    }

    /// Packed into tiles, for passes in this process.
    ///
    /// # Errors
    /// As [`Local::new`].
    pub fn objective(&self, pool: rayon::ThreadPool) -> Result<Local> {
        Local::new(self.experiment.clone(), pool, |angle, i| self.row_after(angle, i))
    }

    /// Where passes are evaluated: at the truth, near which a fit spends its time.
    pub fn point(&self) -> Point {
        let physical = PHYSICAL[..self.experiment.mode.n_physical()].to_vec();
        Point { physical, scaling: vec![SCALING; self.experiment.n_angles()] }
    }

    /// Bytes of an instance of this shape while its tiles are packed: values and tiles.
    pub fn bytes((n_frames, n_angles): (usize, usize)) -> f64 {
        (4 * n_frames * n_frames * n_angles) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_the_model_with_noise_and_holes() {
        let sample = Sample::new(AnalysisMode::LaminarFlow, (200, 2));
        let axis = TimeAxis::without_derivatives(&sample.experiment, &PHYSICAL);
        let (mut squares, mut holes) = (0.0, 0);
        for angle in 0..2 {
            for i in 0..200 {
                let row = sample.row_after(angle, i);
                assert_eq!(row.len(), 199 - i);
                for (k, &value) in row.iter().enumerate() {
                    let g = reference::shape(&sample.experiment, &axis, angle, i, i + 1 + k);
                    let r = f64::from(value) - SCALING.1 - SCALING.0 * g;
                    if r.is_nan() { holes += 1 } else { squares += r * r }
                }
            }
        }
        let n = 2.0 * 199.0 * 100.0;
        // five standard errors each
        assert!((squares / n / (NOISE * NOISE) - 1.0).abs() < 5.0 * (2.0 / n).sqrt() + MISSING, "{squares}");
        assert!((f64::from(holes) - n * MISSING).abs() < 5.0 * (n * MISSING).sqrt(), "{holes}");
    }
}
