//! What is fixed in a fit: geometry, times, angles, convention.

use serde::{Deserialize, Serialize};

/// Which transport model is fitted. The three static names are the same model; they differ in what users call their data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnalysisMode {
    /// Diffusion only.
    Static,
    /// Diffusion only, data averaged over angles.
    StaticIsotropic,
    /// Diffusion only, several angles.
    StaticAnisotropic,
    /// Diffusion under shear.
    LaminarFlow,
}

impl AnalysisMode {
    /// All modes.
    pub const ALL: [Self; 4] = [Self::Static, Self::StaticIsotropic, Self::StaticAnisotropic, Self::LaminarFlow];

    /// The name in configuration and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::StaticIsotropic => "static_isotropic",
            Self::StaticAnisotropic => "static_anisotropic",
            Self::LaminarFlow => "laminar_flow",
        }
    }

    /// Whether the model has shear.
    pub fn has_shear(self) -> bool {
        self == Self::LaminarFlow
    }

    /// Number of physical parameters: 3 or 7.
    pub fn n_physical(self) -> usize {
        if self.has_shear() { 7 } else { 3 }
    }
}

/// How the shear rate enters: x = s·cos(phi0 − φ)·ΔC^γ, c2 ∝ sinc(x)^m.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShearConvention {
    /// s = q·L·dt/(2π), m = 4: what `homodyne` 2.x computes.
    Homodyne,
    /// s = q·L·dt/2, m = 2: velocity averaged over the gap.
    Theory,
}

impl ShearConvention {
    /// The name in configuration and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Homodyne => "homodyne",
            Self::Theory => "theory",
        }
    }

    /// The power m of sinc in c2.
    pub fn power(self) -> i32 {
        match self {
            Self::Homodyne => 4,
            Self::Theory => 2,
        }
    }
}

/// Everything about the measurement that a fit doesn't change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// Transport model.
    pub mode: AnalysisMode,
    /// Shear convention; without meaning in static modes.
    pub convention: ShearConvention,
    /// Wavevector magnitude, Å⁻¹.
    pub q: f64,
    /// Gap of the shear cell, Å; without meaning in static modes.
    pub gap: f64,
    /// Time between frames, s.
    pub dt: f64,
    /// Azimuthal angle of every matrix, degree.
    pub phi: Vec<f64>,
    /// Number of selected frames N; frame 0 of the selection takes no part in the fit.
    pub n_frames: usize,
    /// Frames between t = 0 and the first selected frame: 0, or its number in the file for `time_origin: acquisition`.
    pub time_offset: usize,
}

impl Experiment {
    /// Time of selected frame i, s.
    pub fn time(&self, i: usize) -> f64 {
        (self.time_offset + i) as f64 * self.dt
    }

    /// τ_i = max(t_i, dt/2, 1e-8 s): the time that enters the power laws.
    pub fn tau(&self, i: usize) -> f64 {
        self.time(i).max(0.5 * self.dt).max(1e-8)
    }

    /// Reference time of the valley coordinates: a third of the window, s.
    pub fn t_ref(&self) -> f64 {
        let first = self.time(0);
        let last = self.time(self.n_frames.saturating_sub(1));
        (first + (last - first) / 3.0).max(self.tau(0))
    }

    /// q²·dt, the factor of ΔC^D in the exponent.
    pub fn diffusion_factor(&self) -> f64 {
        self.q * self.q * self.dt
    }

    /// s, the factor of cos(phi0 − φ)·ΔC^γ in the phase.
    pub fn shear_factor(&self) -> f64 {
        let qldt = self.q * self.gap * self.dt;
        match self.convention {
            ShearConvention::Homodyne => qldt / (2.0 * std::f64::consts::PI),
            ShearConvention::Theory => qldt / 2.0,
        }
    }

    /// Angle-dependent factors of the phase at `phi0` (degree): (s·cos(phi0 − φ), ∂ of it by phi0 in 1/degree).
    pub fn phase_factors(&self, phi0: f64, angle: usize) -> (f64, f64) {
        let s = self.shear_factor();
        let delta = (phi0 - self.phi[angle]).to_radians();
        (s * delta.cos(), -s * delta.sin() * (std::f64::consts::PI / 180.0))
    }

    /// Number of angles K.
    pub fn n_angles(&self) -> usize {
        self.phi.len()
    }

    /// Matrix entries that the Python package would count: K·(N−1)².
    pub fn n_points(&self) -> u64 {
        let m = self.n_frames.saturating_sub(1) as u64;
        self.n_angles() as u64 * m * m
    }

    /// Pairs i < j that can take part: K·(N−1)(N−2)/2.
    pub fn n_pairs(&self) -> u64 {
        let m = self.n_frames.saturating_sub(1) as u64;
        self.n_angles() as u64 * m * m.saturating_sub(1) / 2
    }
}

#[cfg(test)]
impl Experiment {
    /// A measurement under shear, for tests.
    pub fn sheared(phi: Vec<f64>, n_frames: usize) -> Self {
        Self {
            mode: AnalysisMode::LaminarFlow,
            convention: ShearConvention::Homodyne,
            q: 0.0054,
            gap: 2e6,
            dt: 0.1,
            phi,
            n_frames,
            time_offset: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_the_specification() {
        let e = Experiment::sheared(vec![0.0, 45.0, 90.0], 100);
        assert_eq!(e.n_points(), 29_403);
        assert_eq!(e.n_pairs(), 14_553);
        assert_eq!(e.tau(0), 0.05);
        assert_eq!(e.tau(3), 3.0 * 0.1);
    }
}
