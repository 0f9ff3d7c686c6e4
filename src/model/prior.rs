//! What is known of a parameter before the data: a density over its bounds.

/// A prior density, cut off at the parameter's bounds; constants are left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Prior {
    /// Every value alike.
    Uniform,
    /// Every order of magnitude alike: density 1/x, for bounds above 0.
    LogUniform,
    /// A normal distribution (between bounds, a truncated one).
    Normal {
        /// Its mean before it is cut off.
        mean: f64,
        /// Its standard deviation before it is cut off, positive.
        sd: f64,
    },
    /// The logarithm is normally distributed; for bounds above 0.
    LogNormal {
        /// Mean of ln x.
        mean: f64,
        /// Standard deviation of ln x, positive.
        sd: f64,
    },
}

impl Prior {
    /// The name in configuration and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "Uniform",
            Self::LogUniform => "LogUniform",
            Self::Normal { .. } => "TruncatedNormal",
            Self::LogNormal { .. } => "LogNormal",
        }
    }

    /// Mean and standard deviation, where it has them.
    pub fn moments(self) -> Option<(f64, f64)> {
        match self {
            Self::Uniform | Self::LogUniform => None,
            Self::Normal { mean, sd } | Self::LogNormal { mean, sd } => Some((mean, sd)),
        }
    }

    /// Whether values must be positive.
    pub fn is_logarithmic(self) -> bool {
        matches!(self, Self::LogUniform | Self::LogNormal { .. })
    }

    /// ln of the density at a value inside the bounds, but for a constant.
    pub fn ln_density(self, x: f64) -> f64 {
        let squared = |value: f64, mean: f64, sd: f64| -0.5 * ((value - mean) / sd).powi(2);
        match self {
            Self::Uniform => 0.0,
            Self::LogUniform => -x.ln(),
            Self::Normal { mean, sd } => squared(x, mean, sd),
            Self::LogNormal { mean, sd } => squared(x.ln(), mean, sd) - x.ln(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_are_those_of_their_names() {
        // a change of variables: x = e^u turns the logarithmic ones into uniform and normal densities of u
        let (a, b) = (0.3f64, 7.0f64);
        let of_u = |prior: Prior, x: f64| prior.ln_density(x) + x.ln();
        assert!((of_u(Prior::LogUniform, a) - of_u(Prior::LogUniform, b)).abs() < 1e-14);
        let (log, plain) = (Prior::LogNormal { mean: 0.5, sd: 0.8 }, Prior::Normal { mean: 0.5, sd: 0.8 });
        assert!((of_u(log, a) - plain.ln_density(a.ln())).abs() < 1e-14);
        assert!((plain.ln_density(0.5) - plain.ln_density(1.3) - 0.5).abs() < 1e-14, "one deviation away");
        assert_eq!(Prior::Uniform.ln_density(a), Prior::Uniform.ln_density(b));
    }
}
