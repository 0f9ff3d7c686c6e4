//! Names, units, bounds and start values of what is fitted.

use super::{AnalysisMode, Prior};

/// A parameter as users know it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParameterInfo {
    /// Name in configuration and results.
    pub name: &'static str,
    /// Older spellings that configuration files may use.
    pub aliases: &'static [&'static str],
    /// Unit, as printed.
    pub unit: &'static str,
    /// Bounds by default.
    pub bounds: (f64, f64),
    /// What it is.
    pub description: &'static str,
}

const fn info(
    name: &'static str,
    aliases: &'static [&'static str],
    unit: &'static str,
    bounds: (f64, f64),
    description: &'static str,
) -> ParameterInfo {
    ParameterInfo { name, aliases, unit, bounds, description }
}

/// Most physical parameters any mode has.
pub const MAX_PHYSICAL: usize = 7;

/// The physical parameters in their fixed order; static modes use the first three.
pub const PHYSICAL: [ParameterInfo; MAX_PHYSICAL] = [
    info("D0", &[], "Å²/s", (100.0, 1e5), "amplitude of the transport coefficient: D(t) = D0·t^alpha + D_offset"),
    info("alpha", &[], "1", (-2.0, 2.0), "exponent of the transport coefficient"),
    info("D_offset", &[], "Å²/s", (-1e5, 1e5), "constant part of the transport coefficient"),
    info(
        "gamma_dot_t0",
        &["gamma_dot_0", "gamma_dot0"],
        "1/s",
        (1e-6, 0.5),
        "amplitude of the shear rate: gamma_dot(t) = gamma_dot_t0·t^beta + gamma_dot_t_offset",
    ),
    info("beta", &[], "1", (-2.0, 2.0), "exponent of the shear rate"),
    info("gamma_dot_t_offset", &["gamma_dot_offset"], "1/s", (-0.1, 0.1), "constant part of the shear rate"),
    info("phi0", &["phi_0"], "degree", (-10.0, 10.0), "azimuthal angle of the flow"),
];

/// Contrast of one angle.
pub const CONTRAST: ParameterInfo = info("contrast", &[], "1", (0.0, 1.0), "contrast (speckle visibility squared)");
/// Offset (baseline) of one angle.
pub const OFFSET: ParameterInfo = info("offset", &[], "1", (0.5, 1.5), "offset (baseline of c2)");

/// Bounds, start values and free flags of one fit.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpace {
    /// Bounds of the physical parameters, in the order of [`PHYSICAL`].
    pub bounds: Vec<(f64, f64)>,
    /// Start values; `None` = the program finds its own.
    pub start: Option<Vec<f64>>,
    /// Value of every parameter that isn't fitted, `None` for those that are.
    pub fixed: Vec<Option<f64>>,
    /// Bounds of contrast of all angles without their own.
    pub contrast: (f64, f64),
    /// Bounds of offset, likewise.
    pub offset: (f64, f64),
    /// Bounds of every angle, where one has its own; else empty.
    pub angles: Vec<AngleBounds>,
    /// Priors of the physical parameters, for sampling.
    pub priors: Vec<Prior>,
    /// That of every contrast.
    pub contrast_prior: Prior,
    /// That of every offset.
    pub offset_prior: Prior,
    /// (contrast, offset) of every angle as the mode `constant` holds them; empty in all other modes.
    pub held_scaling: Vec<(f64, f64)>,
}

/// Bounds of contrast and offset of one angle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AngleBounds {
    /// Of contrast.
    pub contrast: (f64, f64),
    /// Of offset.
    pub offset: (f64, f64),
}

impl ParameterSpace {
    /// Default bounds, everything free, no start.
    pub fn for_mode(mode: AnalysisMode) -> Self {
        let n = mode.n_physical();
        Self {
            bounds: PHYSICAL[..n].iter().map(|p| p.bounds).collect(),
            start: None,
            fixed: vec![None; n],
            contrast: CONTRAST.bounds,
            offset: OFFSET.bounds,
            angles: Vec::new(),
            priors: vec![Prior::Uniform; n],
            contrast_prior: Prior::Uniform,
            offset_prior: Prior::Uniform,
            held_scaling: Vec::new(),
        }
    }

    /// Bounds of contrast and offset of an angle.
    pub fn scaling_bounds(&self, angle: usize) -> AngleBounds {
        let all = AngleBounds { contrast: self.contrast, offset: self.offset };
        self.angles.get(angle).copied().unwrap_or(all)
    }

    /// Position of a physical parameter by name or older spelling.
    pub fn index_of(name: &str) -> Option<usize> {
        PHYSICAL.iter().position(|p| p.name == name || p.aliases.contains(&name))
    }

    /// Number of physical parameters.
    pub fn len(&self) -> usize {
        self.bounds.len()
    }

    /// Whether there are no physical parameters.
    pub fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// Number of physical parameters that are fitted.
    pub fn n_free(&self) -> usize {
        self.fixed.iter().filter(|f| f.is_none()).count()
    }

    /// The values moved into the bounds, fixed ones to their values.
    pub fn clamp(&self, values: &mut [f64]) {
        for ((value, &(min, max)), fixed) in values.iter_mut().zip(&self.bounds).zip(&self.fixed) {
            *value = fixed.unwrap_or_else(|| value.clamp(min, max));
        }
    }
}
