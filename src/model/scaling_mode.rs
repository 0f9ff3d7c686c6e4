//! How contrast and offset depend on the angle.

/// Scaling mode of a fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalingMode {
    /// Own contrast and offset for every angle.
    Individual,
    /// One contrast and one offset for all.
    Averaged,
    /// Contrast and offset of every angle are held at values known before the fit.
    Constant,
    /// Contrast and offset are Fourier series in φ.
    Fourier {
        /// Harmonics beside the mean, at least 1.
        order: usize,
    },
}

/// Difference below which two angles are the same direction, degree.
const SAME_DIRECTION: f64 = 1e-6;

impl ScalingMode {
    /// Fewest angles for which `auto` averages, as the Python package does.
    pub const AVERAGED_FROM: usize = 3;
    /// Harmonics of a Fourier series unless the configuration says otherwise, likewise.
    pub const FOURIER_ORDER: usize = 2;

    /// The name in configuration and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Individual => "individual",
            Self::Averaged => "averaged",
            Self::Constant => "constant",
            Self::Fourier { .. } => "fourier",
        }
    }

    /// What `auto` picks for a number of angles.
    pub fn automatic(n_angles: usize) -> Self {
        Self::automatic_from(n_angles, Self::AVERAGED_FROM)
    }

    /// The same where `auto` averages from `threshold` angles on.
    pub fn automatic_from(n_angles: usize, threshold: usize) -> Self {
        if n_angles >= threshold { Self::Averaged } else { Self::Individual }
    }

    /// The mode that these angles (degree) allow: a Fourier series with more coefficients than there are directions
    /// becomes `individual`, as in the Python package.
    pub fn feasible(self, phi: &[f64]) -> Self {
        match self {
            Self::Fourier { order } if directions(phi) < 2 * order + 1 => Self::Individual,
            other => other,
        }
    }

    /// Scaling parameters of a fit of K angles, contrast and offset together.
    pub fn n_parameters(self, n_angles: usize) -> usize {
        match self {
            Self::Individual => 2 * n_angles,
            Self::Averaged => 2,
            Self::Constant => 0,
            Self::Fourier { order } => 2 * (2 * order + 1),
        }
    }
}

/// Number of different directions among angles in degree.
pub fn directions(phi: &[f64]) -> usize {
    let mut turned: Vec<f64> = phi.iter().map(|p| p.rem_euclid(360.0)).collect();
    turned.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (turned.first(), turned.last()) else { return 0 };
    let steps = turned.windows(2).filter(|w| w[1] - w[0] > SAME_DIRECTION).count();
    let meet = steps > 0 && first + 360.0 - last <= SAME_DIRECTION;
    steps + 1 - usize::from(meet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_needs_as_many_directions_as_coefficients() {
        let mode = ScalingMode::Fourier { order: 1 };
        assert_eq!(mode.feasible(&[0.0, 120.0, 240.0]), mode);
        for phi in [&[][..], &[0.0], &[0.0, 90.0], &[0.0, 90.0, 360.0], &[-180.0, 0.0, 180.0], &[0.0, 359.9999999, 5.0]]
        {
            assert_eq!(mode.feasible(phi), ScalingMode::Individual, "{phi:?}");
        }
        assert_eq!(directions(&[10.0, 10.0, 370.0]), 1);
        assert_eq!(ScalingMode::Averaged.feasible(&[0.0]), ScalingMode::Averaged);
    }

    #[test]
    fn auto_averages_from_its_threshold_on() {
        for (n, threshold, mode) in [
            (2, 3, ScalingMode::Individual),
            (3, 3, ScalingMode::Averaged),
            (4, 5, ScalingMode::Individual),
            (1, 0, ScalingMode::Averaged),
        ] {
            assert_eq!(ScalingMode::automatic_from(n, threshold), mode);
        }
    }
}
