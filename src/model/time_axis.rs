//! Transport coefficient and shear rate on the time axis, their running integrals, and the integrals of their derivatives.

use super::{Block, Cumulative, Experiment};

/// Smallest transport coefficient (Å²/s) and shear rate (1/s): below it the model is floored and derivatives are zero.
pub const RATE_FLOOR: f64 = 1e-10;

/// In which coordinates derivatives are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// (amplitude, exponent, offset), as in the configuration.
    Natural,
    /// (A, B, κ) at the experiment's reference time, as in the solver.
    Valley,
}

/// One block on the full time axis.
#[derive(Debug, Clone)]
pub struct BlockAxis {
    /// The rate itself at every frame: D in Å²/s, γ̇ in 1/s.
    pub rate: Vec<f64>,
    /// Its running integral C, in units of rate × frame.
    pub integral: Cumulative,
    /// Running integrals of its derivatives by the three coordinates of the basis.
    pub derivatives: [Cumulative; 3],
}

impl BlockAxis {
    fn new(experiment: &Experiment, block: Block, basis: Basis, with_derivatives: bool) -> Self {
        let n = experiment.n_frames;
        let t_ref = experiment.t_ref();
        let mut rate = Vec::with_capacity(n);
        let mut columns: [Vec<f64>; 3] =
            std::array::from_fn(|_| Vec::with_capacity(if with_derivatives { n } else { 0 }));
        for i in 0..n {
            let tau = experiment.tau(i);
            let power = tau.powf(block.exponent);
            let value = block.amplitude * power + block.offset;
            let floored = value.is_nan() || value < RATE_FLOOR;
            rate.push(if floored { RATE_FLOOR } else { value });
            if with_derivatives {
                let d = if floored {
                    [0.0; 3]
                } else {
                    match basis {
                        Basis::Natural => [power, block.amplitude * power * tau.ln(), 1.0],
                        Basis::Valley => block.gradient(tau, t_ref),
                    }
                };
                for (column, value) in columns.iter_mut().zip(d) {
                    column.push(value);
                }
            }
        }
        Self { integral: Cumulative::trapezoid(&rate), derivatives: columns.map(|c| Cumulative::trapezoid(&c)), rate }
    }
}

/// Both blocks at one set of physical parameters; costs O(N) and is shared by all angles.
#[derive(Debug, Clone)]
pub struct TimeAxis {
    /// Diffusion: D, C^D, A arrays.
    pub diffusion: BlockAxis,
    /// Shear: γ̇, C^γ, B arrays; `None` in static modes.
    pub shear: Option<BlockAxis>,
    /// phi0, degree; 0 in static modes.
    pub phi0: f64,
}

impl TimeAxis {
    /// Tables for physical parameters in the order of [`super::PHYSICAL`] (3 in static modes, 7 under shear).
    pub fn new(experiment: &Experiment, physical: &[f64], basis: Basis) -> Self {
        Self::build(experiment, physical, basis, true)
    }

    /// The same without derivative arrays, for χ²-only passes and simulation.
    pub fn without_derivatives(experiment: &Experiment, physical: &[f64]) -> Self {
        Self::build(experiment, physical, Basis::Natural, false)
    }

    fn build(experiment: &Experiment, physical: &[f64], basis: Basis, with_derivatives: bool) -> Self {
        assert_eq!(physical.len(), experiment.mode.n_physical(), "number of physical parameters");
        let diffusion = BlockAxis::new(experiment, Block::from_slice(physical), basis, with_derivatives);
        let shear = experiment
            .mode
            .has_shear()
            .then(|| BlockAxis::new(experiment, Block::from_slice(&physical[3..]), basis, with_derivatives));
        Self { diffusion, shear, phi0: if experiment.mode.has_shear() { physical[6] } else { 0.0 } }
    }

    /// Angle-dependent factors of the phase: (s·cos(phi0 − φ), ∂ of it by phi0 in 1/degree).
    pub fn phase_factors(&self, experiment: &Experiment, angle: usize) -> (f64, f64) {
        experiment.phase_factors(self.phi0, angle)
    }
}
