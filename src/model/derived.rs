//! What people want to know beside the parameters: quantities that follow from them, with their derivatives for errors.

use super::{Basis, Block, Cumulative, Experiment, PHYSICAL, TimeAxis};

/// A quantity that follows from one block of parameters at one point.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// Name in results.
    pub name: &'static str,
    /// Unit, as printed.
    pub unit: &'static str,
    /// What it is.
    pub description: &'static str,
    /// 0: diffusion, 1: shear.
    pub block: usize,
    /// Its value.
    pub value: f64,
    /// Its derivatives by the block's valley coordinates (A, B, κ).
    pub gradient: [f64; 3],
}

/// Time at which the power law is its amplitude, s.
const ONE: f64 = 1.0;

/// All of them: rates at t_ref with their slopes, sums of amplitude and offset, the strain that shear accumulates over the window.
pub fn derived(experiment: &Experiment, physical: &[f64]) -> Vec<Derived> {
    let t_ref = experiment.t_ref();
    let names = [
        [
            ("D_at_t_ref", "transport coefficient at the reference time"),
            ("D_slope_at_t_ref", "its slope in ln t there"),
            ("D0_plus_D_offset", "transport coefficient at t = 1 s, D0 + D_offset"),
        ],
        [
            ("gamma_dot_at_t_ref", "shear rate at the reference time"),
            ("gamma_dot_slope_at_t_ref", "its slope in ln t there"),
            ("gamma_dot_t0_plus_offset", "shear rate at t = 1 s, gamma_dot_t0 + gamma_dot_t_offset"),
        ],
    ];
    let mut out = Vec::new();
    for (block, names) in names.iter().enumerate().take(physical.len() / 3) {
        let own = Block::from_slice(&physical[3 * block..]);
        let [a, b, _] = own.to_valley(t_ref);
        let at_one = (own.amplitude + own.offset, own.gradient(ONE, t_ref));
        let values = [(a, [1.0, 0.0, 0.0]), (b, [0.0, 1.0, 0.0]), at_one];
        out.extend(names.iter().zip(values).map(|(&(name, description), (value, gradient))| Derived {
            name,
            unit: PHYSICAL[3 * block].unit,
            description,
            block,
            value,
            gradient,
        }));
    }
    if let Some(shear) = &TimeAxis::new(experiment, physical, Basis::Valley).shear {
        // from the first frame to the last, in units of one frame until here
        let over = |sum: &Cumulative| experiment.dt * sum.difference(0, sum.len() - 1);
        out.push(Derived {
            name: "accumulated_strain",
            unit: "1",
            description: "shear rate integrated over the selected frames",
            block: 1,
            value: over(&shear.integral),
            gradient: std::array::from_fn(|k| over(&shear.derivatives[k])),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AnalysisMode, ShearConvention};

    #[test]
    fn gradients_are_the_finite_differences_in_valley_coordinates() {
        let experiment = Experiment {
            mode: AnalysisMode::LaminarFlow,
            convention: ShearConvention::Homodyne,
            q: 0.0054,
            gap: 2e6,
            dt: 0.1,
            phi: vec![0.0],
            n_frames: 400,
            time_offset: 0,
        };
        let point = [9e3, -0.4, 300.0, 2e-3, 0.3, 1e-4, 5.0];
        let t_ref = experiment.t_ref();
        let here = derived(&experiment, &point);
        assert_eq!(here.len(), 7);
        assert_eq!(here[2].value, 9300.0);
        for k in 0..6 {
            let (block, coordinate) = (k / 3, k % 3);
            let at = |by: f64| {
                let mut valley = Block::from_slice(&point[3 * block..]).to_valley(t_ref);
                valley[coordinate] += by;
                let mut point = point;
                point[3 * block..3 * block + 3].copy_from_slice(&Block::from_valley(valley, t_ref).to_array());
                derived(&experiment, &point)
            };
            let h = 1e-5 * Block::from_slice(&point[3 * block..]).to_valley(t_ref)[coordinate].abs();
            for ((up, down), own) in at(h).iter().zip(&at(-h)).zip(&here).filter(|(_, own)| own.block == block) {
                let slope = (up.value - down.value) / (2.0 * h);
                let size = own.gradient[coordinate].abs() + 1e-4 * (own.value / h).abs() * 1e-5;
                assert!((slope - own.gradient[coordinate]).abs() < 1e-6 * size, "{} {k}: {slope}", own.name);
            }
        }
        // a constant rate accumulates rate × time
        let constant = derived(&experiment, &[9e3, 0.0, 0.0, 2e-3, 0.0, 0.0, 0.0]);
        let strain = constant.last().map(|d| d.value).unwrap_or_default();
        assert!((strain - 2e-3 * 0.1 * 399.0).abs() < 1e-12, "{strain}");
    }
}
