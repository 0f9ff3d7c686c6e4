//! The shape g along rows of a matrix, for those who look at whole matrices: [`super::reference::shape`] from tables of
//! exponentials and sines, some ten times as fast.

use std::ops::Range;

use super::{Experiment, TimeAxis, reference};

/// Frames that share a table: exponentials over so few frames don't overflow where g can be seen.
const BLOCK: usize = 64;
/// Below this phase 1 − x²/6 is sinc(x) to the last digit.
const TINY: f64 = 1e-4;

/// g along the rows of one angle at one point.
pub struct ShapeRows<'a> {
    experiment: &'a Experiment,
    axis: &'a TimeAxis,
    angle: usize,
    /// exp(−q²·∫D dt) from the first frame of a frame's block to the frame.
    decay: Vec<f64>,
    /// Phase from there, its sine and its cosine; empty without shear.
    phase: Vec<[f64; 3]>,
}

impl<'a> ShapeRows<'a> {
    /// Tables of one angle; the axis may be one without derivatives.
    pub fn new(experiment: &'a Experiment, axis: &'a TimeAxis, angle: usize) -> Self {
        let n = experiment.n_frames;
        let mut rows = Self { experiment, axis, angle, decay: Vec::with_capacity(n), phase: Vec::new() };
        for j in 0..n {
            rows.decay.push(rows.exponential(j / BLOCK * BLOCK, j));
        }
        if axis.shear.is_some() {
            rows.phase = (0..n).map(|j| rows.turn(j / BLOCK * BLOCK, j)).collect();
        }
        rows
    }

    #[inline(always)]
    fn exponential(&self, i: usize, j: usize) -> f64 {
        (-self.experiment.diffusion_factor() * self.axis.diffusion.integral.difference(i, j)).exp()
    }

    /// Phase from frame i to frame j, its sine and its cosine.
    #[inline(always)]
    fn turn(&self, i: usize, j: usize) -> [f64; 3] {
        let Some(shear) = &self.axis.shear else { return [0.0, 0.0, 1.0] };
        let (p, _) = self.axis.phase_factors(self.experiment, self.angle);
        let (d, d_low) = shear.integral.difference_pair(i, j);
        let x = p * d;
        // what rounding took from x
        let rest = p.mul_add(d, -x) + p * d_low;
        let (sin, cos) = x.sin_cos();
        [x + rest, sin + rest * cos, cos - rest * sin]
    }

    /// g of frame i with the frames of `columns`, all behind it, into `out`.
    ///
    /// # Panics
    /// Where `out` is shorter than `columns`.
    #[inline(always)]
    pub fn fill(&self, i: usize, columns: Range<usize>, out: &mut [f64]) {
        let mut at = columns.start;
        while at < columns.end {
            let first = at / BLOCK * BLOCK;
            let end = (first + BLOCK).min(columns.end);
            let part = &mut out[at - columns.start..end - columns.start];
            if first > i {
                self.block(i, first, at..end, part);
            } else {
                for (g, j) in part.iter_mut().zip(at..) {
                    *g = reference::shape(self.experiment, self.axis, self.angle, i, j);
                }
            }
            at = end;
        }
    }

    /// The same within a block that lies behind frame i.
    #[inline(always)]
    fn block(&self, i: usize, first: usize, columns: Range<usize>, out: &mut [f64]) {
        let before = self.exponential(i, first);
        let decay = &self.decay[columns.clone()];
        if self.phase.is_empty() {
            for (g, decay) in out.iter_mut().zip(decay) {
                *g = before * decay;
            }
            return;
        }
        let [x0, sin0, cos0] = self.turn(i, first);
        let quartic = self.experiment.convention.power() == 4;
        for ((g, decay), &[x, sin, cos]) in out.iter_mut().zip(decay).zip(&self.phase[columns]) {
            // both phases have one sign, so nothing cancels in the sum
            let (x, sin) = (x0 + x, sin0 * cos + cos0 * sin);
            let sinc = if x.abs() < TINY { 1.0 - x * x / 6.0 } else { sin / x };
            let square = sinc * sinc;
            *g = before * decay * if quartic { square * square } else { square };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AnalysisMode, ShearConvention};
    use super::*;

    #[test]
    fn rows_are_those_of_the_reference() {
        let points = [
            [1e4, -0.5, 100.0, 0.02, -0.3, 2e-4, -3.0],
            // hundreds of turns, decay within a frame, hardly any of either
            [4e3, 0.9, 2e3, 5.0, 0.7, -1e-3, 5.0],
            [1e9, -1.5, 1e7, 1e-3, -1.7, 0.01, 9.0],
            [1.0, 0.0, 0.0, 1e-9, 0.0, 0.0, 70.0],
        ];
        for convention in [ShearConvention::Homodyne, ShearConvention::Theory] {
            for mode in [AnalysisMode::Static, AnalysisMode::LaminarFlow] {
                let mut e = Experiment::sheared(vec![-20.0, 35.0], 203);
                (e.convention, e.mode) = (convention, mode);
                for point in &points {
                    let axis = TimeAxis::without_derivatives(&e, &point[..mode.n_physical()]);
                    for angle in 0..2 {
                        let rows = ShapeRows::new(&e, &axis, angle);
                        let mut g = vec![0.0; e.n_frames];
                        for (i, columns) in [(0, 1..203), (63, 64..65), (70, 71..203), (100, 150..160), (201, 202..203)]
                        {
                            rows.fill(i, columns.clone(), &mut g);
                            for (g, j) in g.iter().zip(columns) {
                                let expected = reference::shape(&e, &axis, angle, i, j);
                                assert!((g - expected).abs() < 1e-12, "({i}, {j}): {g} against {expected}");
                            }
                        }
                    }
                }
            }
        }
    }
}
